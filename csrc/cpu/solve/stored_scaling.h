// The state behind Scaling: the stored kernel matrix, the scalings of both sides, and one read of the matrix.
// Internal to scaling.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>
#include <vector>

#include "cpu/kernels/kernels.h"
#include "cpu/solve/newton.h"
#include "cpu/solve/scaling.h"
#include "cpu/linear/stored_matrix.h"

namespace wbm {
constexpr std::int64_t kLargest = std::int64_t(1) << 31;  // bytes of K

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

  // log next = log u + omega (log next - log u), for the same entries
  void relax(double omega, std::int64_t begin, std::int64_t end) {
    if (omega == 1.0) return;
    if (side.hard) return vector_kernels().relax(u.data() + begin, omega, next.data() + begin, end - begin);
    for (std::int64_t k = begin; k < end; ++k) next_log[k] = log_u[k] + omega * (next_log[k] - log_u[k]);
    vector_kernels().exp_linear(next_log.data() + begin, 1.0, next_log.data() + begin, 0.0, next.data() + begin, end - begin);
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
    std::vector<double> logs;
    if (side.hard) {
      logs.resize(u.size());
      vector_kernels().logarithm(u.data(), logs.data(), size());
    }
    const std::vector<double>& log_scaling = side.hard ? logs : log_u;
    for (std::int64_t k = 0; k < size(); ++k) potential[index[k]] = epsilon * (base[k] + log_scaling[k]);
  }
};

template <typename T, typename S>
class StoredScaling final : public Scaling {
 public:
  using PartType = Part;

  StoredScaling(const View<T>& view, Team& team)
      : view_(view), team_(team), rows_(view.rows), columns_(view.columns), k_(rows_.size(), columns_.size(), team) {}

  void absorb(const double* f, const double* g, const ColumnError& columns) override {
    rows_.absorb(f, view_.epsilon);
    columns_.absorb(g, view_.epsilon);
    factor_.reset();
    column_error_ = columns;
    build();
  }

