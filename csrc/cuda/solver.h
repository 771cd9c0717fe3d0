// Entry points of the CUDA solver. Pointers of Problem, Options, Solution and Adjoint are device memory. Everything is enqueued
// on `stream`: no allocation, no synchronisation, nothing copied to the host; std::runtime_error where a launch is refused.
#pragma once

#include <cstddef>

#include "problem.h"

namespace wbm::cuda {

// Devices the driver reports; 0 where there is no driver. Creates no context.
int device_count();

// Bytes of device memory that forward and backward need beside their inputs and outputs.
std::size_t workspace_bytes(const Problem& problem);
std::size_t backward_workspace_bytes(const Problem& problem, Gradient mode);

void forward(const Problem& problem, const Options& options, const Solution& solution, void* workspace, void* stream);
void backward(const Problem& problem, const Adjoint& adjoint, void* workspace, void* stream);

}  // namespace wbm::cuda
