#include "cpu/solve/anneal.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/runtime/interrupt.h"
#include "cpu/solve/relaxation.h"
#include "cpu/solve/scaling.h"

namespace wbm {
namespace {

constexpr int kSweeps = 10;        // plain iterations a level
constexpr double kClose = 1e-3;    // residual at which a level is left at once
constexpr double kAhead = 0.4;     // share of a level's change of g by which the next one, half as far, starts ahead

}  // namespace

template <typename T>
std::int64_t annealing_levels(const View<T>& view) {
  return static_cast<std::int64_t>(std::ceil(std::log2(warmest(view) / view.epsilon)));
}

template <typename T>
bool anneal(const View<T>& view, Team& team, double* f, double* g, std::int64_t budget, double rough,
            std::int64_t& passes) {
  passes = 0;
  View<T> level = view;
  const auto scaling = make_scaling<T, float>(level, team);
  if (!scaling) return false;
  std::vector<double> before, start(view.m);
  for (std::int64_t k = annealing_levels(view); k > 0; --k) {
    const bool first = before.empty();
    level.tune(std::ldexp(view.epsilon, static_cast<int>(k)));
    if (first && !scaling->absorb_cold()) scaling->absorb(f, g, ColumnError());
    double residual = kInf;
    bool rejected = false;
    Relaxation relaxation;
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      if (++passes > budget || raised(view.interrupt)) return false;
      const Scaling::Outcome outcome = scaling->iterate(std::fmin(kClose, rough / 6.0), relaxation.omega(), true, residual);
      rejected = outcome == Scaling::Outcome::rejected;
      if (rejected || outcome == Scaling::Outcome::met) break;
      if (level.both_hard()) relaxation.observe(residual);
    }
    if (!(first && rejected)) scaling->read(f, g);
    bool finished = false;
    if (rejected || !(residual < rough)) {
      const auto precise = make_scaling<T, double>(level, team);
      if (!precise) return false;
      std::int64_t spent = 0;
      precise->absorb(f, g, ColumnError());
      bool left_range = false;
      precise->newton(rough / 6.0, budget - passes, spent, residual, left_range);
      passes += spent;
      if (!std::isfinite(residual)) return false;
      precise->read(f, g);
      finished = true;
    }
    // The next level's kernel is this one's plan squared; its potentials start where the change of these points to.
    for (std::int64_t j = 0; j < view.m; ++j)
      start[j] = first || !level.columns.active[j] ? g[j] : g[j] + kAhead * (g[j] - before[j]);
    before.assign(g, g + view.m);
    if (k == 1) {
      std::copy(start.begin(), start.end(), g);
      break;
    }
    level.tune(std::ldexp(view.epsilon, static_cast<int>(k - 1)));
    if (finished)
      scaling->absorb(f, g, ColumnError());
    else
      scaling->square(f, g);
    scaling->start(start.data());
  }
  return true;
}

#define WBM_INSTANTIATE(T)                                    \
  template std::int64_t annealing_levels<T>(const View<T>&); \
  template bool anneal<T>(const View<T>&, Team&, double*, double*, std::int64_t, double, std::int64_t&);
WBM_INSTANTIATE(float)
WBM_INSTANTIATE(double)

}  // namespace wbm