  void square(const double* f, const double* g) override {
    if constexpr (std::is_same_v<S, float>) {
      k_.set_v([this](std::int64_t j) { return columns_.u[j] / std::sqrt(columns_.mass[j]); });
      team_.split_if(k_.parallel(), rows_.size(), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r)
          plan_kernels().square(k_.row(r), static_cast<float>(rows_.u[r] / std::sqrt(rows_.mass[r])), k_.v(), k_.padded());
      });
      rows_.absorb(f, view_.epsilon);
      columns_.absorb(g, view_.epsilon);
      column_error_ = ColumnError();
      write_v();
    }
  }

  void start(const double* g) override {
    for (std::int64_t k = 0; k < columns_.size(); ++k) {
      const double ahead = std::clamp(g[columns_.index[k]] / view_.epsilon - columns_.base[k] - columns_.log_mass[k], -5.0, 5.0);
      columns_.log_u[k] = columns_.log_mass[k] + ahead;
      columns_.u[k] = columns_.mass[k] * std::exp(ahead);
    }
    columns_.set_target();
    column_error_ = ColumnError();
    write_v();
  }

  bool absorb_cold() override {
    const RowKernels<T>& kernels = row_kernels<T>();
    std::vector<double> f(view_.n, 0.0), g(view_.m, 0.0);
    if (view_.unrestricted()) {
      std::vector<T> least_f(view_.n), least_g(view_.m);
      kernels.minima(view_.row(0), view_.stride(), view_.n, view_.m, least_f.data(), least_g.data());
      std::copy(least_f.begin(), least_f.end(), f.begin());
      std::copy(least_g.begin(), least_g.end(), g.begin());
    } else {
      std::vector<double> top(view_.m, -kInf);
      for (std::int64_t j = 0; j < view_.m; ++j)
        if (!view_.columns.active[j]) g[j] = -kInf;
      for (const std::int64_t i : rows_.index) f[i] = -kernels.row_max(view_.row(i), view_.mask_row(i), g.data(), view_.m);
      for (const std::int64_t i : rows_.index)
        kernels.column_max(view_.row(i), view_.mask_row(i), f[i], top.data(), 0, view_.m);
      for (const std::int64_t j : columns_.index) g[j] = -top[j];
    }
    double reach = 0.0;
    for (const std::int64_t j : columns_.index) reach = std::fmax(reach, std::fabs(g[j]) / view_.epsilon);
    if (!(reach < (sizeof(S) == 4 ? 40.0 : 300.0))) return false;
    rows_.absorb_cold(f.data(), f[rows_.index.empty() ? 0 : rows_.index[0]], view_.epsilon);
    columns_.absorb_cold(g.data(), 0.0, view_.epsilon);
    column_error_ = ColumnError();  // there is no plan before the first iteration
    build();
    return true;
  }

  Outcome iterate(double target, double omega, bool translate, double& residual) override {
    sweep(omega);
    residual = previous_residual();
    const VectorKernels& vectors = vector_kernels();
    if (!std::isfinite(vectors.total(k_.sums.data(), rows_.size()) +
                       vectors.total(k_.column_sums.data(), columns_.size()))) {
      residual = std::numeric_limits<double>::quiet_NaN();
      return Outcome::rejected;
    }
    if (residual <= target) return Outcome::met;
    columns_.update(k_.column_sums.data(), 0, columns_.size());
    columns_.relax(omega, 0, columns_.size());
    constexpr double kLimit = sizeof(S) == 4 ? 1e10 : 1e90;
    if (!rows_.safe(kLimit) || !columns_.safe(kLimit)) return Outcome::rejected;
    rows_.accept();
    columns_.accept();
    column_error_ = ColumnError::exact();
    if (omega != 1.0) {
      double error, mass;
      vectors.row_error(columns_.u.data(), k_.column_sums.data(), columns_.targets(), columns_.size(), &error, &mass);
      column_error_ = ColumnError::of(error);
    }
    if (translate) shift();
    write_v();
    return Outcome::accepted;
  }

  bool newton(double target, std::int64_t budget, std::int64_t& passes, double& residual, bool& left_range) override {
    if constexpr (std::is_same_v<S, double>) {
      return Newton<StoredScaling>(*this).run(target, budget, passes, residual, left_range);
    } else {
      return false;
    }
  }

  ColumnError read(double* f, double* g) const override {
    rows_.read(f, view_.epsilon);
    columns_.read(g, view_.epsilon);
    return column_error_;
  }

  bool sums(PlanSums& out, double& error, const double* f, const double* g) const override {
    if (rows_.size() != view_.n || columns_.size() != view_.m) return false;
    const BuildKernel<T, S>& kernels = build_kernel<T, S>();
    const double* v = columns_.u.data();
    out = sum_plan(view_.n, view_.m, team_, k_.parallel(), f != nullptr, [&](std::int64_t i, const RowSums& to) {
      if (f)
        kernels.add_entropy(view_.row(i), k_.row(i), rows_.u[i], v, f[i], g, view_.inverse_epsilon, view_.m, to.column,
                            to.column_entropy, to.sum, to.entropy, to.value);
      else
        kernels.add_plan(view_.row(i), k_.row(i), rows_.u[i], v, view_.m, to.column, to.sum, to.value);
    });
    double largest = view_.cost_max * view_.inverse_epsilon;  // of the terms of an exponent
    for (const Part* part : {&rows_, &columns_})
      for (const double x : part->base) largest = std::fmax(largest, std::fabs(x));
    error = 1e-15 * (4.0 + largest) + (sizeof(S) == 4 ? 2e-7 : 0.0);
    return true;
  }

  std::unique_ptr<SavedPlan> save_plan(PlanSums&& sums, double tolerance) override {
    auto saved = std::make_unique<StoredPlan<T, S>>();
    saved->view = view_;
    saved->view.interrupt = nullptr;
    saved->single = sizeof(S) == 4;
    saved->tolerance = tolerance;
    saved->sums = std::move(sums);
    saved->u = std::move(rows_.u);
    saved->v = std::move(columns_.u);
    saved->k = k_.release();
    saved->factor = std::move(factor_);
    return saved;
  }

 private:
  friend class Newton<StoredScaling>;

  // K from the absorbed potentials: one exponential per entry. Column j of D has the exponent base_j, -inf where it
  // carries nothing; where some columns carry nothing the rows are packed.
  void build() {
    std::vector<double> column(view_.m, -kInf);
    for (std::int64_t k = 0; k < columns_.size(); ++k) column[columns_.index[k]] = columns_.base[k];
    const auto build_row = build_kernel<T, S>().build;
    const bool whole = columns_.size() == view_.m;
    team_.split_if(k_.parallel() && whole, rows_.size(), [&](std::int64_t begin, std::int64_t end) {
      std::vector<S> row(whole ? 0 : view_.m);
      for (std::int64_t r = begin; r < end; ++r) {
        const std::int64_t i = rows_.index[r];
        S* out = k_.row(r);
        build_row(view_.row(i), view_.mask_row(i), rows_.base[r], column.data(), view_.inverse_epsilon,
                  whole ? out : row.data(), view_.m, whole ? k_.padded() : view_.m);
        if (whole) continue;
        for (std::int64_t k = 0; k < columns_.size(); ++k) out[k] = row[columns_.index[k]];
        std::fill(out + columns_.size(), out + k_.padded(), S(0));
      }
    });
    write_v();
  }

  // s = K v, the next u, and t = K'u of it.
  void sweep(double omega = 1.0) {
    k_.pass([this, omega](std::int64_t r, int rows) {
      rows_.update(k_.sums.data() + r, r, r + rows);
      rows_.relax(omega, r, r + rows);
      return rows_.next.data() + r;
    });
  }

  // The sums s hold the row sums of the plan before this iteration, r = u s; what is known of its columns says the rest.
  double previous_residual() const {
    if (!column_error_.known()) return kInf;
    double error, mass;
    vector_kernels().row_error(rows_.u.data(), k_.sums.data(), rows_.targets(), rows_.size(), &error, &mass);
    return residual(view_, error, column_error_, mass);
  }

  void shift() {
    const Side &rows = view_.rows, &columns = view_.columns;
    if (rows.hard && columns.hard) return;
    const double t = translation(rows, columns, std::log(rows_.target_sum), std::log(columns_.target_sum));
    if (!(std::fabs(t) < 20.0 * view_.epsilon)) return;
    rows_.shift(t, view_.epsilon);
    columns_.shift(-t, view_.epsilon);
    column_error_ = column_error_.translated(columns, t);
  }

  void write_v() {
    k_.set_v([this](std::int64_t j) { return columns_.u[j]; });
  }

  const View<T>& view_;
  Team& team_;
  Part rows_, columns_;
  StoredMatrix<S> k_;
  std::unique_ptr<Preconditioner> factor_;  // the last one of Newton's method, if it made one
  ColumnError column_error_;  // of the plan u K v
  double longest_step_ = 8.0;  // of Newton's, in log v
};

}  // namespace wbm
