#include "cpu/loss/group_loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/problem/saved_plan.h"
#include "cpu/kernels/kernels.h"
#include "cpu/runtime/memory.h"
#include "cpu/solver.h"

namespace wbm::cpu {
namespace {

// <D, P> on a cost matrix that the caller has written to cost().
template <typename T>
class Transport {
 public:
  Transport(std::vector<double> a, std::vector<double> b, const LossSolve& solve)
      : a_(std::move(a)), b_(std::move(b)), solve_(solve), n_(static_cast<std::int64_t>(a_.size())),
        m_(static_cast<std::int64_t>(b_.size())), d_(n_ * m_), f_(n_), g_(m_) {
    solve_.interrupt = nullptr;
  }

  T* cost() const { return d_.data(); }

  void run(Interrupt* interrupt, T* value, LossReport& report) {
    epsilon_ = std::isnan(solve_.epsilon) ? 1.0 : solve_.epsilon;
    Problem problem = describe();
    if (std::isnan(solve_.epsilon)) {
      double cost = 0.0;
      mean_cost(problem, &cost, solve_.threads);
      epsilon_ = 0.05 * cost;
    }
    Options options;
    options.method = solve_.method;
    options.tol = solve_.tol;
    options.max_iter = solve_.max_iter;
    options.threads = solve_.threads;
    options.interrupt = interrupt;
    double sharp = 0.0, regularized = 0.0;
    std::int32_t status = 0;
    std::int64_t iterations = 0;
    SavedPlan* saved = nullptr;
    Solution solution;
    solution.f = f_.data();
    solution.g = g_.data();
    solution.sharp = &sharp;
    solution.regularized = &regularized;
    solution.mass = &report.mass;
    solution.residual = &report.residual;
    solution.iterations = &iterations;
    solution.status = &status;
    if (solve_.differentiable && solve_.gradient == Gradient::implicit) solution.saved = &saved;
    forward(problem, options, solution);
    saved_.reset(saved);
    *value = static_cast<T>(sharp);
    report.done = (status & kConverged) && !(status & kRefused);
  }

  // dL/da and dL/db, and W = dL/dD where points want it. Returns the relative residual of the linear system.
  double gradient(double upstream, double* d_a, double* d_b, T* w, Interrupt* interrupt) const {
    if (solve_.gradient == Gradient::frozen) {
      std::fill(d_a, d_a + n_, 0.0);
      std::fill(d_b, d_b + m_, 0.0);
      if (w) plan(upstream, w);
      return 0.0;
    }
    const std::vector<double> none(std::max<std::int64_t>(n_, m_), 0.0);
    const Problem problem = describe();
    const SavedPlan* saved = saved_.get();
    double residual = 0.0;
    Adjoint adjoint;
    adjoint.mode = solve_.gradient;
    adjoint.f = f_.data();
    adjoint.g = g_.data();
    adjoint.grad_sharp = &upstream;
    adjoint.grad_regularized = adjoint.grad_f = adjoint.grad_g = none.data();
    adjoint.grad_cost = w;
    adjoint.grad_a = d_a;
    adjoint.grad_b = d_b;
    adjoint.residual = &residual;
    adjoint.max_iter = solve_.max_iter;
    adjoint.threads = solve_.threads;
    adjoint.saved = &saved;
    adjoint.interrupt = interrupt;
    backward(problem, adjoint);
    return residual;
  }

  std::int64_t rows() const { return n_; }
  std::int64_t columns() const { return m_; }

 private:
  // upstream P
  void plan(double upstream, T* w) const {
    const RowKernels<T>& kernels = row_kernels<T>();
    std::vector<double> row(m_);
    for (std::int64_t i = 0; i < n_; ++i, w += m_) {
      kernels.plan(d_.data() + i * m_, nullptr, f_[i], g_.data(), 1.0 / epsilon_, row.data(), 0, m_);
      for (std::int64_t j = 0; j < m_; ++j) w[j] = static_cast<T>(upstream * row[j]);
    }
  }

