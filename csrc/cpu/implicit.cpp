// Implicit and frozen gradients of one problem.
//
// With E = log P = (f + g - D) / eps, upstream s (sharp cost), w (regularised cost), q (potentials) and
// [x; y] the solution of the linear system with the right side -s [(P.E)1 + r f/kappa1; (P.E)'1 + c g/kappa2] + q,
//
//     dL/dD = P . (s (1 + E) + x + y + w)
//     dL/da = k1' (r/a) (s f + eps x) + w dW/da,      k1' = 1 (entropy), 1 + eps/kappa1 (product);  same for b.
//
// W is the regularised cost: dW/da = f (hard) or kappa1 (1 - r/a) (soft), and with the product reference the dual
// potential f - eps log a in the place of f, and a further -eps (r/a - sum b).
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "cpu/gradient.h"
#include "cpu/linear_system.h"
#include "cpu/report.h"

namespace wbm {
namespace {

// dL/dmass where the mass is positive; x is the solution's part for this side.
void mass_gradient(const Side& side, const Upstream& up, const double* potential, const std::vector<double>& sums,
                   const std::vector<double>& x, double epsilon, double other_total, std::vector<double>& d_mass) {
  const double k = side.dual_shift > 0.0 && !side.hard ? 1.0 + epsilon / side.kappa : 1.0;
  for (std::int64_t i = 0; i < side.size; ++i) {
    if (!(side.mass[i] > 0.0)) continue;
    const double share = sums[i] / side.mass[i];
    if (side.active[i]) d_mass[i] += k * share * (up.sharp * potential[i] + epsilon * x[i]);
    if (up.regularized == 0.0) continue;
    double w = side.hard ? potential[i] - side.dual_shift * side.log_mass[i] : side.kappa * (1.0 - share);
    w -= side.dual_shift * (share - other_total);
    d_mass[i] += up.regularized * w;
  }
}

// dL/dmass where the mass is zero: the one-sided derivative. The row's plan vanishes, its shape w_j = softmax_j
// ((g_j - D_ij)/eps) does not: lambda_i = tau sum_j w_j (s D_ij - mu_j), mu = s g + eps y, tau = kappa/(eps + kappa),
// and r/a tends to 1 (hard) or to S^tau' (product, soft; S = sum_j exp((g_j - D_ij)/eps), tau' = eps/(eps + kappa)).
// With the entropy reference and finite kappa r/a is infinite there, and so is dW/da with the entropy reference:
// both are returned as 0.
template <typename Entry>
double vanished_mass_gradient(const Side& side, const Side& other, const Upstream& up, const double* g,
                              const std::vector<double>& y, double epsilon, const Entry& entry) {
  if (!differentiable_at_zero(side)) return 0.0;
  const bool product = side.dual_shift > 0.0;
  double top = -kInf, sum = 0.0, lambda = 0.0;
  for (std::int64_t j = 0; j < other.size; ++j)
    if (other.active[j]) top = std::fmax(top, g[j] - entry(j));
  if (!(top > -kInf)) return 0.0;
  for (std::int64_t j = 0; j < other.size; ++j) {
    if (!other.active[j]) continue;
    const double x = g[j] - entry(j);
    if (!(x > -kInf)) continue;
    const double w = std::exp((x - top) / epsilon);
    sum += w;
    lambda += w * (-up.sharp * x - epsilon * y[j]);
  }
  lambda *= side.ratio / sum;
  const double log_sum = top / epsilon + std::log(sum);
  const double share = side.hard ? 1.0 : std::exp(log_sum * epsilon / (epsilon + side.kappa));
  double d = (side.hard ? 1.0 : 1.0 + epsilon / side.kappa) * share * lambda;
  if (product) {
    const double w = side.hard ? -epsilon * log_sum : side.kappa * (1.0 - share);
    d += up.regularized * (w - epsilon * (share - other.total));
  }
  return d;
}

template <typename T>
class ImplicitGradient {
 public:
  ImplicitGradient(const View<T>& view, const Adjoint& adjoint, std::int64_t p, int threads)
      : view_(view), n_(view.n), m_(view.m), threads_(threads), f_(adjoint.f + p * n_), g_(adjoint.g + p * m_),
        up_(read_upstream(view.rows, view.columns, adjoint, p)), plan_(new double[n_ * m_]), r_(n_), c_(m_, 0.0),
        x_(n_), y_(m_), da_(n_), db_(m_) {}

