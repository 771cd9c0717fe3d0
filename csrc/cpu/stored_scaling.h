// The state behind Scaling: the stored kernel matrix, the scalings of both sides, and one read of the matrix.
// Internal to scaling.cpp.
#pragma once

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/newton.h"
#include "cpu/scaling.h"

namespace wbm {
constexpr std::int64_t kChunk = 128;  // rows with one running sum K'u: the unit of work of a thread, whatever their number
// Entries from which a second thread pays in one pass over K; a pass is short, and on a busy machine its barrier long.
constexpr std::int64_t kParallelPass = std::int64_t(1) << 21;
constexpr std::int64_t kLargest = std::int64_t(1) << 31;  // bytes of K

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// Aligned and not initialised; large arrays on huge pages where the system grants them (a pass over K by small pages
// waits for address translations).
template <typename S>
std::unique_ptr<S[], Free> aligned(std::int64_t count) {
  constexpr std::size_t kHuge = std::size_t(2) << 20;
  const std::size_t wanted = std::max<std::size_t>(static_cast<std::size_t>(count) * sizeof(S), 1);
  const std::size_t unit = wanted >= kHuge / 2 ? kHuge : 64;
  const std::size_t bytes = (wanted + unit - 1) / unit * unit;
  void* p = std::aligned_alloc(unit, bytes);
  if (!p) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (unit == kHuge) madvise(p, bytes, MADV_HUGEPAGE);
#endif
  return std::unique_ptr<S[], Free>(static_cast<S*>(p));
}

// One side's scalings and constants, over its active entries only.
struct Part {
  const Side& side;
  std::vector<std::int64_t> index;  // active entries
  std::vector<double> mass, log_mass, base, alpha, log_u, u, next_log, next, target;
  double target_sum = 0.0;

  explicit Part(const Side& side_) : side(side_) {
    for (std::int64_t i = 0; i < side.size; ++i)
      if (side.active[i]) index.push_back(i);
    const std::size_t n = index.size();
    for (auto* values : {&mass, &log_mass, &base, &alpha, &log_u, &u, &next_log, &next, &target}) values->resize(n);
    for (std::size_t k = 0; k < n; ++k) mass[k] = side.mass[index[k]], log_mass[k] = side.log_mass[index[k]];
  }

  std::int64_t size() const { return static_cast<std::int64_t>(index.size()); }

  // The absorbed potential is base + log mass (in units of epsilon), where u = mass.
  void absorb(const double* potential, double epsilon) {
    for (std::int64_t k = 0; k < size(); ++k) base[k] = potential[index[k]] / epsilon - log_mass[k];
    set_alpha(epsilon);
    log_u = log_mass;
    u = mass;
    set_target();
  }

  // The absorbed potential is base alone, and u = exp((start - absorbed) / epsilon).
  void absorb_cold(const double* absorbed, double start, double epsilon) {
    for (std::int64_t k = 0; k < size(); ++k) {
      base[k] = absorbed[index[k]] / epsilon;
      log_u[k] = start / epsilon - base[k];
      u[k] = std::exp(log_u[k]);
    }
    set_alpha(epsilon);
    set_target();
  }

  void set_alpha(double epsilon) {
    for (std::int64_t k = 0; k < size(); ++k)
      alpha[k] = side.strength / epsilon * log_mass[k] - (1.0 - side.ratio) * base[k];
  }

  // next = u of the sums s, for entries [begin, end)
  void update(const double* s, std::int64_t begin, std::int64_t end) {
    if (side.hard)
      vector_kernels().divide(mass.data() + begin, s, next.data() + begin, end - begin);
    else
      vector_kernels().power(alpha.data() + begin, side.ratio, s, next_log.data() + begin, next.data() + begin, end - begin);
  }

  bool safe(double limit) const {
    return vector_kernels().within(next.data(), mass.data(), limit, size()) != 0;
  }

  void accept() {
    std::swap(u, next);
    std::swap(log_u, next_log);
    set_target();
  }

  // r* = a (hard) or a exp(-f/kappa) = exp(alpha / ratio + (1 - 1/ratio) log u) (soft)
  void set_target() {
    if (side.hard) {
      target_sum = side.total;
      return;
    }
    vector_kernels().exp_linear(alpha.data(), 1.0 / side.ratio, log_u.data(), 1.0 - 1.0 / side.ratio, target.data(), size());
    target_sum = vector_kernels().total(target.data(), size());
  }

  const double* targets() const { return side.hard ? mass.data() : target.data(); }

  // potential += t: u and, where soft, the targets follow
  void shift(double t, double epsilon) {
    const double factor = std::exp(t / epsilon);
    for (double& x : u) x *= factor;
    if (side.hard) return;
    for (double& x : log_u) x += t / epsilon;
    const double relaxed = std::exp(-t / side.kappa);
    for (double& x : target) x *= relaxed;
    target_sum *= relaxed;
  }