  Problem describe() const {
    Problem problem;
    problem.batch = 1;
    problem.n = n_;
    problem.m = m_;
    problem.float64 = sizeof(T) == 8;
    problem.cost = d_.data();
    problem.cost_stride_problem = n_ * m_;
    problem.cost_stride_row = m_;
    problem.a = a_.data();
    problem.b = b_.data();
    problem.epsilon = &epsilon_;
    problem.kappa = solve_.kappa;
    problem.reference = solve_.reference;
    return problem;
  }

  const std::vector<double> a_, b_;
  LossSolve solve_;
  const std::int64_t n_, m_;
  Array<T> d_;
  std::vector<double> f_, g_;
  double epsilon_ = 1.0;
  std::unique_ptr<SavedPlan> saved_;
};

// Share of |y|^2 below which a mean distance may be the rounding of points that coincide.
constexpr double kCoincide = 1e-26;

template <typename T>
double square(const Points& points, std::int64_t i, std::int64_t k) {
  const T* p = static_cast<const T*>(points.data) + (points.index ? points.index[i] : i) * points.stride;
  double sum = 0.0;
  for (std::int64_t c = 0; c < k; ++c) sum += static_cast<double>(p[c]) * static_cast<double>(p[c]);
  return sum;
}

template <typename T>
std::vector<double> widened(const std::vector<T>& x) {
  return {x.begin(), x.end()};
}

template <typename T>
class Balance final : public BalanceLoss {
 public:
  // nullptr where the groups or the propensities are not as they should be.
  static std::unique_ptr<Balance> make(const BalanceInput& in, const LossSolve& solve, T* value, LossReport& report) {
    auto loss = std::unique_ptr<Balance>(new Balance);
    loss->order_.resize(in.size);
    loss->count_ = partition(in.treated, in.size, loss->order_.data());
    loss->k_ = in.k;
    loss->how_ = in.how;
    loss->all_ = in.all;
    const std::int64_t others = in.all ? in.size : in.size - loss->count_;
    if (loss->count_ == 0 || others == 0) return nullptr;
    if (!loss->weigh(in, report)) return nullptr;
    loss->transport_ = std::make_unique<Transport<T>>(widened(loss->a_), widened(loss->b_), solve);
    report.rows = loss->count_;
    const Points &phi = in.phi, x = loss->rows(phi.data, phi.stride), y = loss->columns(phi.data, phi.stride);
    T* cost = loss->transport_->cost();
    const double mean = squared_distances(x, y, in.k, sizeof(T) == 8, in.scaled, 1.0, cost, solve.threads);
    if (!std::isfinite(mean) || (in.scaled && !(mean > kCoincide * square<T>(y, 0, in.k)))) return nullptr;
    loss->scale_ = in.scaled ? 1.0 / mean : 1.0;
    loss->threads_ = solve.threads;
    loss->transport_->run(solve.interrupt, value, report);
    return loss;
  }

  double gradient(const void* q, const void* phi, std::int64_t stride, const void* upstream, void* d_q,
                  void* d_phi, Interrupt* interrupt) const override {
    const std::int64_t n = transport_->rows(), m = transport_->columns(), size = static_cast<std::int64_t>(order_.size());
    std::vector<double> d_a(n), d_b(m);
    const Array<T> w(d_phi ? n * m : 0);
    const double residual = transport_->gradient(static_cast<double>(*static_cast<const T*>(upstream)), d_a.data(), d_b.data(),
                                                 d_phi ? w.data() : nullptr, interrupt);
    if (d_q) {
      std::fill(static_cast<T*>(d_q), static_cast<T*>(d_q) + size, T(0));
      pull_back(q, order_.data(), a_, d_a, false, d_q);
      if (!all_) pull_back(q, order_.data() + count_, b_, d_b, true, d_q);
    }
    if (d_phi) {
      const Points x = rows(phi, stride), y = columns(phi, stride);
      const Array<T> d_x(n * k_), d_y(m * k_);
      distances_gradient(w.data(), x, y, k_, sizeof(T) == 8, 2.0 * scale_, d_x.data(), d_y.data(), threads_);
      std::fill(static_cast<T*>(d_phi), static_cast<T*>(d_phi) + size * k_, T(0));
      const auto scatter = [&](const Points& points, const T* d) {  // with `all` a treated sample is on both sides
        for (std::int64_t i = 0; i < points.count; ++i, d += k_) {
          T* out = static_cast<T*>(d_phi) + (points.index ? points.index[i] : i) * k_;
          for (std::int64_t c = 0; c < k_; ++c) out[c] += d[c];
        }
      };
      scatter(x, d_x.data());
      scatter(y, d_y.data());
    }
    return residual;
  }

