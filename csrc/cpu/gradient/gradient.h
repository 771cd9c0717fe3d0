// What the implicit and the unrolled gradient share: upstream gradients, the gauge, the centring, the outputs.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/problem/saved_plan.h"
#include "cpu/runtime/team.h"
#include "cpu/problem/view.h"

namespace wbm {

// What a problem's gradients are made of.
struct Upstream {
  double sharp, regularized, gauge;  // gauge = sum q_f - sum q_g
  std::vector<double> f, g;          // q, zero where the potential is infinite
};

inline Upstream read_upstream(const Side& rows, const Side& columns, const Adjoint& adjoint, std::int64_t p) {
  Upstream up{adjoint.grad_sharp[p], adjoint.grad_regularized[p], 0.0, std::vector<double>(rows.size),
              std::vector<double>(columns.size)};
  for (std::int64_t i = 0; i < rows.size; ++i)
    if (rows.active[i]) up.gauge += up.f[i] = adjoint.grad_f[p * rows.size + i];
  for (std::int64_t j = 0; j < columns.size; ++j)
    if (columns.active[j]) up.gauge -= up.g[j] = adjoint.grad_g[p * columns.size + j];
  return up;
}

// The potentials come out in the gauge <a,f>/sum(a) = <b,g>/sum(b), that is f = f0 + t, g = g0 - t with
// t = (<b,g0>/sum(b) - <a,f0>/sum(a)) / 2. Pulling q back through t: q_f - gauge/2 a/sum(a) on f0, and what t's own
// dependence on the masses adds to da.
inline void pull_back_gauge(const Side& side, double gauge, const double* potential, std::vector<double>& q,
                     std::vector<double>& d_mass) {
  if (gauge == 0.0 || !(side.total > 0.0)) return;
  double mean = 0.0;
  for (std::int64_t i = 0; i < side.size; ++i)
    if (side.active[i]) mean += side.mass[i] * potential[i];
  mean /= side.total;
  for (std::int64_t i = 0; i < side.size; ++i) {
    if (!side.active[i]) continue;
    q[i] -= 0.5 * gauge * side.mass[i] / side.total;
    d_mass[i] -= 0.5 * gauge * (potential[i] - mean) / side.total;
  }
}

// dL/dmass where the mass is positive; x is the solution's part for this side.
inline void mass_gradient(const Side& side, const Upstream& up, const double* potential, const std::vector<double>& sums,
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

// Only directions that keep the total mean anything when both marginals are hard: sum a da = 0.
inline void centre(const Side& side, std::vector<double>& d_mass) {
  double mean = 0.0;
  for (std::int64_t i = 0; i < side.size; ++i)
    if (side.mass[i] > 0.0) mean += side.mass[i] * d_mass[i];
  if (side.total > 0.0) mean /= side.total;
  for (double& d : d_mass) d -= mean;
}

// D_ij, +inf where the mask forbids the pair.
template <typename T>
double cost_at(const View<T>& view, std::int64_t i, std::int64_t j) {
  const std::uint8_t* mask = view.mask_row(i);
  return mask && !mask[j] ? kInf : static_cast<double>(view.row(i)[j]);
}

// The derivative in the masses is finite where a mass is zero: with hard marginals and with the product reference
// exp(f/eps) is proportional to the mass; with the entropy reference and a finite kappa it is not.
inline bool differentiable_at_zero(const Side& side) { return side.hard || side.dual_shift > 0.0; }

// A one-sided derivative that leaves the range of `float64` (or of float32) is returned as 0, like one that is infinite.
inline double bounded(double d, bool float64) { return representable(d, float64) ? d : 0.0; }

template <typename T>
void write_mass_gradients(const View<T>& view, std::vector<double>& d_a, std::vector<double>& d_b, const Adjoint& adjoint,
                          std::int64_t p) {
  if (view.both_hard()) {
    centre(view.rows, d_a);
    centre(view.columns, d_b);
  }
  std::copy(d_a.begin(), d_a.end(), adjoint.grad_a + p * view.n);
  for (std::int64_t j = 0; j < view.m; ++j) adjoint.grad_b[p * view.m + j] = d_b[j] * view.b_scale;
}

// Gradients of problem p into the adjoint's outputs; `view` is open and was not refused.
template <typename T>
void implicit_gradient(const View<T>& view, const Adjoint& adjoint, std::int64_t p, Team& team);
template <typename T>
void implicit_gradient(const SavedProblem<T>& saved, const View<T>& view, const Adjoint& adjoint, std::int64_t p, Team& team);
template <typename T>
void unrolled_gradient(const View<T>& view, const Adjoint& adjoint, std::int64_t p, Team& team);

}  // namespace wbm
