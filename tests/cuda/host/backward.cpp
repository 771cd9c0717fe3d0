// C functions for ctypes: the CUDA solver's gradients with their kernels run on the host.
#include <cstddef>
#include <cstdint>

#include "call.h"
#include "cuda/solver.h"

struct Call {
  ProblemFields problem;
  std::int64_t mode, max_iter;
  const double *f, *g, *grad_sharp, *grad_regularized, *grad_f, *grad_g, *history;
  const std::int64_t* iterations;
  void* grad_cost;
  double *grad_a, *grad_b, *residual;
};

namespace {

wbm::Adjoint adjoint_of(const Call& call) {
  wbm::Adjoint adjoint;
  adjoint.mode = static_cast<wbm::Gradient>(call.mode);
  adjoint.f = call.f;
  adjoint.g = call.g;
  adjoint.grad_sharp = call.grad_sharp;
  adjoint.grad_regularized = call.grad_regularized;
  adjoint.grad_f = call.grad_f;
  adjoint.grad_g = call.grad_g;
  adjoint.grad_cost = call.grad_cost;
  adjoint.grad_a = call.grad_a;
  adjoint.grad_b = call.grad_b;
  adjoint.residual = call.residual;
  adjoint.history = call.history;
  adjoint.iterations = call.iterations;
  adjoint.max_iter = call.max_iter;
  return adjoint;
}

}  // namespace

extern "C" {

std::size_t wbm_call_bytes() { return sizeof(Call); }

std::size_t wbm_workspace_bytes(const Call* call) {
  return wbm::cuda::backward_workspace_bytes(problem_of(call->problem), static_cast<wbm::Gradient>(call->mode));
}

const char* wbm_run(const Call* call, void* workspace, std::uint64_t seed, const char* dropped_barrier) {
  return attempt(seed, dropped_barrier, [&] {
    wbm::cuda::backward(problem_of(call->problem), adjoint_of(*call), workspace, nullptr);
  });
}

}  // extern "C"
