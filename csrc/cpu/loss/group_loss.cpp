#include "cpu/loss/group_loss.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "cpu/problem/saved_plan.h"
#include "cpu/kernels/kernels.h"
#include "cpu/runtime/memory.h"
#include "cpu/solver.h"

namespace wbm::cpu {
namespace {

// <D, P> of two sets of points, D_ij = |x_i - y_j|^2, over its mean where `scaled`.
template <typename T>
class PointTransport {
 public:
  PointTransport(std::vector<double> a, std::vector<double> b, const TermSolve& solve)
      : a_(std::move(a)), b_(std::move(b)), solve_(solve), n_(static_cast<std::int64_t>(a_.size())),
        m_(static_cast<std::int64_t>(b_.size())), d_(n_ * m_), f_(n_), g_(m_) {
    solve_.interrupt = nullptr;
  }

  void run(const Points& x, const Points& y, std::int64_t k, bool scaled, Interrupt* interrupt, T* value,
           TermReport& report) {
    const double mean = squared_distances(x, y, k, sizeof(T) == 8, scaled, d_.data(), solve_.threads);
    if (!std::isfinite(mean) || (scaled && !(mean > kCoincide * square(point(y, 0), k)))) return;
    scale_ = scaled ? 1.0 / mean : 1.0;
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
    if (solve_.keep && solve_.gradient == Gradient::implicit) solution.saved = &saved;
    forward(problem, options, solution);
    saved_.reset(saved);
    *value = static_cast<T>(sharp);
    report.done = (status & kConverged) && !(status & kRefused);
  }

  // dL/da and dL/db, and W = dL/dD where points want it. Returns the relative residual of the linear system.
  double gradient(double upstream, double* d_a, double* d_b, T* w) const {
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
    backward(problem, adjoint);
    return residual;
  }

  // dL/dx_i = 2 scale sum_j W_ij (x_i - y_j), dL/dy_j = 2 scale sum_i W_ij (y_j - x_i), rows of padded_columns(k) entries; the
  // points are taken from the mean of y, so that what cancels is no larger than the distances.
  void contract(const T* w, const Points& x, const Points& y, std::int64_t k, T* d_x, T* d_y) const {
    const std::int64_t padded = padded_columns(k);
    std::vector<double> centre(k, 0.0), rows(n_, 0.0), columns(m_, 0.0);
    distance_kernel<T>().sum(static_cast<const T*>(y.data), y.stride, y.index, m_, k, centre.data());
    for (double& c : centre) c /= static_cast<double>(m_);
    const Array<T> near_x(n_ * padded), near_y(m_ * padded);
    gather(x, centre, padded, near_x.data());
    gather(y, centre, padded, near_y.data());
    const MomentKernels<T>& kernels = moment_kernels<T>();
    kernels.margins(w, n_, m_, rows.data(), columns.data());
    kernels.products(w, m_, 1, n_, m_, near_y.data(), padded, d_x);
    kernels.products(w, 1, m_, m_, n_, near_x.data(), padded, d_y);
    finish(rows, near_x.data(), padded, d_x);
    finish(columns, near_y.data(), padded, d_y);
  }

  std::int64_t rows() const { return n_; }
  std::int64_t columns() const { return m_; }

 private:
  // Share of |y|^2 below which a mean distance may be the rounding of points that coincide.
  static constexpr double kCoincide = 1e-26;

  static double square(const T* p, std::int64_t k) {
    double sum = 0.0;
    for (std::int64_t c = 0; c < k; ++c) sum += static_cast<double>(p[c]) * static_cast<double>(p[c]);
    return sum;
  }

  static const T* point(const Points& points, std::int64_t i) {
    return static_cast<const T*>(points.data) + (points.index ? points.index[i] : i) * points.stride;
  }

  static void gather(const Points& points, const std::vector<double>& centre, std::int64_t padded, T* out) {
    const std::int64_t k = static_cast<std::int64_t>(centre.size());
    for (std::int64_t i = 0; i < points.count; ++i, out += padded) {
      const T* p = point(points, i);
      for (std::int64_t c = 0; c < k; ++c) out[c] = static_cast<T>(static_cast<double>(p[c]) - centre[c]);
      std::fill(out + k, out + padded, T(0));
    }
  }

