// Implicit and frozen gradients of one problem.
//
// With E = log P = (f + g - D) / eps, upstream s (sharp cost), w (regularised cost), q (potentials) and
// [x; y] the solution of the linear system with the right side -s [(P.E)1 + r f/kappa1; (P.E)'1 + c g/kappa2] + q,
//
//     dL/dD = P . (s (1 + E) + x + y + w)
//     dL/da = k1' (r/a) (s f + eps x) + w dW/da,      k1' = 1 (entropy), 1 + eps/kappa1 (product);  same for b.
//
// The plan is the one that the solve has kept, P = diag(u) K diag(v), else it is evaluated anew (K = P, u = v = 1).
//
// W is the regularised cost: dW/da = f (hard) or kappa1 (1 - r/a) (soft), and with the product reference the dual
// potential f - eps log a in the place of f, and a further -eps (r/a - sum b).
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "cpu/gradient/gradient.h"
#include "cpu/problem/saved_plan.h"
#include "cpu/kernels/kernels.h"
#include "cpu/gradient/linear_system.h"
#include "cpu/linear/stored_matrix.h"
#include "cpu/runtime/team.h"

namespace wbm {
namespace {

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

template <typename T, typename S>
class ImplicitGradient {
 public:
  ImplicitGradient(const View<T>& view, const Adjoint& adjoint, std::int64_t p, Team& team)
      : view_(view), n_(view.n), m_(view.m), team_(team), f_(adjoint.f + p * n_), g_(adjoint.g + p * m_),
        up_(read_upstream(view.rows, view.columns, adjoint, p)), k_(n_, m_, team), u_(n_, 1.0), v_(m_, 1.0), r_(n_),
        c_(m_, 0.0), h1_(n_), h2_(m_, 0.0), x_(n_), y_(m_), da_(n_), db_(m_), tolerance_(kTolerance) {
    if constexpr (std::is_same_v<S, double>) fill_plan(h1_, h2_);
  }

  ImplicitGradient(const StoredPlan<T, S>& saved, const View<T>& view, const Adjoint& adjoint, std::int64_t p, Team& team)
      : view_(view), n_(view_.n), m_(view_.m), team_(team), f_(adjoint.f + p * n_), g_(adjoint.g + p * m_),
        up_(read_upstream(view_.rows, view_.columns, adjoint, p)), k_(n_, m_, team, saved.k), u_(saved.u), v_(saved.v),
        r_(saved.sums.rows), c_(saved.sums.columns), h1_(saved.sums.row_entropy), h2_(saved.sums.column_entropy), x_(n_), y_(m_),
        da_(n_), db_(m_), tolerance_(std::fmax(kTolerance, kShare * saved.tolerance)), factor_(saved.factor.get()) {}

  void run(const Adjoint& adjoint, std::int64_t p) {
    adjoint.residual[p] = 0.0;
    if (adjoint.mode != Gradient::frozen) {
      if (view_.both_hard()) {
        pull_back_gauge(view_.rows, up_.gauge, f_, up_.f, da_);
        pull_back_gauge(view_.columns, -up_.gauge, g_, up_.g, db_);
      }
      eliminate_empty(view_.rows, view_.columns, g_, r_, up_.f, up_.g, da_, /*by_rows=*/true);
      eliminate_empty(view_.columns, view_.rows, f_, c_, up_.g, up_.f, db_, /*by_rows=*/false);
      if (right_side(h1_, h2_)) adjoint.residual[p] = solve();
      mass_gradients();
    }
    if (adjoint.grad_cost) cost_gradient(static_cast<T*>(adjoint.grad_cost) + p * n_ * m_, adjoint.mode == Gradient::frozen);
    write_mass_gradients(view_, da_, db_, adjoint, p);
  }

