// A solve's launches for one type of D, each compiled in a file of its own.
#pragma once

#include "cuda/runtime/device.cuh"
#include "problem.h"

namespace wbm::cuda {

// What the device offers the kernels of a solve.
template <typename T>
Limits forward_limits();

template <typename T>
void enqueue_forward(const Problem& problem, const Options& options, const Solution& solution, const Limits& limits,
                     void* workspace, void* stream);

}  // namespace wbm::cuda