 private:
  Points rows(const void* phi, std::int64_t stride) const { return {phi, stride, order_.data(), count_}; }
  Points columns(const void* phi, std::int64_t stride) const {
    const std::int64_t size = static_cast<std::int64_t>(order_.size());
    return all_ ? Points{phi, stride, nullptr, size} : Points{phi, stride, order_.data() + count_, size - count_};
  }

  bool weigh(const BalanceInput& in, LossReport& report) {
    a_.resize(count_);
    how_.other = false;
    const WeightReport treated = inverse_masses(in.q, order_.data(), count_, how_, a_.data());
    // the propensities of all samples are looked at, also where only the treated ones are weighed
    b_.resize(in.size - count_);
    how_.other = true;
    const WeightReport others = inverse_masses(in.q, order_.data() + count_, in.size - count_, how_, b_.data());
    if (treated.invalid >= 0 || others.invalid >= 0) return false;
    report.ess_rows = treated.ess;
    report.ess_columns = all_ ? static_cast<double>(in.size) : others.ess;
    if (all_) b_.assign(in.size, static_cast<T>(1.0 / static_cast<double>(in.size)));
    return true;
  }

  void pull_back(const void* q, const std::int64_t* index, const std::vector<T>& mass, const std::vector<double>& d_mass,
                 bool other, void* d_q) const {
    Weighting how = how_;
    how.other = other;
    const std::vector<T> d(d_mass.begin(), d_mass.end());
    inverse_masses_gradient(q, index, static_cast<std::int64_t>(mass.size()), how, mass.data(), d.data(), d_q);
  }

  std::vector<std::int64_t> order_;
  std::int64_t count_ = 0, k_ = 0;
  Weighting how_;
  bool all_ = false;
  double scale_ = 1.0;
  int threads_ = 1;
  std::vector<T> a_, b_;
  std::unique_ptr<Transport<T>> transport_;
};

// The brackets of gamma are squared distances too: those of [z_i; y_i] and [y_j; z_j].
template <typename T>
class Outcome final : public OutcomeLoss {
 public:
  static std::unique_ptr<Outcome> make(const OutcomeInput& in, const LossSolve& solve, T* value, LossReport& report) {
    const std::int64_t size = in.r.count;
    auto loss = std::unique_ptr<Outcome>(new Outcome);
    loss->order_.resize(size);
    loss->count_ = partition(in.treated, size, loss->order_.data());
    if (loss->count_ == 0 || loss->count_ == size) return nullptr;
    loss->gather(in);
    loss->threads_ = solve.threads;
    const std::int64_t n = loss->count_, m = size - n;
    loss->transport_ = std::make_unique<Transport<T>>(uniform(n), uniform(m), solve);
    T* cost = loss->transport_->cost();
    const double mean = squared_distances(loss->rows(loss->r_, in.k), loss->columns(loss->r_, in.k), in.k, sizeof(T) == 8, false,
                                          in.scale, cost, solve.threads);
    if (!std::isfinite(mean)) return nullptr;
    if (in.d > 0) {
      const std::int64_t width = 2 * in.d;
      const Array<T> brackets(n * m);
      squared_distances(loss->rows(loss->z_, width), loss->columns(loss->z_, width), width, sizeof(T) == 8, false, in.gamma,
                        brackets.data(), solve.threads);
      for (std::int64_t e = 0; e < n * m; ++e) cost[e] += brackets[e];
    }
    loss->transport_->run(solve.interrupt, value, report);
    return loss;
  }