  void finish(const std::vector<double>& margin, const T* near, std::int64_t padded, T* out) const {
    const T factor = static_cast<T>(2.0 * scale_);
    for (const double total : margin) {
      const T own = static_cast<T>(total);
      for (std::int64_t c = 0; c < padded; ++c) out[c] = factor * (own * near[c] - out[c]);
      near += padded;
      out += padded;
    }
  }

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
  TermSolve solve_;
  const std::int64_t n_, m_;
  Array<T> d_;
  std::vector<double> f_, g_;
  double epsilon_ = 1.0, scale_ = 1.0;
  std::unique_ptr<SavedPlan> saved_;
};

template <typename T>
std::vector<double> widened(const std::vector<T>& x) {
  return {x.begin(), x.end()};
}

template <typename T>
class Balance final : public BalanceTerm {
 public:
  // nullptr where the groups or the propensities are not as they should be.
  static std::unique_ptr<Balance> make(const BalanceInput& in, const TermSolve& solve, T* value, TermReport& report) {
    auto term = std::unique_ptr<Balance>(new Balance);
    term->order_.resize(in.size);
    term->count_ = partition(in.treated, in.size, term->order_.data());
    term->k_ = in.k;
    term->how_ = in.how;
    term->all_ = in.all;
    const std::int64_t others = in.all ? in.size : in.size - term->count_;
    if (term->count_ == 0 || others == 0) return nullptr;
    if (!term->weigh(in, report)) return nullptr;
    term->transport_ = std::make_unique<PointTransport<T>>(widened(term->a_), widened(term->b_), solve);
    const Points &phi = in.phi, x = term->rows(phi.data, phi.stride), y = term->columns(phi.data, phi.stride);
    term->transport_->run(x, y, in.k, in.scaled, solve.interrupt, value, report);
    report.rows = term->count_;
    return term;
  }

  double gradient(const void* q, const void* phi, std::int64_t stride, const void* upstream, void* d_q,
                  void* d_phi) const override {
    const std::int64_t n = transport_->rows(), m = transport_->columns(), size = static_cast<std::int64_t>(order_.size());
    std::vector<double> d_a(n), d_b(m);
    const Array<T> w(d_phi ? n * m : 0);
    const double residual = transport_->gradient(static_cast<double>(*static_cast<const T*>(upstream)), d_a.data(), d_b.data(),
                                                 d_phi ? w.data() : nullptr);
    if (d_q) {
      std::fill(static_cast<T*>(d_q), static_cast<T*>(d_q) + size, T(0));
      pull_back(q, order_.data(), a_, d_a, false, d_q);
      if (!all_) pull_back(q, order_.data() + count_, b_, d_b, true, d_q);
    }
    if (d_phi) {
      const std::int64_t padded = padded_columns(k_);
      const Array<T> d_x(n * padded), d_y(m * padded);
      transport_->contract(w.data(), rows(phi, stride), columns(phi, stride), k_, d_x.data(), d_y.data());
      std::fill(static_cast<T*>(d_phi), static_cast<T*>(d_phi) + size * k_, T(0));
      const auto scatter = [&](const Points& points, const T* d) {  // with `all` a treated sample is on both sides
        for (std::int64_t i = 0; i < points.count; ++i, d += padded) {
          T* out = static_cast<T*>(d_phi) + (points.index ? points.index[i] : i) * k_;
          for (std::int64_t c = 0; c < k_; ++c) out[c] += d[c];
        }
      };
      scatter(rows(phi, stride), d_x.data());
      scatter(columns(phi, stride), d_y.data());
    }
    return residual;
  }

 private:
  Points rows(const void* phi, std::int64_t stride) const { return {phi, stride, order_.data(), count_}; }
  Points columns(const void* phi, std::int64_t stride) const {
    const std::int64_t size = static_cast<std::int64_t>(order_.size());
    return all_ ? Points{phi, stride, nullptr, size} : Points{phi, stride, order_.data() + count_, size - count_};
  }

  bool weigh(const BalanceInput& in, TermReport& report) {
    a_.resize(count_);
    how_.other = false;
    const WeightReport treated = inverse_masses(in.q, order_.data(), count_, how_, a_.data());
    // the propensities of all samples are judged, also where only the treated ones are weighed
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
  std::vector<T> a_, b_;
  std::unique_ptr<PointTransport<T>> transport_;
};

// D is the squared distance of [root(scale) r_i; root(gamma) z_i; root(gamma) y_i] and [root(scale) r_j; root(gamma) y_j;
// root(gamma) z_j].
template <typename T>
class Outcome final : public OutcomeTerm {
 public:
  static std::unique_ptr<Outcome> make(const OutcomeInput& in, const TermSolve& solve, T* value, TermReport& report) {
    const std::int64_t size = in.r.count;
    auto term = std::unique_ptr<Outcome>(new Outcome);
    term->order_.resize(size);
    term->count_ = in.count;
    if (in.treated)
      term->count_ = partition(in.treated, size, term->order_.data());
    else
      std::iota(term->order_.begin(), term->order_.end(), std::int64_t(0));
    if (term->count_ == 0 || term->count_ == size) return nullptr;
    term->join(in);
    const std::int64_t n = term->count_, m = size - n;
    term->transport_ = std::make_unique<PointTransport<T>>(uniform(n), uniform(m), solve);
    term->transport_->run(term->rows(), term->columns(), term->width_, false, solve.interrupt, value, report);
    return term;
  }