  void run(const Adjoint& adjoint, std::int64_t p) {
    std::vector<double> h1(n_), h2(m_, 0.0);
    fill_plan(h1, h2);
    adjoint.residual[p] = 0.0;
    if (adjoint.mode != Gradient::frozen) {
      if (view_.both_hard()) {
        pull_back_gauge(view_.rows, up_.gauge, f_, up_.f, da_);
        pull_back_gauge(view_.columns, -up_.gauge, g_, up_.g, db_);
      }
      eliminate_empty(view_.rows, view_.columns, g_, r_, up_.f, up_.g, da_, /*by_rows=*/true);
      eliminate_empty(view_.columns, view_.rows, f_, c_, up_.g, up_.f, db_, /*by_rows=*/false);
      if (right_side(h1, h2)) adjoint.residual[p] = solve(h1, h2);
      mass_gradients();
    }
    cost_gradient(static_cast<T*>(adjoint.grad_cost) + p * n_ * m_, adjoint.mode == Gradient::frozen);
    write_mass_gradients(view_, da_, db_, adjoint, p);
  }

 private:
  double log_plan(std::int64_t i, std::int64_t j, T cost) const {
    return (f_[i] + g_[j] - static_cast<double>(cost)) * view_.inverse_epsilon;
  }

  // P, r = P1, c = P'1 and the entropy sums (P.E)1, (P.E)'1. Entries that flushed to zero count as zero.
  void fill_plan(std::vector<double>& row_entropy, std::vector<double>& column_entropy) {
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
    {
#pragma omp for schedule(static)
      for (std::int64_t i = 0; i < n_; ++i) {
        double* p = plan_.get() + i * m_;
        plan_row(view_, i, f_, g_, p, 0, m_);
        const T* cost = view_.row(i);
        double r = 0.0, e = 0.0;
        for (std::int64_t j = 0; j < m_; ++j) {
          r += p[j];
          if (p[j] > 0.0) e += p[j] * log_plan(i, j, cost[j]);
        }
        r_[i] = r;
        row_entropy[i] = e;
      }
#pragma omp for schedule(static)
      for (std::int64_t begin = 0; begin < m_; begin += 64) {
        const std::int64_t end = std::min<std::int64_t>(begin + 64, m_);
        for (std::int64_t i = 0; i < n_; ++i) {
          const double* p = plan_.get() + i * m_;
          const T* cost = view_.row(i);
          for (std::int64_t j = begin; j < end; ++j) {
            if (!(p[j] > 0.0)) continue;
            c_[j] += p[j];
            column_entropy[j] += p[j] * log_plan(i, j, cost[j]);
          }
        }
      }
    }
  }

  // A row with mass whose plan underflows does not couple back, but its potential still depends on the others:
  // df_i = s da_i/a_i - ratio sum_j w_j (dg_j - dD_ij), w = softmax_j((g_j - D_ij)/eps). Its q_f is passed on along that
  // line, and the row counts as empty.
  void eliminate_empty(const Side& side, const Side& other, const double* partner, std::vector<double>& sums, std::vector<double>& q, std::vector<double>& q_other,
                       std::vector<double>& d_mass, bool by_rows) {
    double mass = 0.0;
    for (const double x : sums) mass += x;
    for (std::int64_t i = 0; i < side.size; ++i) {
      if (!side.active[i] || sums[i] > kEmpty * mass) continue;
      sums[i] = 0.0;
      if (q[i] == 0.0) continue;
      const auto entry = [&](std::int64_t j) { return by_rows ? cost_at(view_, i, j) : cost_at(view_, j, i); };
      // w as a softmax of its own: the residual does not see an empty row, whose potential may lag behind the others.
      double top = -kInf, sum = 0.0;
      for (std::int64_t j = 0; j < other.size; ++j)
        if (other.active[j]) top = std::fmax(top, partner[j] - entry(j));
      for (std::int64_t j = 0; j < other.size; ++j)
        if (other.active[j]) sum += std::exp((partner[j] - entry(j) - top) * view_.inverse_epsilon);
      for (std::int64_t j = 0; j < other.size; ++j) {
        if (!other.active[j] || !(entry(j) < kInf)) continue;
        const double flow =
            side.ratio * q[i] * std::exp((partner[j] - entry(j) - top) * view_.inverse_epsilon) / sum;
        q_other[j] -= flow;
        if (flow != 0.0) extra_.push_back({by_rows ? i : j, by_rows ? j : i, flow});
      }
      d_mass[i] += side.strength * q[i] / side.mass[i];
      q[i] = 0.0;
    }
  }

