// Sinkhorn for one problem after another, or for the problems of a batch side by side.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "cpu/runtime/interrupt.h"
#include "cpu/solve/policy.h"
#include "cpu/kernels/kernels.h"
#include "cpu/runtime/parallel.h"
#include "cpu/problem/report.h"
#include "cpu/solve/small.h"
#include "cpu/solve/tiny.h"
#include "cpu/solver.h"
#include "cpu/runtime/team.h"
#include "cpu/problem/view.h"

namespace wbm::cpu {
namespace {

template <typename T>
void start(const View<T>& view, const double* init, double* g, std::int32_t& status) {
  for (std::int64_t j = 0; j < view.m; ++j) {
    const double value = init ? init[j] : 0.0;
    if (!(value < kInf)) status |= kInvalidInit;
    // -inf marks a column that had no mass in the earlier solve; where it has now, start it at 0.
    g[j] = view.columns.mass[j] > 0.0 ? (std::isfinite(value) ? value : 0.0) : -kInf;
  }
}

// The residual does not see rows and columns that carry next to nothing of the plan, and their potentials may lag behind the
// others: where a row carries less than `faint` before and after it, it gets one update of its own.
template <typename T>
void settle_faint(const View<T>& view, double faint, double* f, double* g) {
  const auto settle = [&](const Side& side, std::int64_t i, double top, double sum, double& potential) {
    const double carried = sum > 0.0 ? std::exp((potential + top) * view.inverse_epsilon) * sum : 0.0;
    const double updated = side.update(i, top, sum, view.epsilon);
    if (carried <= faint && std::isfinite(updated) && side.target(i, updated) <= faint) potential = updated;
  };
  const auto candidate = [&](const Side& side, std::int64_t i, double potential) {
    return side.active[i] && !side.hard && side.target(i, potential) <= faint;
  };
  for (std::int64_t i = 0; i < view.n; ++i) {
    if (!candidate(view.rows, i, f[i])) continue;
    const LogSum s = row_kernels<T>().log_sum(view.row(i), view.mask_row(i), g, view.inverse_epsilon, view.m);
    settle(view.rows, i, s.max, s.sum, f[i]);
  }
  for (std::int64_t j = 0; j < view.m; ++j) {
    if (!candidate(view.columns, j, g[j])) continue;
    double top = -kInf, sum = 0.0;
    const auto exponent = [&](std::int64_t i) {
      const std::uint8_t* mask = view.mask_row(i);
      return !view.rows.active[i] || (mask && !mask[j]) ? -kInf : f[i] - static_cast<double>(view.row(i)[j]);
    };
    for (std::int64_t i = 0; i < view.n; ++i) top = std::fmax(top, exponent(i));
    for (std::int64_t i = 0; i < view.n; ++i) sum += std::exp((exponent(i) - top) * view.inverse_epsilon);
    settle(view.columns, j, top, sum, g[j]);
  }
}

template <typename T>
void solve_one(const Problem& problem, const Options& options, const Solution& out, std::int64_t p, Team& team) {
  View<T> view;
  view.open(problem, p);
  view.interrupt = options.interrupt;
  std::int32_t status = view.status;
  double *f = out.f + p * problem.n, *g = out.g + p * problem.m;
  start(view, options.init_g ? options.init_g + p * problem.m : nullptr, g, status);
  if (status & kRefused) {
    refuse(view, out, p, status);
    return;
  }
  double* history = out.history ? out.history + p * (options.max_iter + 1) * (problem.n + problem.m) : nullptr;
  Policy<T> policy(view, options, team, f, g, history);
  const bool marginal = options.criterion == Criterion::marginal;
  End end = policy.run(options.tol);
  policy.report(out, p);
  // The loop's own residual leaves out the rounding of the columns: what counts is that of the plan delivered.
  double target = options.tol;
  for (int round = 0; marginal && end == End::met && out.residual[p] > options.tol; ++round) {
    if (round == 20) {
      end = End::stagnated;
      break;
    }
    policy.refine();
    target *= 0.5;
    end = policy.run(target);
    policy.report(out, p);
  }
  if (!history && options.tol > 0.0) settle_faint(view, 1e-30 * out.mass[p], f, g);
  set_gauge(view, f, g);
  if (out.saved) out.saved[p] = policy.save_plan().release();
  out.iterations[p] = policy.done();
  const bool overflow = !std::isfinite(out.residual[p]) || !representable(out.sharp[p], problem.float64) ||
                        !representable(out.regularized[p], problem.float64);
  const bool met = !overflow && (marginal ? out.residual[p] <= options.tol : end == End::met);
  if (overflow) status |= kOverflow;
  status |= met ? kConverged : end == End::stagnated ? kStagnated : kIterationLimit;
  out.status[p] = status;
}

template <typename T>
void solve_all(const Problem& problem, const Options& options, const Solution& solution) {
  const Threads threads(problem.batch, problem.n, problem.m, options.threads);
  if (threads.within > 1) {
    Team team(threads.within, options.interrupt);
    for (std::int64_t p = 0; p < problem.batch; ++p)
      if (!raised(options.interrupt)) solve_one<T>(problem, options, solution, p, team);
    return;
  }
  const bool tinies = TinySolver<T>::fits(problem, options);
  Team(threads.across).deal(problem.batch, tinies ? kTinyProblems : kProblems, [&](const auto& next) {
    Team alone(1, options.interrupt);
    std::optional<TinySolver<T>> tiny;
    std::optional<SmallSolver<T>> small;
    for (std::int64_t p, end; next(p, end);) {
      if (tinies && !tiny) tiny.emplace(problem, options, solution);
      if (!small && SmallSolver<T>::fits(problem, options, solution)) small.emplace(problem, options, solution);
      for (std::int64_t group; p < end; p += group) {
        group = tiny ? std::min(kTinyLanes, end - p) : 1;
        check(options.interrupt);
        if (tiny && tiny->solve(p, group)) continue;
        for (std::int64_t q = p; q < p + group; ++q)
          if (!small || !small->solve(q)) solve_one<T>(problem, options, solution, q, alone);
      }
    }
  });
}

template <typename T>
void mean_all(const Problem& problem, double* mean, int available) {
  const Threads threads(problem.batch, problem.n, problem.m, available);
  Team(threads.across).split(problem.batch, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      View<T> view;
      view.open(problem, p);
      const double nan = std::numeric_limits<double>::quiet_NaN();
      mean[p] = view.status & (kNanCost | kInvalidMass) ? nan
                : view.cost_count                       ? view.cost_sum / static_cast<double>(view.cost_count)
                                                        : 20.0;
    }
  });
}

}  // namespace

void forward(const Problem& problem, const Options& options, const Solution& solution) {
  problem.float64 ? solve_all<double>(problem, options, solution) : solve_all<float>(problem, options, solution);
}

void mean_cost(const Problem& problem, double* mean, int threads) {
  problem.float64 ? mean_all<double>(problem, mean, threads) : mean_all<float>(problem, mean, threads);
}

}  // namespace wbm::cpu
