// C functions for ctypes: the CUDA solver's forward with its kernels run on the host.
#include <cstddef>
#include <cstdint>

#include "call.h"
#include "cuda/solve/dispatch.h"
#include "cuda/solver.h"

struct Call {
  ProblemFields problem;
  std::int64_t method, criterion, max_iter;
  double tol;
  const double* init_g;
  double *f, *g, *sharp, *regularized, *mass, *residual;
  std::int64_t* iterations;
  std::int32_t* status;
  double* history;
};

namespace {

wbm::Options options_of(const Call& call) {
  wbm::Options options;
  options.method = static_cast<wbm::Method>(call.method);
  options.criterion = static_cast<wbm::Criterion>(call.criterion);
  options.tol = call.tol;
  options.max_iter = call.max_iter;
  options.init_g = call.init_g;
  return options;
}

wbm::Solution solution_of(const Call& call) {
  wbm::Solution solution;
  solution.f = call.f;
  solution.g = call.g;
  solution.sharp = call.sharp;
  solution.regularized = call.regularized;
  solution.mass = call.mass;
  solution.residual = call.residual;
  solution.iterations = call.iterations;
  solution.status = call.status;
  solution.history = call.history;
  return solution;
}

}  // namespace

extern "C" {

std::size_t wbm_call_bytes() { return sizeof(Call); }

// The plan of a call on the device: regime, blocks a problem, problems at once, threads a block, rows a block, stored; and
// bytes of shared memory that are left for streamed rows.
void wbm_plan(const Call* call, std::int64_t* plan) {
  const wbm::cuda::Plan chosen =
      wbm::cuda::choose(problem_of(call->problem), cuda_on_cpu::device());
  const bool registers = wbm::cuda::fits_registers(problem_of(call->problem), options_of(*call), call->history != nullptr,
                                                   cuda_on_cpu::device());
  plan[0] = static_cast<std::int64_t>(registers ? wbm::cuda::Regime::registers : chosen.regime);
  plan[1] = chosen.blocks;
  plan[2] = chosen.groups;
  plan[3] = chosen.threads;
  plan[4] = chosen.band;
  plan[5] = chosen.stored;
  plan[6] = chosen.stored ? 0 : static_cast<std::int64_t>(chosen.layout.bytes - chosen.layout.kernel);
}

std::size_t wbm_workspace_bytes(const Call* call) { return wbm::cuda::workspace_bytes(problem_of(call->problem)); }

const char* wbm_run(const Call* call, void* workspace, std::uint64_t seed, const char* dropped_barrier) {
  return attempt(seed, dropped_barrier, [&] {
    wbm::cuda::forward(problem_of(call->problem), options_of(*call), solution_of(*call), workspace, nullptr);
  });
}

}  // extern "C"
