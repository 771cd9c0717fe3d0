// The exact derivative of the iterations that were run, by replaying them backwards from the stored potentials.
//
// g_j = s2 log b_j - lambda2 log sum_i exp((f_i - D_ij) / eps) has the derivatives
//
//     dg_j/df_i = -ratio2 w_ij,   dg_j/dD_ij = ratio2 w_ij,   dg_j/d log b_j = s2,   w_ij = softmax_i((f_i - D_ij)/eps),
//
// and the same holds for f with the rows. w needs no new log sum: w_ij = exp((f_i + h_j - D_ij) / eps) with
// h_j = (g_j - s2 log b_j) / ratio2 from the stored g. Two exponentials per entry and iteration; memory O(L (n + m)) for
// the history and one n x m array for dD.
//
// Where b_j = 0 nothing flows and nothing is passed on; the derivative there is one-sided, from what a unit of mass
// would carry: exp(g_j / eps) / b_j = exp(-ratio2 l_j), l_j the log sum.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "cpu/gradient/gradient.h"
#include "cpu/kernels/kernels.h"
#include "cpu/problem/report.h"

namespace wbm {
namespace {

constexpr std::int64_t kBlock = 256;  // columns a thread sums at a time

template <typename T>
class UnrolledGradient {
 public:
  UnrolledGradient(const View<T>& view, const Adjoint& adjoint, std::int64_t p, Team& team)
      : view_(view), kernels_(row_kernels<T>()), team_(team), n_(view.n), m_(view.m),
        history_(adjoint.history + p * (adjoint.max_iter + 1) * (n_ + m_)), iterations_(adjoint.iterations[p]),
        up_(read_upstream(view.rows, view.columns, adjoint, p)), d_cost_(new double[n_ * m_]), da_(n_), db_(m_),
        h_f_(n_), h_g_(m_), flow_f_(n_), flow_g_(m_) {}

  void run(const Adjoint& adjoint, std::int64_t p) {
    if (view_.both_hard()) {
      pull_back_gauge(view_.rows, up_.gauge, f(iterations_), up_.f, da_);
      pull_back_gauge(view_.columns, -up_.gauge, g(iterations_), up_.g, db_);
    }
    last_plan();
    for (std::int64_t l = iterations_; l >= 1; --l) {
      through_columns(l);
      through_rows(l);
    }
    bound(view_.rows, da_);
    bound(view_.columns, db_);
    T* out = static_cast<T*>(adjoint.grad_cost) + p * n_ * m_;
    for (std::int64_t k = 0; k < n_ * m_; ++k) out[k] = static_cast<T>(d_cost_[k]);
    write_mass_gradients(view_, da_, db_, adjoint, p);
    adjoint.residual[p] = 0.0;
  }

 private:
  const double* f(std::int64_t l) const { return history_ + l * (n_ + m_); }
  const double* g(std::int64_t l) const { return f(l) + n_; }

  static void bound(const Side& side, std::vector<double>& d) {
    for (std::int64_t i = 0; i < side.size; ++i)
      if (!(side.mass[i] > 0.0)) d[i] = bounded(d[i], sizeof(T) == 8);
  }

  // The costs as functions of the last plan: with G = s D + w (alpha_i + beta_j), alpha_i = f_i - shift log a_i
  // + kappa1 log(r_i / a_i) (the last term where soft), dL/dP = G and dP = P (df + dg - dD) / eps.
  void last_plan() {
    const double *f_last = f(iterations_), *g_last = g(iterations_);
    const double s = up_.sharp, w = up_.regularized, inverse = view_.inverse_epsilon;
    std::vector<double> r(n_, 0.0), c(m_, 0.0), row(m_);
    for (std::int64_t i = 0; i < n_; ++i) {
      plan_row(view_, i, f_last, g_last, row.data(), 0, m_);
      for (std::int64_t j = 0; j < m_; ++j) r[i] += row[j], c[j] += row[j];
    }
    const std::vector<double> alpha = slope(view_.rows, f_last, r), beta = slope(view_.columns, g_last, c);
    for (std::int64_t i = 0; i < n_; ++i) {
      plan_row(view_, i, f_last, g_last, row.data(), 0, m_);
      const T* cost = view_.row(i);
      for (std::int64_t j = 0; j < m_; ++j) {
        double& d = d_cost_[i * m_ + j];
        d = 0.0;
        if (!(row[j] > 0.0)) continue;
        const double part = row[j] * (s * static_cast<double>(cost[j]) + w * (alpha[i] + beta[j])) * inverse;
        up_.f[i] += part;
        up_.g[j] += part;
        d = row[j] * (s + w) - part;
      }
    }
    explicit_masses(view_.rows, r, view_.columns.total, da_);
    explicit_masses(view_.columns, c, view_.rows.total, db_);
    for (std::int64_t i = 0; i < n_; ++i)
      if (!(view_.rows.mass[i] > 0.0))
        da_[i] = vanished(view_.rows, view_.columns, iterations_ > 0 ? g(iterations_ - 1) : nullptr, g_last, beta,
                          [&](std::int64_t j) { return cost_at(view_, i, j); });
    for (std::int64_t j = 0; j < m_; ++j)
      if (!(view_.columns.mass[j] > 0.0))
        db_[j] = vanished(view_.columns, view_.rows, f_last, f_last, alpha,
                          [&](std::int64_t i) { return cost_at(view_, i, j); });
  }

