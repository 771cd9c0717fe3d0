#include "cpu/problem/report.h"

#include <algorithm>
#include <vector>

#include "cpu/kernels/kernels.h"

namespace wbm {

template <typename T>
void plan_row(const View<T>& view, std::int64_t i, const double* f, const double* g, double* row, std::int64_t begin,
              std::int64_t end) {
  const double potential = view.rows.active[i] ? f[i] : -kInf;  // a row that can carry nothing has no plan
  row_kernels<T>().plan(view.row(i), view.mask_row(i), potential, g, view.inverse_epsilon, row, begin, end);
}

namespace {

SideReport side_report(const Side& side, const double* potential, const std::vector<double>& sums) {
  SideReport out;
  for (std::int64_t i = 0; i < side.size; ++i) {
    const double x = sums[i];
    if (x > 0.0) out.dual += x * (potential[i] - side.dual_shift * side.log_mass[i]);
    if (!side.hard) out.divergence += side.kappa * side.divergence(i, x);
    out.error += std::fabs(x - side.target(i, potential[i]));
  }
  return out;
}

}  // namespace

template <typename T>
PlanSums sum_plan(const View<T>& view, Team& team, const double* f, const double* g) {
  constexpr std::int64_t kWorthwhile = 1 << 14;
  const auto& kernels = row_kernels<T>();
  return sum_plan(view.n, view.m, team, view.n * view.m >= kWorthwhile, false, [&](std::int64_t i, const RowSums& to) {
    if (view.rows.active[i])  // a row that can carry nothing has no plan
      kernels.add_plan(view.row(i), view.mask_row(i), f[i], g, view.inverse_epsilon, view.m, to.column, to.sum, to.value);
  });
}

template <typename T>
void report(const View<T>& view, const PlanSums& sums, const double* f, const double* g, const Solution& out,
            std::int64_t p) {
  double mass = 0.0;
  for (const double r : sums.rows) mass += r;
  report(view, mass, sums.sharp, side_report(view.rows, f, sums.rows), side_report(view.columns, g, sums.columns), out, p);
}

template <typename T>
void report(const View<T>& view, double mass, double sharp, const SideReport& rows, const SideReport& columns,
            const Solution& out, std::int64_t p) {
  // <D,P> + eps sum P (log P - 1) = sum r f + sum c g - eps mass, since eps log P = f + g - D; the product reference
  // takes eps log(a b) off the potentials and adds eps sum(a) sum(b).
  double regularized = rows.dual + columns.dual - view.epsilon * mass + rows.divergence + columns.divergence;
  if (view.reference == Reference::product) regularized += view.epsilon * view.rows.total * view.columns.total;
  const double scale = std::fmax(mass, 0.5 * (view.rows.total + view.columns.total));
  out.sharp[p] = sharp;
  out.regularized[p] = regularized;
  out.mass[p] = mass;
  out.residual[p] = scale > 0.0 ? (rows.error + columns.error) / scale : 0.0;
}

template <typename T>
void refuse(const View<T>& view, const Solution& out, std::int64_t p, std::int32_t status) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::fill(out.f + p * view.n, out.f + (p + 1) * view.n, nan);
  std::fill(out.g + p * view.m, out.g + (p + 1) * view.m, nan);
  out.sharp[p] = out.regularized[p] = out.mass[p] = out.residual[p] = nan;
  out.iterations[p] = 0;
  out.status[p] = status;
}

template <typename T>
void set_gauge(const View<T>& view, double* f, double* g) {
  if (!view.both_hard() || !(view.rows.total > 0.0)) return;
  const auto mean = [](const Side& side, const double* potential) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < side.size; ++i)
      if (side.active[i]) sum += side.mass[i] * potential[i];
    return sum / side.total;
  };
  const double t = 0.5 * (mean(view.columns, g) - mean(view.rows, f));
  if (!std::isfinite(t)) return;
  for (std::int64_t i = 0; i < view.n; ++i)
    if (view.rows.active[i]) f[i] += t;
  for (std::int64_t j = 0; j < view.m; ++j)
    if (view.columns.active[j]) g[j] -= t;
}

#define WBM_INSTANTIATE(T)                                                                                           \
  template void plan_row<T>(const View<T>&, std::int64_t, const double*, const double*, double*, std::int64_t,       \
                            std::int64_t);                                                                           \
  template PlanSums sum_plan<T>(const View<T>&, Team&, const double*, const double*);                                 \
  template void report<T>(const View<T>&, const PlanSums&, const double*, const double*, const Solution&,            \
                          std::int64_t);                                                                             \
  template void report<T>(const View<T>&, double, double, const SideReport&, const SideReport&, const Solution&,     \
                          std::int64_t);                                                                             \
  template void set_gauge<T>(const View<T>&, double*, double*);                                                      \
  template void refuse<T>(const View<T>&, const Solution&, std::int64_t, std::int32_t);
WBM_INSTANTIATE(float)
WBM_INSTANTIATE(double)

}  // namespace wbm
