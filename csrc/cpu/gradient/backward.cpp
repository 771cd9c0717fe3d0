// The gradients of a batch: one problem after another, or side by side.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "cpu/gradient/gradient.h"
#include "cpu/runtime/parallel.h"
#include "cpu/gradient/small.h"
#include "cpu/gradient/tiny.h"
#include "cpu/solver.h"
#include "cpu/runtime/team.h"
#include "cpu/problem/view.h"

namespace wbm::cpu {
namespace {

template <typename T>
void refuse(const View<T>& view, const Adjoint& adjoint, std::int64_t p) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  if (adjoint.grad_cost) {
    T* out = static_cast<T*>(adjoint.grad_cost) + p * view.n * view.m;
    std::fill(out, out + view.n * view.m, static_cast<T>(nan));
  }
  std::fill(adjoint.grad_a + p * view.n, adjoint.grad_a + (p + 1) * view.n, nan);
  std::fill(adjoint.grad_b + p * view.m, adjoint.grad_b + (p + 1) * view.m, nan);
  adjoint.residual[p] = nan;
}

template <typename T>
void gradient(const Problem& problem, const Adjoint& adjoint, std::int64_t p, Team& team) {
  if (adjoint.saved && adjoint.saved[p] && adjoint.mode != Gradient::unrolled) {
    const auto& saved = static_cast<const SavedProblem<T>&>(*adjoint.saved[p]);
    View<T> view = saved.view;
    view.place(problem, p);
    implicit_gradient(saved, view, adjoint, p, team);
    const auto finite = [](const double* d, std::int64_t count) {
      return std::all_of(d, d + count, [](double x) { return std::isfinite(x); });
    };
    if (finite(adjoint.grad_a + p * problem.n, problem.n) && finite(adjoint.grad_b + p * problem.m, problem.m)) return;
  }
  View<T> view;
  view.open(problem, p);
  if (view.status & kRefused)
    refuse(view, adjoint, p);
  else if (adjoint.mode == Gradient::unrolled)
    unrolled_gradient(view, adjoint, p, team);
  else
    implicit_gradient(view, adjoint, p, team);
}

template <typename T>
void gradient_all(const Problem& problem, const Adjoint& adjoint) {
  const Threads threads(problem.batch, problem.n, problem.m, adjoint.threads);
  if (threads.within > 1) {
    Team team(threads.within, adjoint.interrupt);
    for (std::int64_t p = 0; p < problem.batch; ++p) gradient<T>(problem, adjoint, p, team);
    return;
  }
  const bool tinies = TinyGradient<T>::fits(problem, adjoint);
  Team(threads.across).deal(problem.batch, tinies ? kTinyProblems : kProblems, [&](const auto& next) {
    Team alone(1, adjoint.interrupt);
    std::optional<TinyGradient<T>> tiny;
    std::optional<SmallGradient<T>> small;
    for (std::int64_t p, end; next(p, end);) {
      if (!small && SmallGradient<T>::fits(problem, adjoint)) small.emplace(problem, adjoint);
      if (tinies && !tiny) tiny.emplace(problem, adjoint);
      for (std::int64_t group; p < end; p += group) {
        group = tiny ? std::min(kTinyLanes, end - p) : 1;
        check(adjoint.interrupt);
        if (tiny && tiny->run(p, group)) continue;
        for (std::int64_t q = p; q < p + group; ++q) {
          const bool saved = adjoint.saved && adjoint.saved[q];
          if (group > 1 && tiny->run(q, 1)) continue;
          if (saved || !small || !small->run(q)) gradient<T>(problem, adjoint, q, alone);
        }
      }
    }
  });
}

}  // namespace

void backward(const Problem& problem, const Adjoint& adjoint) {
  problem.float64 ? gradient_all<double>(problem, adjoint) : gradient_all<float>(problem, adjoint);
}

}  // namespace wbm::cpu