  std::vector<double> slope(const Side& side, const double* potential, const std::vector<double>& sums) const {
    std::vector<double> out(side.size, 0.0);
    for (std::int64_t i = 0; i < side.size; ++i) {
      if (!side.active[i]) continue;
      out[i] = potential[i] - side.dual_shift * side.log_mass[i];
      if (!side.hard && sums[i] > 0.0) out[i] += side.kappa * (std::log(sums[i]) - side.log_mass[i]);
    }
    return out;
  }

  // What the regularised cost holds of the masses themselves: kappa (1 - r/a) and -shift (r/a - sum b).
  void explicit_masses(const Side& side, const std::vector<double>& sums, double other_total, std::vector<double>& d) {
    if (up_.regularized == 0.0) return;
    for (std::int64_t i = 0; i < side.size; ++i) {
      if (!(side.mass[i] > 0.0)) continue;
      const double share = sums[i] / side.mass[i];
      d[i] += up_.regularized * ((side.hard ? 0.0 : side.kappa * (1.0 - share)) - side.dual_shift * (share - other_total));
    }
  }

  // phi = -ratio eps log sum_j exp((x_j - D_ij) / eps), the potential of one unit of mass.
  template <typename Entry>
  double unit_potential(const Side& side, const Side& other, const double* x, const Entry& entry) const {
    double top = -kInf, sum = 0.0;
    for (std::int64_t j = 0; j < other.size; ++j)
      if (other.active[j]) top = std::fmax(top, x[j] - entry(j));
    if (!(top > -kInf)) return -kInf;
    for (std::int64_t j = 0; j < other.size; ++j)
      if (other.active[j]) sum += std::exp((x[j] - entry(j) - top) * view_.inverse_epsilon);
    return -side.ratio * (top + view_.epsilon * std::log(sum));
  }

  // The last plan's share of the derivative at a zero mass: a unit of it would carry exp((phi + g_j - D_ij) / eps).
  // The entropy of the regularised cost has an infinite slope there with the entropy reference: left out.
  template <typename Entry>
  double vanished(const Side& side, const Side& other, const double* partner, const double* last,
                  const std::vector<double>& other_slope, const Entry& entry) const {
    if (!differentiable_at_zero(side) || !partner) return 0.0;
    const double phi = unit_potential(side, other, partner, entry);
    if (!(phi > -kInf)) return 0.0;
    const double w = side.dual_shift > 0.0 ? up_.regularized : 0.0;
    double d = 0.0, share = 0.0, partners = 0.0;
    for (std::int64_t j = 0; j < other.size; ++j) {
      if (!other.active[j] || !(entry(j) < kInf)) continue;
      const double carried = std::exp((phi + last[j] - entry(j)) * view_.inverse_epsilon);
      share += carried;
      d += carried * up_.sharp * entry(j);
      partners += carried * other_slope[j];
    }
    const double soft = side.hard || !(share > 0.0) ? 0.0 : side.kappa * (share * std::log(share) - share + 1.0);
    return d + w * (partners + share * phi + soft - side.dual_shift * (share - other.total));
  }

  // h = (potential - s log mass) / ratio = -eps (log sum), -inf where nothing flows
  static void unshift(const Side& side, const double* potential, std::vector<double>& h) {
    for (std::int64_t i = 0; i < side.size; ++i)
      h[i] = side.active[i] ? (potential[i] - side.strength * side.log_mass[i]) / side.ratio : -kInf;
  }

  static void set_flow(const Side& side, const std::vector<double>& d, std::vector<double>& flow,
                       std::vector<double>& d_mass) {
    for (std::int64_t i = 0; i < side.size; ++i) {
      flow[i] = side.active[i] ? side.ratio * d[i] : 0.0;
      if (side.active[i]) d_mass[i] += side.strength * d[i] / side.mass[i];
    }
  }