  double gradient(const void* upstream, void* d_r, void* d_other, std::int64_t row, std::int64_t column,
                  Interrupt* interrupt) const override {
    const std::int64_t n = transport_->rows(), m = transport_->columns(), width = 2 * d_;
    std::vector<double> d_a(n), d_b(m);
    const Array<T> w(n * m), d_points((n + m) * std::max(k_, width));
    const double residual =
        transport_->gradient(static_cast<double>(*static_cast<const T*>(upstream)), d_a.data(), d_b.data(), w.data(), interrupt);
    const auto distances = [&](const Array<T>& points, std::int64_t k, double factor) {
      distances_gradient(w.data(), rows(points, k), columns(points, k), k, sizeof(T) == 8, 2.0 * factor, d_points.data(),
                         d_points.data() + n * k, threads_);
    };
    if (d_r) {
      distances(r_, k_, scale_);
      for (std::int64_t i = 0; i < n + m; ++i)
        std::copy(d_points.data() + i * k_, d_points.data() + (i + 1) * k_, static_cast<T*>(d_r) + order_[i] * k_);
    }
    if (d_other) {
      distances(z_, width, gamma_);
      for (std::int64_t i = 0; i < n + m; ++i) {
        T* out = static_cast<T*>(d_other) + order_[i] * row;
        const T* d = d_points.data() + i * width + (i < n ? 0 : d_);
        for (std::int64_t c = 0; c < d_; ++c) out[c * column] = d[c];
      }
    }
    return residual;
  }

 private:
  static std::vector<double> uniform(std::int64_t size) { return std::vector<double>(size, 1.0 / static_cast<double>(size)); }

  // r, and the outcomes side by side; treated samples first.
  void gather(const OutcomeInput& in) {
    const std::int64_t size = in.r.count;
    k_ = in.k;
    d_ = in.d;
    scale_ = in.scale;
    gamma_ = in.gamma;
    r_ = Array<T>(size * k_);
    z_ = Array<T>(size * 2 * d_);
    const auto outcome = [&](const Columns& columns, std::int64_t sample, T* out) {
      const T* from = static_cast<const T*>(columns.data) + sample * columns.row;
      for (std::int64_t c = 0; c < d_; ++c) out[c] = from[c * columns.column];
    };
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int64_t sample = order_[i];
      const T* r = static_cast<const T*>(in.r.data) + sample * in.r.stride;
      std::copy(r, r + k_, r_.data() + i * k_);
      if (d_ == 0) continue;
      const bool treated = i < count_;
      outcome(treated ? in.other : in.factual, sample, z_.data() + i * 2 * d_);
      outcome(treated ? in.factual : in.other, sample, z_.data() + i * 2 * d_ + d_);
    }
  }

  Points rows(const Array<T>& points, std::int64_t k) const { return {points.data(), k, nullptr, count_}; }
  Points columns(const Array<T>& points, std::int64_t k) const {
    return {points.data() + count_ * k, k, nullptr, static_cast<std::int64_t>(order_.size()) - count_};
  }

  std::vector<std::int64_t> order_;
  std::int64_t count_ = 0, k_ = 0, d_ = 0;
  double scale_ = 1.0, gamma_ = 0.0;
  int threads_ = 1;
  Array<T> r_, z_;
  std::unique_ptr<Transport<T>> transport_;
};

}  // namespace

std::unique_ptr<BalanceLoss> balance_loss(const BalanceInput& input, const LossSolve& solve, void* value, LossReport& report) {
  if (input.how.float64) return Balance<double>::make(input, solve, static_cast<double*>(value), report);
  return Balance<float>::make(input, solve, static_cast<float*>(value), report);
}

std::unique_ptr<OutcomeLoss> outcome_loss(const OutcomeInput& input, const LossSolve& solve, void* value, LossReport& report) {
  if (input.float64) return Outcome<double>::make(input, solve, static_cast<double*>(value), report);
  return Outcome<float>::make(input, solve, static_cast<float*>(value), report);
}

}  // namespace wbm::cpu
