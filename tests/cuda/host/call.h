// What the C functions for ctypes have in common, forward and backward: a call is a flat struct that begins with a problem.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "cuda/runtime/device.cuh"
#include "problem.h"

// Fields are copied by name, so that the solver's own structs may change their order.
struct ProblemFields {
  std::int64_t batch, n, m, float64, bits16, reference;
  const void* cost;
  std::int64_t cost_stride_problem, cost_stride_row;
  const std::uint8_t* mask;
  std::int64_t mask_stride_problem, mask_stride_row;
  const double *a, *b, *epsilon, *kappa;
};

inline wbm::Problem problem_of(const ProblemFields& given) {
  wbm::Problem problem;
  problem.batch = given.batch;
  problem.n = given.n;
  problem.m = given.m;
  problem.float64 = given.float64 != 0;
  problem.bits16 = static_cast<wbm::Bits16>(given.bits16);
  problem.reference = static_cast<wbm::Reference>(given.reference);
  problem.cost = given.cost;
  problem.cost_stride_problem = given.cost_stride_problem;
  problem.cost_stride_row = given.cost_stride_row;
  problem.mask = given.mask;
  problem.mask_stride_problem = given.mask_stride_problem;
  problem.mask_stride_row = given.mask_stride_row;
  problem.a = given.a;
  problem.b = given.b;
  problem.epsilon = given.epsilon;
  problem.kappa = given.kappa;
  return problem;
}

// Threads and blocks in the order of `seed`, one barrier left out. Null when all went well, else what went wrong (valid until
// the next call).
template <typename Work>
const char* attempt(std::uint64_t seed, const char* dropped_barrier, const Work& work) {
  static std::string message;
  try {
    cuda_on_cpu::configure(seed, dropped_barrier);
    work();
    message = cuda_on_cpu::faults();
    return message.empty() ? nullptr : message.c_str();
  } catch (const std::exception& thrown) {
    message = thrown.what();
    return message.c_str();
  }
}