  // d_g of iteration l into d_f, d_cost and d_b.
  void through_columns(std::int64_t l) {
    unshift(view_.columns, g(l), h_g_);
    set_flow(view_.columns, up_.g, flow_g_, db_);
    team_.split(n_, [&](std::int64_t begin, std::int64_t end) {
      std::vector<double> w(m_);
      for (std::int64_t i = begin; i < end; ++i) {
        if (!view_.rows.active[i]) continue;
        kernels_.plan(view_.row(i), view_.mask_row(i), f(l)[i], h_g_.data(), view_.inverse_epsilon, w.data(), 0, m_);
        double sum = 0.0;
        for (std::int64_t j = 0; j < m_; ++j) {
          const double part = w[j] * flow_g_[j];
          sum += part;
          d_cost_[i * m_ + j] += part;
        }
        up_.f[i] -= sum;
      }
    });
    if (differentiable_at_zero(view_.rows))
      for (std::int64_t i = 0; i < n_; ++i)
        if (!(view_.rows.mass[i] > 0.0))
          da_[i] -= through_vanished(view_.rows, view_.columns, g(l - 1), h_g_, flow_g_,
                                     [&](std::int64_t j) { return cost_at(view_, i, j); });
  }

  // d_f of iteration l into d_g of the one before, d_cost and d_a.
  void through_rows(std::int64_t l) {
    unshift(view_.rows, f(l), h_f_);
    set_flow(view_.rows, up_.f, flow_f_, da_);
    std::fill(up_.f.begin(), up_.f.end(), 0.0);
    std::fill(up_.g.begin(), up_.g.end(), 0.0);
    team_.split((m_ + kBlock - 1) / kBlock, [&](std::int64_t first, std::int64_t last) {
      std::vector<double> w(m_);
      for (std::int64_t begin = first * kBlock; begin < std::min(last * kBlock, m_); begin += kBlock) {
        const std::int64_t end = std::min(begin + kBlock, m_);
        for (std::int64_t i = 0; i < n_; ++i) {
          if (!view_.rows.active[i]) continue;
          kernels_.plan(view_.row(i), view_.mask_row(i), h_f_[i], g(l - 1), view_.inverse_epsilon, w.data(), begin, end);
          for (std::int64_t j = begin; j < end; ++j) {
            const double part = w[j] * flow_f_[i];
            up_.g[j] -= part;
            d_cost_[i * m_ + j] += part;
          }
        }
      }
    });
    if (l > 1 && differentiable_at_zero(view_.columns))  // the start does not depend on b
      for (std::int64_t j = 0; j < m_; ++j)
        if (!(view_.columns.mass[j] > 0.0))
          db_[j] -= through_vanished(view_.columns, view_.rows, f(l - 1), h_f_, flow_f_,
                                     [&](std::int64_t i) { return cost_at(view_, i, j); });
  }

  // eps sum_j flow_j exp((phi + h_j - D_ij) / eps): what one unit of a zero mass adds to the other side's log sums.
  template <typename Entry>
  double through_vanished(const Side& side, const Side& other, const double* partner, const std::vector<double>& h,
                          const std::vector<double>& flow, const Entry& entry) const {
    const double phi = unit_potential(side, other, partner, entry);
    if (!(phi > -kInf)) return 0.0;
    double d = 0.0;
    for (std::int64_t j = 0; j < other.size; ++j)
      if (other.active[j] && flow[j] != 0.0 && entry(j) < kInf)
        d += flow[j] * std::exp((phi + h[j] - entry(j)) * view_.inverse_epsilon);
    return view_.epsilon * d;
  }

  const View<T>& view_;
  const RowKernels<T>& kernels_;
  Team& team_;
  const std::int64_t n_, m_;
  const double* history_;
  const std::int64_t iterations_;
  Upstream up_;  // its f, g become the running adjoints of the potentials
  std::unique_ptr<double[]> d_cost_;
  std::vector<double> da_, db_, h_f_, h_g_, flow_f_, flow_g_;
};

}  // namespace

template <typename T>
void unrolled_gradient(const View<T>& view, const Adjoint& adjoint, std::int64_t p, Team& team) {
  UnrolledGradient<T>(view, adjoint, p, team).run(adjoint, p);
}

template void unrolled_gradient<float>(const View<float>&, const Adjoint&, std::int64_t, Team&);
template void unrolled_gradient<double>(const View<double>&, const Adjoint&, std::int64_t, Team&);

}  // namespace wbm