 private:
  // P, r = P1, c = P'1 and the entropy sums (P.E)1, (P.E)'1. Entries that flushed to zero count as zero. Chunks of rows
  // have their own column sums, added in order: the result does not depend on the number of threads.
  void fill_plan(std::vector<double>& row_entropy, std::vector<double>& column_entropy) {
    constexpr std::int64_t kChunk = 128;
    const std::int64_t chunks = (n_ + kChunk - 1) / kChunk;
    std::vector<double> columns(chunks * m_, 0.0), entropies(chunks * m_, 0.0);
    team_.split_if(k_.parallel(), chunks, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t chunk = first; chunk < last; ++chunk)
        for (std::int64_t i = chunk * kChunk; i < std::min((chunk + 1) * kChunk, n_); ++i) {
          double* p = k_.row(i);
          std::fill(p + m_, p + k_.padded(), 0.0);
          if (!view_.rows.active[i]) {  // a row that can carry nothing has no plan
            std::fill(p, p + m_, 0.0);
            continue;
          }
          row_kernels<T>().plan_sums(view_.row(i), view_.mask_row(i), f_[i], g_, view_.inverse_epsilon, m_, p,
                                     &columns[chunk * m_], &entropies[chunk * m_], &r_[i], &row_entropy[i]);
        }
    });
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk)
      for (std::int64_t j = 0; j < m_; ++j) {
        c_[j] += columns[chunk * m_ + j];
        column_entropy[j] += entropies[chunk * m_ + j];
      }
  }

  // A row with mass whose plan underflows does not couple back, but its potential still depends on the others:
  // df_i = s da_i/a_i - ratio sum_j w_j (dg_j - dD_ij), w = softmax_j((g_j - D_ij)/eps). Its q_f is passed on along that
  // line, and the row counts as empty.
  void eliminate_empty(const Side& side, const Side& other, const double* partner, std::vector<double>& sums,
                       std::vector<double>& q, std::vector<double>& q_other, std::vector<double>& d_mass, bool by_rows) {
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

  // The side with fewer entries is the one that is kept.
  double solve() {
    if constexpr (std::is_same_v<S, float>) {
      const double reached = solve_in<float>();
      if (reached <= tolerance_) return reached;
    }
    return solve_in<double>(/*crawls=*/std::is_same_v<S, float>);
  }

  // With K in the type W: as it stands, or where its type or the side is another, from a copy.
  template <typename W>
  double solve_in(bool crawls = false) {
    const auto k = [&](const Side& side) { return side.hard ? 1.0 : 1.0 + view_.epsilon / side.kappa; };
    const double k1 = k(view_.rows), k2 = k(view_.columns);
    const PlanSystem system{k1, k2, view_.both_hard(), tolerance_, crawls};
    const PlanSystem turned{k2, k1, view_.both_hard(), tolerance_, crawls};
    if constexpr (std::is_same_v<W, S>)
      if (m_ <= n_ || factor_) return solve_plan_system<W>({k_, u_, v_, r_, c_, factor_}, system, h1_, h2_, x_, y_);
    if (m_ <= n_) {
      StoredMatrix<W> copy(n_, m_, team_);
      team_.split_if(copy.parallel(), n_, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) std::copy(k_.row(i), k_.row(i) + copy.padded(), copy.row(i));
      });
      return solve_plan_system<W>({copy, u_, v_, r_, c_}, system, h1_, h2_, x_, y_);
    }
    StoredMatrix<W> transposed(m_, n_, team_);
    for (std::int64_t j = 0; j < m_; ++j) std::fill(transposed.row(j) + n_, transposed.row(j) + transposed.padded(), W(0));
    for (std::int64_t begin = 0; begin < m_; begin += 8)
      for (std::int64_t i = 0; i < n_; ++i)
        for (std::int64_t j = begin; j < std::min(begin + 8, m_); ++j) transposed.row(j)[i] = static_cast<W>(k_.row(i)[j]);
    return solve_plan_system<W>({transposed, v_, u_, c_, r_}, turned, h2_, h1_, y_, x_);
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
    const std::vector<double> none(frozen ? m_ : 0, 0.0);
    team_.split_if(k_.parallel(), n_, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const double f = view_.rows.active[i] ? f_[i] : -kInf;
        build_kernel<T, S>().plan_gradient(view_.row(i), view_.mask_row(i), k_.row(i), u_[i], v_.data(), f, g_,
                                           view_.inverse_epsilon, frozen ? constant : constant + x_[i],
                                           frozen ? 0.0 : up_.sharp, frozen ? none.data() : y_.data(), out + i * m_, m_);
      }
    });
    if (frozen) return;
    for (const Extra& e : extra_) out[e.i * m_ + e.j] += static_cast<T>(e.flow);
  }

  // Gradients in float32 need no more than a part of their rounding, those of a loose solve no more than a part of its own
  // residual.
  static constexpr double kTolerance = sizeof(T) == 4 ? 1e-9 : 1e-14, kShare = 1e-3;
  // Rows with less than this share of the plan count as empty: 1/r would overflow with what it multiplies.
  static constexpr double kEmpty = 1e-100;
  struct Extra {
    std::int64_t i, j;
    double flow;
  };

  const View<T>& view_;
  const std::int64_t n_, m_;
  Team& team_;
  const double *f_, *g_;
  Upstream up_;
  StoredMatrix<S> k_;
  std::vector<double> u_, v_, r_, c_, h1_, h2_, x_, y_, da_, db_;
  const double tolerance_;
  const Preconditioner* factor_ = nullptr;
  std::vector<Extra> extra_;  // what the potentials of empty rows and columns add to dL/dD
};

}  // namespace

template <typename T>
void implicit_gradient(const View<T>& view, const Adjoint& adjoint, std::int64_t p, Team& team) {
  ImplicitGradient<T, double>(view, adjoint, p, team).run(adjoint, p);
}

template <typename T>
void implicit_gradient(const SavedProblem<T>& saved, const View<T>& view, const Adjoint& adjoint, std::int64_t p, Team& team) {
  if (saved.single)
    ImplicitGradient<T, float>(static_cast<const StoredPlan<T, float>&>(saved), view, adjoint, p, team).run(adjoint, p);
  else
    ImplicitGradient<T, double>(static_cast<const StoredPlan<T, double>&>(saved), view, adjoint, p, team).run(adjoint, p);
}

template void implicit_gradient<float>(const View<float>&, const Adjoint&, std::int64_t, Team&);
template void implicit_gradient<double>(const View<double>&, const Adjoint&, std::int64_t, Team&);
template void implicit_gradient<float>(const SavedProblem<float>&, const View<float>&, const Adjoint&, std::int64_t, Team&);
template void implicit_gradient<double>(const SavedProblem<double>&, const View<double>&, const Adjoint&, std::int64_t, Team&);

}  // namespace wbm