  // Turns the entropy sums into the right side; false when it is zero and there is nothing to solve.
  bool right_side(std::vector<double>& h1, std::vector<double>& h2) const {
    const auto assemble = [&](const Side& side, const double* potential, const std::vector<double>& sums,
                              const std::vector<double>& q, std::vector<double>& h) {
      double largest = 0.0;
      for (std::int64_t i = 0; i < side.size; ++i) {
        const double soft = side.hard || !(sums[i] > 0.0) ? 0.0 : sums[i] * potential[i] / side.kappa;
        h[i] = -up_.sharp * (h[i] + soft) + q[i];
        largest = std::fmax(largest, std::fabs(h[i]));
      }
      return largest;
    };
    const double rows = assemble(view_.rows, f_, r_, up_.f, h1), columns = assemble(view_.columns, g_, c_, up_.g, h2);
    return rows > 0.0 || columns > 0.0;
  }

  double solve(const std::vector<double>& h1, const std::vector<double>& h2) {
    const auto k = [&](const Side& side) { return side.hard ? 1.0 : 1.0 + view_.epsilon / side.kappa; };
    const LinearSystem system{n_, m_, plan_.get(), r_, c_, k(view_.rows), k(view_.columns), view_.both_hard(), threads_};
    return system.solve(h1, h2, x_, y_);
  }

  void mass_gradients() {
    const Side &rows = view_.rows, &columns = view_.columns;
    const double eps = view_.epsilon;
    constexpr bool float64 = sizeof(T) == 8;
    mass_gradient(rows, up_, f_, r_, x_, eps, columns.total, da_);
    mass_gradient(columns, up_, g_, c_, y_, eps, rows.total, db_);
    const auto cost = [&](std::int64_t i, std::int64_t j) { return cost_at(view_, i, j); };
    for (std::int64_t i = 0; i < n_; ++i)
      if (!(rows.mass[i] > 0.0))
        da_[i] = bounded(vanished_mass_gradient(rows, columns, up_, g_, y_, eps, [&](std::int64_t j) { return cost(i, j); }),
                         float64);
    for (std::int64_t j = 0; j < m_; ++j)
      if (!(columns.mass[j] > 0.0))
        db_[j] = bounded(vanished_mass_gradient(columns, rows, up_, f_, x_, eps, [&](std::int64_t i) { return cost(i, j); }),
                         float64);
  }

  void cost_gradient(T* out, bool frozen) const {
    const double constant = up_.sharp + up_.regularized;
#pragma omp parallel for num_threads(threads_) if (threads_ > 1) schedule(static)
    for (std::int64_t i = 0; i < n_; ++i) {
      const double* p = plan_.get() + i * m_;
      const T* cost = view_.row(i);
      for (std::int64_t j = 0; j < m_; ++j) {
        double d = 0.0;
        if (p[j] > 0.0)
          d = p[j] * (frozen ? constant : constant + up_.sharp * log_plan(i, j, cost[j]) + x_[i] + y_[j]);
        out[i * m_ + j] = static_cast<T>(d);
      }
    }
    if (frozen) return;
    for (const Extra& e : extra_) out[e.i * m_ + e.j] += static_cast<T>(e.flow);
  }

  // Rows with less than this share of the plan count as empty: 1/r would overflow with what it multiplies.
  static constexpr double kEmpty = 1e-100;
  struct Extra {
    std::int64_t i, j;
    double flow;
  };

  const View<T>& view_;
  const std::int64_t n_, m_;
  const int threads_;
  const double *f_, *g_;
  Upstream up_;
  std::unique_ptr<double[]> plan_;
  std::vector<double> r_, c_, x_, y_, da_, db_;
  std::vector<Extra> extra_;  // what the potentials of empty rows and columns add to dL/dD
};

}  // namespace

template <typename T>
void implicit_gradient(const View<T>& view, const Adjoint& adjoint, std::int64_t p, int threads) {
  ImplicitGradient<T>(view, adjoint, p, threads).run(adjoint, p);
}

template void implicit_gradient<float>(const View<float>&, const Adjoint&, std::int64_t, int);
template void implicit_gradient<double>(const View<double>&, const Adjoint&, std::int64_t, int);

}  // namespace wbm
