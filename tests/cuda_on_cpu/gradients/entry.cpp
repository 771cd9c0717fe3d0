// C functions for ctypes: the CUDA solver's gradients with their kernels run on the host.
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>

#include "cuda/backward.h"
#include "cuda/device.cuh"

// What a call needs, flat; fields are copied by name, so that the solver's own structs may change their order.
struct GradientCall {
  std::int64_t batch, n, m, float64, reference;
  const void* cost;
  std::int64_t cost_stride_problem, cost_stride_row;
  const std::uint8_t* mask;
  std::int64_t mask_stride_problem, mask_stride_row;
  const double *a, *b, *epsilon, *kappa;
  std::int64_t mode, max_iter;
  const double *f, *g, *grad_sharp, *grad_regularized, *grad_f, *grad_g, *history;
  const std::int64_t* iterations;
  void* grad_cost;
  double *grad_a, *grad_b, *residual;
};

namespace {

wbm::Problem problem_of(const GradientCall& call) {
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

wbm::Adjoint adjoint_of(const GradientCall& call) {
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

std::size_t wbm_gradient_call_bytes() { return sizeof(GradientCall); }

// The device that later calls find; cooperative launches where it has more than one multiprocessor.
void wbm_gradient_device(int multiprocessors) {
  cuda_on_cpu::configure_device({multiprocessors, 1 << 16, 1, multiprocessors > 1});
}

std::size_t wbm_gradient_workspace_bytes(const GradientCall* call) {
  return wbm::cuda::backward_workspace_bytes(problem_of(*call), static_cast<wbm::Gradient>(call->mode));
}

// Null when all went well, else what went wrong (valid until the next call).
const char* wbm_gradient(const GradientCall* call, void* workspace, std::uint64_t seed, const char* dropped_barrier) {
  static std::string message;
  try {
    cuda_on_cpu::configure(seed, dropped_barrier);
    wbm::cuda::backward(problem_of(*call), adjoint_of(*call), workspace, nullptr);
    return nullptr;
  } catch (const std::exception& thrown) {
    message = thrown.what();
    return message.c_str();
  }
}

const char* wbm_gradient_barriers_passed() { return cuda_on_cpu::barriers_passed().c_str(); }

}  // extern "C"