  void read(double* potential, double epsilon) const {
    for (std::int64_t k = 0; k < size(); ++k)
      potential[index[k]] = epsilon * (base[k] + (side.hard ? std::log(u[k]) : log_u[k]));
  }
};

template <typename T, typename S>
class StoredScaling final : public Scaling {
 public:
  using PartType = Part;

  StoredScaling(const View<T>& view, int threads)
      : view_(view), kernels_(scaling_kernels<S>()), threads_(threads),
        pass_threads_(view.n * view.m >= kParallelPass ? threads : 1), rows_(view.rows), columns_(view.columns),
        padded_((columns_.size() + kPadding - 1) / kPadding * kPadding), stride_(row_stride(padded_)),
        chunks_((rows_.size() + kChunk - 1) / kChunk), k_(aligned<S>(rows_.size() * stride_)), v_(aligned<S>(padded_)),
        partial_(aligned<S>(chunks_ * padded_)), sums_(rows_.size()), column_sums_(columns_.size()) {}

  void absorb(const double* f, const double* g) override {
    rows_.absorb(f, view_.epsilon);
    columns_.absorb(g, view_.epsilon);
    cold_ = false;
    build();
  }

  bool absorb_cold() override {
    const RowKernels<T>& kernels = row_kernels<T>();
    std::vector<double> f(view_.n, 0.0), g(view_.m, 0.0), top(view_.m, -kInf);
    for (std::int64_t j = 0; j < view_.m; ++j)
      if (!view_.columns.active[j]) g[j] = -kInf;
    for (const std::int64_t i : rows_.index) f[i] = -kernels.row_max(view_.row(i), view_.mask_row(i), g.data(), view_.m);
    for (const std::int64_t i : rows_.index)
      kernels.column_max(view_.row(i), view_.mask_row(i), f[i], top.data(), 0, view_.m);
    double reach = 0.0;
    for (const std::int64_t j : columns_.index) {
      g[j] = -top[j];
      reach = std::fmax(reach, std::fabs(g[j]) / view_.epsilon);
    }
    if (!(reach < (sizeof(S) == 4 ? 40.0 : 300.0))) return false;
    rows_.absorb_cold(f.data(), f[rows_.index.empty() ? 0 : rows_.index[0]], view_.epsilon);
    columns_.absorb_cold(g.data(), 0.0, view_.epsilon);
    cold_ = true;
    build();
    return true;
  }

  Outcome iterate(double target, bool translate, double& residual) override {
    sweep();
    residual = previous_residual();
    const VectorKernels& vectors = vector_kernels();
    if (!std::isfinite(vectors.total(sums_.data(), rows_.size()) +
                       vectors.total(column_sums_.data(), columns_.size()))) {
      residual = std::numeric_limits<double>::quiet_NaN();
      return Outcome::rejected;
    }
    if (residual <= target) return Outcome::met;
    columns_.update(column_sums_.data(), 0, columns_.size());
    constexpr double kLimit = sizeof(S) == 4 ? 1e10 : 1e90;
    if (!rows_.safe(kLimit) || !columns_.safe(kLimit)) return Outcome::rejected;
    rows_.accept();
    columns_.accept();
    cold_ = false;
    slack_ = 0.0;
    if (translate) shift();
    write_v();
    return Outcome::accepted;
  }

  bool newton(double target, std::int64_t budget, std::int64_t& passes, double& residual) override {
    if constexpr (std::is_same_v<S, double>) {
      return Newton<StoredScaling>(*this).run(target, budget, passes, residual);
    } else {
      return false;
    }
  }

  void read(double* f, double* g) const override {
    rows_.read(f, view_.epsilon);
    columns_.read(g, view_.epsilon);
  }

 private:
  friend class Newton<StoredScaling>;

  // Rows a multiple of 4 KiB apart would share the cache's sets.
  static std::int64_t row_stride(std::int64_t padded) {
    return padded * static_cast<std::int64_t>(sizeof(S)) % 1024 == 0 ? padded + kPadding : padded;
  }

  // K from the absorbed potentials: one exponential per entry. Column j of D has the exponent base_j, -inf where it
  // carries nothing; where some columns carry nothing the rows are packed.
  void build() {
    slack_ = 0.0;
    std::vector<double> column(view_.m, -kInf);
    for (std::int64_t k = 0; k < columns_.size(); ++k) column[columns_.index[k]] = columns_.base[k];
    const auto build_row = build_kernel<T, S>().build;
    const bool whole = columns_.size() == view_.m;
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
    {
      std::vector<S> row(whole ? 0 : view_.m);
#pragma omp for schedule(static)
      for (std::int64_t r = 0; r < rows_.size(); ++r) {
        const std::int64_t i = rows_.index[r];
        S* out = k_.get() + r * stride_;
        build_row(view_.row(i), view_.mask_row(i), rows_.base[r], column.data(), view_.inverse_epsilon,
                  whole ? out : row.data(), view_.m, whole ? padded_ : view_.m);
        if (whole) continue;
        for (std::int64_t k = 0; k < columns_.size(); ++k) out[k] = row[columns_.index[k]];
        std::fill(out + columns_.size(), out + padded_, S(0));
      }
    }
    write_v();
  }

