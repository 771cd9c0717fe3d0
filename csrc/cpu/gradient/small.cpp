// The implicit and frozen gradients of small problems; the formulae stand in implicit.cpp.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "cpu/gradient/small.h"

namespace wbm::cpu {

template <typename T>
SmallGradient<T>::SmallGradient(const Problem& problem, const Adjoint& adjoint) : Base(problem), adjoint_(adjoint) {
  const auto [n, m, rows, columns] = shape_;
  p_ = memory_.template take<T>(n * columns);
  b_ = memory_.template take<float>(rows * columns);
  transposed_ = memory_.template take<float>(rows * columns);
  const auto vector = [this](std::int64_t count) { return memory_.template take<float>(count); };
  float* zero = vector(std::max(rows, columns));
  std::fill(zero, zero + std::max(rows, columns), 0.0f);
  root_r_ = vector(rows);
  root_c_ = vector(columns);
  for (double** side : {&h1_, &share_}) *side = memory_.template take<double>(rows);
  for (double** side : {&h2_, &inverse_c_}) *side = memory_.template take<double>(columns);
  for (auto* side : {&r_, &x_}) side->resize(rows);
  for (auto* side : {&c_, &y_}) side->resize(columns);
  schur_ = {shape_, b_, transposed_, zero, vector(columns), vector(columns), vector(columns), vector(columns), vector(rows)};
  system_ = {shape_, p_, share_, h1_, h2_, c_.data(), inverse_c_, root_c_, schur_.z, y_.data(), x_.data(),
             memory_.template take<double>(columns), schur_.r};
}

template <typename T>
bool SmallGradient<T>::fits(const Problem& problem, const Adjoint& adjoint) {
  return Base::fits(problem) && adjoint.mode != Gradient::unrolled;
}

template <typename T>
bool SmallGradient<T>::run(std::int64_t p) {
  if (!Base::open(p)) return false;
  const auto [n, m, rows, columns] = shape_;
  const double *f = adjoint_.f + p * n, *g = adjoint_.g + p * m;
  if (!Base::set_exponents(f, g)) return false;
  small_gradient_kernels<T>().plan(d_, shape_, row_, column_, view_.inverse_epsilon, p_, {r_.data(), c_.data(), h1_, h2_});
  // Sums so small that 1/r leaves the range of float64 with what it multiplies; forbidden pairs, and what is not a number
  const auto carries = [&](const std::vector<double>& sums, std::int64_t size, double total) {
    return std::all_of(sums.begin(), sums.begin() + size, [&](double x) { return x > 1e-30 * total && x < kInf; });
  };
  if (!carries(r_, n, view_.rows.total) || !carries(c_, m, view_.columns.total) ||
      !std::isfinite(vector_kernels().total(h1_, n)))
    return false;
  up_ = read_upstream(view_.rows, view_.columns, adjoint_, p);
  d_a_.assign(n, 0.0);
  d_b_.assign(m, 0.0);
  std::fill(x_.begin(), x_.end(), 0.0);
  std::fill(y_.begin(), y_.end(), 0.0);
  double reached = 0.0;
  const bool frozen = adjoint_.mode == Gradient::frozen;
  if (!frozen) {
    pull_back_gauge(view_.rows, up_.gauge, f, up_.f, d_a_);
    pull_back_gauge(view_.columns, -up_.gauge, g, up_.g, d_b_);
    if (right_side()) {
      if (!solve(reached)) return false;
      centre();
    }
    mass_gradient(view_.rows, up_, f, r_, x_, view_.epsilon, view_.columns.total, d_a_);
    mass_gradient(view_.columns, up_, g, c_, y_, view_.epsilon, view_.rows.total, d_b_);
  }
  adjoint_.residual[p] = reached;
  if (adjoint_.grad_cost) {
    for (double& x : x_) x += up_.sharp + up_.regularized;
    small_gradient_kernels<T>().gradient(d_, shape_, p_, row_, column_, view_.inverse_epsilon, frozen ? 0.0 : up_.sharp,
                                         x_.data(), y_.data(), static_cast<T*>(adjoint_.grad_cost) + p * n * m);
  }
  write_mass_gradients(view_, d_a_, d_b_, adjoint_, p);
  return true;
}

// Turns the entropy sums into the right side; false when it is zero and there is nothing to solve.
template <typename T>
bool SmallGradient<T>::right_side() {
  bool any = false;
  const auto assemble = [&](const std::vector<double>& q, double* h) {
    for (std::size_t i = 0; i < q.size(); ++i) {
      h[i] = q[i] - up_.sharp * h[i];
      any |= h[i] != 0.0;
    }
  };
  assemble(up_.f, h1_);
  assemble(up_.g, h2_);
  return any;
}

// Any x + t, y - t will do: the weighted mean of the shorter side becomes 0, as in linear_system.cpp. With P1 = a exactly t
// would not matter.
template <typename T>
void SmallGradient<T>::centre() {
  const auto mean = [](const std::vector<double>& weights, const std::vector<double>& values, std::int64_t size) {
    double sum = 0.0, total = 0.0;
    for (std::int64_t i = 0; i < size; ++i) sum += weights[i] * values[i], total += weights[i];
    return sum / total;
  };
  const double t = shape_.m <= shape_.n ? mean(c_, y_, shape_.m) : -mean(r_, x_, shape_.n);
  for (double& x : x_) x += t;
  for (double& y : y_) y -= t;
}

// x and y: conjugate gradients in float32 on 1 - B'B, B = diag(r)^-1/2 P diag(c)^-1/2, the Schur complement between
// diag(c)^-1/2; where float32 comes no further the residual is made anew in float64. False where that takes too long.
template <typename T>
bool SmallGradient<T>::solve(double& reached) {
  constexpr double kTolerance = std::is_same_v<T, float> ? 1e-9 : 1e-14, kEnough = std::is_same_v<T, float> ? 1e-9 : 1e-13;
  constexpr double kReduction = 1e-5;  // that float32 is good for
  constexpr int kMost = 200;           // products in all
  const SmallGradientKernels<T>& kernels = small_gradient_kernels<T>();
  const SmallGradientVectors& vectors = small_gradient_vectors();
  vectors.invert(r_.data(), shape_.n, share_, root_r_);
  vectors.invert(c_.data(), shape_.columns, inverse_c_, root_c_);
  kernels.balance(p_, shape_, root_r_, root_c_, b_, transposed_);
  const double total = vector_kernels().total(c_.data(), shape_.m);
  double unit = 0.0, scale = 0.0, rho = 0.0, before = kInf;
  for (int products = 0;;) {
    const double size = kernels.defect(system_, total, &unit, &scale);
    reached = scale > 0.0 ? size / scale : 0.0;
    if (!(reached > kTolerance)) return true;
    if (!(reached < 0.1 * before)) return reached <= kEnough;  // rounding lets it come no closer
    if (products >= kMost) return false;
    before = reached;
    const double target = std::max(0.7 * kTolerance * scale, kReduction * size) / unit;
    products += vectors.conjugate_gradients(schur_, target, kMost - products, &rho);
  }
}

template class SmallGradient<float>;
template class SmallGradient<double>;

}  // namespace wbm::cpu
