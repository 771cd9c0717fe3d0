// Sinkhorn on the device: one stream-ordered sequence of launches: what opens the problems, the iterations, the report. The
// host decides nothing on the way.
#include "cuda/solve/forward.h"

#include <cstdint>

#include "cuda/problem/workspace.cuh"
#include "cuda/runtime/launches.cuh"
#include "cuda/solve/dispatch.h"
#include "cuda/solve/iterates.cuh"
#include "cuda/solver.h"

namespace wbm::cuda {
namespace {

// The same for every type of D, so that the workspace is that of the plan.
Limits limits() { return forward_limits<float>(); }

}  // namespace

std::size_t workspace_bytes(const Problem& problem) {
  Workspace work;
  Iterates iterates;
  const LoadsCode loads;
  return lay_out(problem, nullptr, work) + lay_out(problem, choose(problem, limits()), nullptr, iterates);
}

void forward(const Problem& problem, const Options& options, const Solution& solution, void* workspace, void* stream) {
  if (problem.batch == 0) return;
  const LoadsCode loads;
  by_type_of_cost(problem, [&](auto type) {
    enqueue_forward<typename decltype(type)::Value>(problem, options, solution, limits(), workspace, stream);
  });
}

}  // namespace wbm::cuda