  // sums_ = K v_, and column_sums_ = K'w with w_r = weight(r, rows, sums) of each block of rows: one read of K. A block is
  // added to K'w while the next one is dotted with v.
  template <typename Weight>
  void pass(const Weight& weight) {
    const int step = kernels_.block_rows(padded_ * static_cast<std::int64_t>(sizeof(S)));
#pragma omp parallel for num_threads(pass_threads_) if (pass_threads_ > 1) schedule(static)
    for (std::int64_t chunk = 0; chunk < chunks_; ++chunk) {
      S* total = partial_.get() + chunk * padded_;
      std::fill(total, total + padded_, S(0));
      const std::int64_t end = std::min((chunk + 1) * kChunk, rows_.size());
      S w[8];
      int count = 0;  // rows of the block whose weights are known and which waits to be added
      const S* waiting = nullptr;
      for (std::int64_t r = chunk * kChunk; r < end; r += step) {
        const int rows = static_cast<int>(std::min<std::int64_t>(step, end - r));
        const S* block = k_.get() + r * stride_;
        if (waiting && rows == step && count == step) {
          kernels_.fused(block, waiting, stride_, step, v_.get(), w, total, padded_, sums_.data() + r);
        } else {
          if (waiting) kernels_.accumulate(waiting, stride_, count, w, total, padded_);
          kernels_.dots(block, stride_, rows, v_.get(), padded_, sums_.data() + r);
        }
        const double* values = weight(r, rows);
        for (int c = 0; c < rows; ++c) w[c] = static_cast<S>(values[c]);
        count = rows;
        waiting = block;
      }
      if (waiting) kernels_.accumulate(waiting, stride_, count, w, total, padded_);
    }
    for (std::int64_t j = 0; j < columns_.size(); ++j) column_sums_[j] = partial_[j];
    for (std::int64_t chunk = 1; chunk < chunks_; ++chunk)
      for (std::int64_t j = 0; j < columns_.size(); ++j) column_sums_[j] += partial_[chunk * padded_ + j];
  }

  // s = K v, the next u, and t = K'u of it.
  void sweep() {
    pass([this](std::int64_t r, int rows) {
      rows_.update(sums_.data() + r, r, r + rows);
      return rows_.next.data() + r;
    });
  }

  // The sums s hold the row sums of the plan before this iteration, r = u s; its columns are exact but for slack_.
  double previous_residual() const {
    if (cold_) return kInf;  // there is no plan before the first iteration
    double error, mass;
    vector_kernels().row_error(rows_.u.data(), sums_.data(), rows_.targets(), rows_.size(), &error, &mass);
    error += mass * slack_;
    const double scale = std::fmax(mass, 0.5 * (view_.rows.total + view_.columns.total));
    return scale > 0.0 ? error / scale : 0.0;
  }

  // t = kappa1 kappa2 / (kappa1 + kappa2) log(sum r* / sum c*), f += t, g -= t: the dual optimum along that line.
  void shift() {
    const Side &rows = view_.rows, &columns = view_.columns;
    if (rows.hard && columns.hard) return;
    const double strength = rows.hard      ? columns.kappa
                            : columns.hard ? rows.kappa
                                           : rows.kappa * columns.kappa / (rows.kappa + columns.kappa);
    const double t = strength * std::log(rows_.target_sum / columns_.target_sum);
    if (!(std::fabs(t) < 20.0 * view_.epsilon)) return;
    rows_.shift(t, view_.epsilon);
    columns_.shift(-t, view_.epsilon);
    slack_ = columns.hard ? 0.0 : std::fabs(1.0 - std::exp(t / columns.kappa));
  }

  void write_v() {
    for (std::int64_t j = 0; j < columns_.size(); ++j) v_[j] = static_cast<S>(columns_.u[j]);
    std::fill(v_.get() + columns_.size(), v_.get() + padded_, S(0));
  }

  const View<T>& view_;
  const ScalingKernels<S>& kernels_;
  const int threads_, pass_threads_;
  Part rows_, columns_;
  const std::int64_t padded_, stride_, chunks_;
  std::unique_ptr<S[], Free> k_, v_, partial_;
  std::vector<double> sums_, column_sums_;
  bool cold_ = false;   // at g = 0, before the first iteration
  double slack_ = 0.0;  // relative error of the columns that the translation left
};

}  // namespace wbm