  double gradient(const void* upstream, void* d_r, void* d_rows, void* d_columns, std::int64_t row,
                  std::int64_t column) const override {
    const std::int64_t n = transport_->rows(), m = transport_->columns(), padded = padded_columns(width_);
    std::vector<double> d_a(n), d_b(m);
    const Array<T> w(n * m), d_x(n * padded), d_y(m * padded);
    const double residual =
        transport_->gradient(static_cast<double>(*static_cast<const T*>(upstream)), d_a.data(), d_b.data(), w.data());
    transport_->contract(w.data(), rows(), columns(), width_, d_x.data(), d_y.data());
    const auto scatter = [&](const Points& points, const T* d, std::int64_t place, void* d_other) {
      for (std::int64_t i = 0; i < points.count; ++i, d += padded) {
        const std::int64_t sample = points.index[i];
        T* out = static_cast<T*>(d_r) + sample * k_;
        for (std::int64_t c = 0; c < k_; ++c) out[c] = root_scale_ * d[c];
        if (!d_other) continue;
        for (std::int64_t c = 0; c < d_; ++c)
          static_cast<T*>(d_other)[sample * row + c * column] = root_gamma_ * d[place + c];
      }
    };
    Points own_rows = rows(), own_columns = columns();
    own_rows.index = order_.data();
    own_columns.index = order_.data() + n;
    scatter(own_rows, d_x.data(), k_, d_rows);
    scatter(own_columns, d_y.data(), k_ + d_, d_columns);
    return residual;
  }

 private:
  static std::vector<double> uniform(std::int64_t size) { return std::vector<double>(size, 1.0 / static_cast<double>(size)); }

  // The joined points, those of treated samples first.
  void join(const OutcomeInput& in) {
    const std::int64_t size = in.r.count;
    k_ = in.k;
    d_ = in.d;
    width_ = k_ + 2 * d_;
    root_scale_ = static_cast<T>(std::sqrt(in.scale));
    root_gamma_ = static_cast<T>(std::sqrt(in.gamma));
    z_ = Array<T>(size * width_);
    const auto outcome = [&](const Columns& columns, std::int64_t sample, T* out) {
      const T* from = static_cast<const T*>(columns.data) + sample * columns.row;
      for (std::int64_t c = 0; c < d_; ++c) out[c] = root_gamma_ * from[c * columns.column];
    };
    T* out = z_.data();
    for (std::int64_t i = 0; i < size; ++i, out += width_) {
      const std::int64_t sample = order_[i];
      const T* r = static_cast<const T*>(in.r.data) + sample * in.r.stride;
      for (std::int64_t c = 0; c < k_; ++c) out[c] = root_scale_ * r[c];
      if (d_ == 0) continue;
      const bool treated = i < count_;
      outcome(treated ? in.other_rows : in.factual, sample, out + k_);
      outcome(treated ? in.factual : in.other_columns, sample, out + k_ + d_);
    }
  }

  Points rows() const { return {z_.data(), width_, nullptr, count_}; }
  Points columns() const {
    return {z_.data() + count_ * width_, width_, nullptr, static_cast<std::int64_t>(order_.size()) - count_};
  }

  std::vector<std::int64_t> order_;
  std::int64_t count_ = 0, k_ = 0, d_ = 0, width_ = 0;
  T root_scale_ = T(1), root_gamma_ = T(0);
  Array<T> z_;
  std::unique_ptr<PointTransport<T>> transport_;
};

}  // namespace

std::unique_ptr<BalanceTerm> balance_term(const BalanceInput& input, const TermSolve& solve, void* value, TermReport& report) {
  if (input.how.float64) return Balance<double>::make(input, solve, static_cast<double*>(value), report);
  return Balance<float>::make(input, solve, static_cast<float*>(value), report);
}

std::unique_ptr<OutcomeTerm> outcome_term(const OutcomeInput& input, const TermSolve& solve, void* value, TermReport& report) {
  if (input.float64) return Outcome<double>::make(input, solve, static_cast<double*>(value), report);
  return Outcome<float>::make(input, solve, static_cast<float*>(value), report);
}

}  // namespace wbm::cpu
