// Gradients on the device: one stream-ordered sequence of launches. The host decides nothing on the way but by sizes.
#include "cuda/solver.h"

#include <algorithm>
#include <cstdint>

#include "cuda/gradient/adjoint.cuh"
#include "cuda/runtime/device.cuh"
#include "cuda/gradient/masses.cuh"
#include "cuda/problem/opening.cuh"
#include "cuda/gradient/plan.cuh"
#include "cuda/gradient/system.cuh"
#include "cuda/gradient/unrolled.cuh"
#include "cuda/runtime/launches.cuh"

namespace wbm::cuda {
namespace {

#ifndef WBM_SYSTEM_BLOCK_SIDE
#define WBM_SYSTEM_BLOCK_SIDE 256
#endif
constexpr std::int64_t kBlockSide = WBM_SYSTEM_BLOCK_SIDE;  // longest side of a problem whose system one block solves
constexpr std::int64_t kLeastLines = 8;                     // of a block in a team
constexpr std::int64_t kBlocksEach = 8;                     // on a multiprocessor at once, at most

// Who solves a system: one block where the problem is small, or the batch fills the chip; else the chip's multiprocessors
// are shared among the batch. The crossovers are not yet measured.
Team team_of(const Problem& problem, const Limits& limits) {
  const std::int64_t chip = limits.multiprocessors, lines = std::max(problem.n, problem.m);
  const std::int64_t share = std::min(chip / problem.batch, (lines + kLeastLines - 1) / kLeastLines);
  if (lines <= kBlockSide || share < 2 || !limits.cooperative)
    return {1, static_cast<int>(std::clamp<std::int64_t>(problem.batch, 1, std::min(kBlocksEach * chip, kMaxGridX)))};
  return {static_cast<int>(share), static_cast<int>(problem.batch)};
}

// For kernels that do not read D: they are the same for all types of one arithmetic.
template <typename T>
AdjointArguments<Real<T>> without_matrix(const AdjointArguments<T>& args) {
  const Arguments<T>& base = args.base;
  return {{base.problem, base.options, base.solution, base.work}, args.adjoint, args.work, args.team, args.iteration};
}

template <typename T>
void enqueue_implicit(const Problem& problem, const AdjointArguments<T>& args, void* stream) {
  const Launcher<AdjointArguments<T>> launcher(problem, args, stream);
  const AdjointArguments<Real<T>> vectors = without_matrix(args);
  if (problem.m <= problem.n) {  // the columns are kept
    launcher.rows(sum_plan_rows<T, true>);
    launcher.columns(sum_plan_columns<T, false>);
  } else {
    launcher.columns(sum_plan_columns<T, true>);
    launcher.rows(sum_plan_rows<T, false>);
  }
  launcher.problems(open_system<T>);
  const std::int64_t blocks = args.team.blocks, entries = problem.n * problem.m / blocks;
  Shape shape{grid(blocks * args.team.groups), block(entries / 8, kMaxThreads)};
  shape.cooperative = blocks > 1;
  launch(solve_system<Real<T>>, shape, vectors, stream);
  launcher.rows(implicit_at_zero_rows<T>);
  launcher.columns(implicit_at_zero_columns<T>);
  Launcher<AdjointArguments<Real<T>>>(problem, vectors, stream).problems(write_masses<Real<T>>);
  if (args.adjoint.grad_cost) launcher.rows(write_implicit_cost<T>);
}

template <typename T>
void enqueue_unrolled(const Problem& problem, AdjointArguments<T> args, void* stream) {
  const Launcher<AdjointArguments<T>> launcher(problem, args, stream);
  const Launcher<AdjointArguments<Real<T>>> vectors(problem, without_matrix(args), stream);
  vectors.problems(open_replay<Real<T>>);
  launcher.rows(sum_last_rows<T>);
  launcher.columns(sum_last_columns<T>);
  launcher.rows(pull_last_rows<T>);
  launcher.columns(pull_last_columns<T>);
  for (args.iteration = args.adjoint.max_iter; args.iteration >= 1; --args.iteration) {
    const Launcher<AdjointArguments<T>> one(problem, args, stream);
    one.rows(pull_rows<T>);
    one.columns(pull_columns<T>);
  }
  vectors.problems(write_masses<Real<T>>);
  launcher.rows(write_replayed_cost<T>);
}

template <typename T>
void enqueue(const Problem& problem, const Adjoint& adjoint, void* workspace, void* stream) {
  AdjointArguments<T> args{};
  args.base.problem = problem;
  args.adjoint = adjoint;
  args.team = team_of(problem, device_limits());
  lay_out(problem, adjoint.mode, args.team, workspace, args.base.work, args.work);
  if (!gathers_apart(problem, adjoint.mode)) args.work.matrix = static_cast<double*>(adjoint.grad_cost);

  // What the forward begins with: checks, constants, what may carry mass.
  const AdjointArguments<Real<T>> vectors = without_matrix(args);
  const Launcher<Arguments<T>> opening(problem, args.base, stream);
  Launcher<Arguments<Real<T>>>(problem, vectors.base, stream).problems(open_masses<Real<T>>);
  opening.rows(scan_rows<T>);
  opening.columns(scan_columns<T>);
  if (adjoint.mode == Gradient::implicit) return enqueue_implicit(problem, args, stream);
  if (adjoint.mode == Gradient::unrolled) return enqueue_unrolled(problem, args, stream);
  const Launcher<AdjointArguments<T>> launcher(problem, args, stream);
  Launcher<AdjointArguments<Real<T>>>(problem, vectors, stream).problems(write_masses<Real<T>>);
  if (adjoint.grad_cost) launcher.rows(write_frozen_cost<T>);
}

}  // namespace

std::size_t backward_workspace_bytes(const Problem& problem, Gradient mode) {
  if (problem.batch == 0) return 0;
  Workspace work;
  AdjointWorkspace more;
  return lay_out(problem, mode, team_of(problem, device_limits()), nullptr, work, more);
}

void backward(const Problem& problem, const Adjoint& adjoint, void* workspace, void* stream) {
  if (problem.batch == 0) return;
  const LoadsCode loads;
  by_type_of_cost(problem,
                  [&](auto type) { enqueue<typename decltype(type)::Value>(problem, adjoint, workspace, stream); });
}

}  // namespace wbm::cuda
