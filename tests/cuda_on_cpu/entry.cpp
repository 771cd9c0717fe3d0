// C functions for ctypes: the CUDA solver's forward with its kernels run on the host.
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>

#include "cuda/device.cuh"
#include "cuda/dispatch.h"
#include "cuda/solver.h"

// What a call needs, flat; fields are copied by name, so that the solver's own structs may change their order.
struct Call {
  std::int64_t batch, n, m, float64, reference;
  const void* cost;
  std::int64_t cost_stride_problem, cost_stride_row;
  const std::uint8_t* mask;
  std::int64_t mask_stride_problem, mask_stride_row;
  const double *a, *b, *epsilon, *kappa;
  std::int64_t method, criterion, max_iter;
  double tol;
  const double* init_g;
  double *f, *g, *sharp, *regularized, *mass, *residual;
  std::int64_t* iterations;
  std::int32_t* status;
  double* history;
};

namespace {

wbm::Problem problem_of(const Call& call) {
  wbm::Problem problem;
  problem.batch = call.batch;
  problem.n = call.n;
  problem.m = call.m;
  problem.float64 = call.float64 != 0;
  problem.reference = static_cast<wbm::Reference>(call.reference);
  problem.cost = call.cost;
  problem.cost_stride_problem = call.cost_stride_problem;
  problem.cost_stride_row = call.cost_stride_row;
  problem.mask = call.mask;
  problem.mask_stride_problem = call.mask_stride_problem;
  problem.mask_stride_row = call.mask_stride_row;
  problem.a = call.a;
  problem.b = call.b;
  problem.epsilon = call.epsilon;
  problem.kappa = call.kappa;
  return problem;
}

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

// The device that later calls find: multiprocessors, bytes of shared memory a block, blocks of a cluster, cooperative launches.
void wbm_device(int multiprocessors, std::size_t shared, int cluster, int cooperative) {
  cuda_on_cpu::configure_device({multiprocessors, shared, cluster, cooperative != 0});
}

// The plan of a call on that device: regime, blocks a problem, problems at once, threads a block, rows a block, stored.
void wbm_plan(const Call* call, std::int64_t* plan) {
  const wbm::cuda::Plan chosen =
      wbm::cuda::choose(problem_of(*call), options_of(*call), call->history != nullptr, cuda_on_cpu::device());
  plan[0] = static_cast<std::int64_t>(chosen.regime);
  plan[1] = chosen.blocks;
  plan[2] = chosen.groups;
  plan[3] = chosen.threads;
  plan[4] = chosen.band;
  plan[5] = chosen.stored;
}

std::size_t wbm_workspace_bytes(const Call* call) { return wbm::cuda::workspace_bytes(problem_of(*call)); }

// Null when all went well, else what went wrong (valid until the next call).
const char* wbm_forward(const Call* call, void* workspace, std::uint64_t seed, const char* dropped_barrier) {
  static std::string message;
  try {
    cuda_on_cpu::configure(seed, dropped_barrier);
    wbm::cuda::forward(problem_of(*call), options_of(*call), solution_of(*call), workspace, nullptr);
    return nullptr;
  } catch (const std::exception& thrown) {
    message = thrown.what();
    return message.c_str();
  }
}

const char* wbm_barriers_passed() { return cuda_on_cpu::barriers_passed().c_str(); }

}  // extern "C"
