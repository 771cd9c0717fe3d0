// The sequences of launches of a solve, for one type of D: compiled once a type (WBM_COST_TYPE), side by side, or for all.
// The iterations are one launch (dispatch.h), or max_iter times the steps of the log domain, where blocks of a problem that is
// finished return at once.
#include <algorithm>
#include <cstdint>

#include "cuda/runtime/device.cuh"
#include "cuda/solve/dispatch.h"
#include "cuda/solve/log_steps.cuh"
#include "cuda/problem/opening.cuh"
#include "cuda/problem/report.cuh"
#include "cuda/solve/fused.cuh"
#include "cuda/solve/forward.h"
#include "cuda/solve/registers.h"
#include "cuda/runtime/launches.cuh"
#include "cuda/problem/workspace.cuh"

namespace wbm::cuda {
namespace {

// Of kernels that read D, and of those that do not: the latter are the same for all types of one arithmetic.
template <typename T>
struct Launchers {
  Launcher<Arguments<T>> matrix;
  Launcher<Arguments<Real<T>>> vectors;
};

// The log domain, a kernel a step.
template <typename T>
void enqueue_steps(const Launchers<T>& launchers, const Options& options, bool history) {
  const auto& [matrix, vectors] = launchers;
  const bool test = options.tol > 0.0;
  const bool finishes = history || (test && options.criterion == Criterion::scaling) ||
                        (test && options.method == Method::accelerated);
  for (std::int64_t iteration = 0; iteration < options.max_iter; ++iteration) {
    matrix.rows(row_log_sums<T>);
    vectors.problems(test_and_update_rows<Real<T>>);
    matrix.columns(update_columns<T>);
    if (finishes) vectors.problems(finish_iteration<Real<T>>);
  }
}

// All iterations of all problems in one kernel.
template <typename T>
void enqueue_solve(const SolveArguments<T>& args, void* stream) {
  const Plan& plan = args.plan;
  Shape shape{grid(static_cast<std::int64_t>(plan.groups) * plan.blocks), {static_cast<unsigned>(plan.threads), 1}};
  shape.shared = plan.layout.bytes;
  if (plan.regime == Regime::block) return launch(solve_by_block<T>, shape, args, stream);
  if (plan.regime == Regime::cluster) {
    shape.cluster = static_cast<unsigned>(plan.blocks);
    return launch(solve_by_cluster<T>, shape, args, stream);
  }
  launch(clear_counters<T>, Extent{1, 1}, block(plan.groups, kMaxThreads), args, stream);
  shape.cooperative = true;
  launch(solve_by_grid<T>, shape, args, stream);
}

}  // namespace

template <typename T>
Limits forward_limits() {
  return device_limits(solve_by_cluster<T>, kSolveThreads);
}

template <typename T>
void enqueue_forward(const Problem& problem, const Options& options, const Solution& solution, const Limits& limits,
                     void* workspace, void* stream) {
  Arguments<T> args{problem, options, solution, {}};
  SolveArguments<T> solve{args, {}, choose(problem, limits)};
  const std::size_t used = lay_out(problem, workspace, args.work);
  if (fits_registers(problem, options, solution.history != nullptr, limits))
    return enqueue_in_registers(problem, options, solution, args.work, stream);
  lay_out(problem, solve.plan, static_cast<char*>(workspace) + used, solve.iterates);
  solve.all = args;
  using R = Real<T>;
  const Launchers<T> launchers{{problem, args, stream}, {problem, {problem, options, solution, args.work}, stream}};
  const auto& [matrix, vectors] = launchers;

  vectors.problems(open_masses<R>);
  matrix.rows(scan_rows<T>);
  matrix.columns(scan_columns<T>);
  vectors.problems(start<R>);
  if (solve.plan.regime == Regime::launches) {
    enqueue_steps(launchers, options, solution.history != nullptr);
  } else {
    enqueue_solve(solve, stream);
  }
  matrix.rows(report_rows<T>);
  matrix.columns(report_columns<T>);
  vectors.problems(report<R>);
  vectors.problems(set_gauge<R>);
}

#ifdef WBM_COST_TYPE
template void enqueue_forward<WBM_COST_TYPE>(const Problem&, const Options&, const Solution&, const Limits&, void*, void*);
template Limits forward_limits<WBM_COST_TYPE>();
#else
template void enqueue_forward<float>(const Problem&, const Options&, const Solution&, const Limits&, void*, void*);
template void enqueue_forward<double>(const Problem&, const Options&, const Solution&, const Limits&, void*, void*);
template void enqueue_forward<Half>(const Problem&, const Options&, const Solution&, const Limits&, void*, void*);
template void enqueue_forward<Bfloat16>(const Problem&, const Options&, const Solution&, const Limits&, void*, void*);
template Limits forward_limits<float>();
#endif

}  // namespace wbm::cuda
