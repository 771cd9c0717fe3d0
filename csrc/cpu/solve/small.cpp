#include "cpu/solve/small.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "cpu/kernels/kernels.h"

namespace wbm::cpu {

template <typename T>
SmallSolver<T>::SmallSolver(const Problem& problem, const Options& options, const Solution& out)
    : Base(problem), options_(options), out_(out) {
  const auto [n, m, rows, columns] = shape_;
  k_ = memory_.template take<T>(rows * columns);
  transposed_ = memory_.template take<T>(rows * columns);
  for (T** side : {&a_, &u_, &pad_rows_}) *side = memory_.template take<T>(rows);
  for (T** side : {&b_, &v_, &pad_columns_}) *side = memory_.template take<T>(columns);
  work_ = memory_.template take<T>(std::max(rows, columns));
  column_error_ = memory_.template take<T>(kSmallPadding);
  for (double** side : {&f_, &g_, &wide_u_, &wide_v_, &mass_, &logs_, &r_, &c_})
    *side = memory_.template take<double>(std::max(rows, columns));
  const auto pad = [](T* side, std::int64_t size, std::int64_t whole) {
    std::fill(side, side + size, T(0));
    std::fill(side + size, side + whole, T(1));
  };
  for (T* side : {a_, u_, pad_rows_}) pad(side, n, rows);
  for (T* side : {b_, v_, pad_columns_}) pad(side, m, columns);
}

template <typename T>
bool SmallSolver<T>::fits(const Problem& problem, const Options& options, const Solution& out) {
  // Float32 sums are good to 2e-7, and twice that is asked of them.
  return Base::fits(problem) && options.criterion == Criterion::marginal && !options.init_g && !out.history &&
         (problem.float64 ? options.tol > 0.0 : options.tol > 4e-7);
}

template <typename T>
bool SmallSolver<T>::solve(std::int64_t p) {
  if (!Base::open(p) || !start()) return false;
  double target = std::is_same_v<T, float> ? options_.tol - 2e-7 : options_.tol;
  for (int round = 0; round < 3; ++round, target *= 0.5) {
    if (!iterate(target)) return false;
    if (report(p)) return true;
  }
  return false;
}

// f^_i = min_j D_ij and g^_j = min_i (D_ij - f^_i) put a 1 into every row and column of K; the iterations begin at g = 0.
template <typename T>
bool SmallSolver<T>::start() {
  const auto [n, m, rows, columns] = shape_;
  if (!kernels_.inspect(d_, shape_, f_, g_, &view_.cost_max) || !Base::set_exponents(f_, g_)) return false;
  constexpr double kReach = std::is_same_v<T, float> ? 40.0 : 300.0, kLeastMass = std::is_same_v<T, float> ? 1e-12 : 1e-60;
  for (std::int64_t j = 0; j < m; ++j)
    if (!(column_[j] < kReach)) return false;
  kernels_.build(d_, shape_, row_, column_, view_.inverse_epsilon, k_, transposed_);
  vector_kernels().exp_linear(column_, -1.0, column_, 0.0, wide_v_, m);
  const auto masses = [](const Side& side, T* out) {
    const double scale = 1.0 / side.total;
    bool well = true;
    for (std::int64_t i = 0; i < side.size; ++i) {
      out[i] = static_cast<T>(side.mass[i] * scale);
      well &= out[i] > T(kLeastMass);
    }
    return well;
  };
  if (!masses(view_.rows, a_) || !masses(view_.columns, b_)) return false;
  std::fill(u_, u_ + n, T(0));
  std::copy(wide_v_, wide_v_ + m, v_);
  relaxation_ = Relaxation();
  done_ = judged_ = 0;
  std::fill(column_error_, column_error_ + kSmallPadding, T(0));
  anchor_ = kInf;
  return true;
}

template <typename T>
bool SmallSolver<T>::iterate(double target) {
  const bool relaxes = options_.method == Method::accelerated;
  const SmallScaling<T> scaling{shape_, k_, transposed_, a_, b_, pad_rows_, pad_columns_, u_, v_, work_};
  for (;;) {
    const std::int64_t count = std::min<std::int64_t>(relaxation_.window(), options_.max_iter - done_);
    if (count <= 0) return false;
    double residual[Relaxation::kWindow];
    const std::int64_t taken = kernels_.sweeps(scaling, relaxation_.omega(), count, target, column_error_, residual);
    done_ += taken;
    if (taken < count) return residual[taken] <= target;  // or NaN
    if (relaxes)
      for (std::int64_t t = 0; t < taken; ++t) relaxation_.observe(residual[t]);
    if (crawls(residual[taken - 1], target)) return false;
  }
}

// Whether, by the rate of the last iterations, more are left than other ways to the solution take.
template <typename T>
bool SmallSolver<T>::crawls(double residual, double target) {
  constexpr std::int64_t kPatience = 24, kWindow = 8;
  constexpr double kMost = 400.0;
  if (done_ < judged_ + kWindow) return false;
  const double rate = std::log(residual / anchor_) / static_cast<double>(done_ - judged_);
  anchor_ = residual;
  judged_ = done_;
  if (done_ < kPatience) return false;
  return !(rate < 0.0 && std::log(target / residual) / rate < kMost);
}

template <typename T>
bool SmallSolver<T>::report(std::int64_t p) {
  const auto [n, m, rows, columns] = shape_;
  const VectorKernels& vectors = vector_kernels();
  double largest = view_.cost_max * view_.inverse_epsilon;  // of the terms of an exponent
  // f = f^ + eps log u, with the u of a plan of the masses' own total; g = g^ + eps log v. The scalings have to stay near the
  // masses: an entry of K that has flushed to zero counts for nothing then.
  const auto side = [&](std::int64_t size, const T* scaling, const T* masses, double total, const double* base, double* wide,
                        double* potential) {
    constexpr double kLimit = std::is_same_v<T, float> ? 1e10 : 1e90;
    std::copy(scaling, scaling + size, wide);
    std::copy(masses, masses + size, mass_);
    if (!vectors.within(wide, mass_, kLimit, size)) return false;
    for (std::int64_t i = 0; i < size; ++i) wide[i] *= total;
    vectors.logarithm(wide, logs_, size);
    for (std::int64_t i = 0; i < size; ++i) {
      potential[i] = view_.epsilon * (base[i] + logs_[i]);
      largest = std::max(largest, std::fabs(base[i]));
    }
    return true;
  };
  double *f = out_.f + p * n, *g = out_.g + p * m;
  if (!side(n, u_, a_, view_.rows.total, row_, wide_u_, f) || !side(m, v_, b_, 1.0, column_, wide_v_, g)) return false;
  std::fill(wide_v_ + m, wide_v_ + columns, 0.0);
  const double sharp = kernels_.sums(d_, shape_, k_, wide_u_, wide_v_, r_, c_);
  const auto side_report = [&](const Side& of, const double* x, const double* potential) {
    SideReport found;
    small_vectors().side(x, potential, of.log_mass.data(), of.dual_shift, of.mass.data(), of.size, &found.dual, &found.error);
    return found;
  };
  wbm::report(view_, vectors.total(r_, n), sharp, side_report(view_.rows, r_, f), side_report(view_.columns, c_, g), out_, p);
  const double error = 1e-15 * (4.0 + largest) + (std::is_same_v<T, float> ? 2e-7 : 0.0);
  const bool finite = representable(out_.sharp[p], Base::problem_.float64) &&
                      representable(out_.regularized[p], Base::problem_.float64);
  if (!(out_.residual[p] + error <= options_.tol) || !finite) return false;
  set_gauge(view_, f, g);
  out_.iterations[p] = done_;
  out_.status[p] = view_.status | kConverged;
  return true;
}

template class SmallSolver<float>;
template class SmallSolver<double>;

}  // namespace wbm::cpu
