// Entry points of the CUDA gradients. Pointers of Problem and Adjoint are device memory.
#pragma once

#include <cstddef>

#include "problem.h"

namespace wbm::cuda {

// Bytes of device memory that backward needs beside its inputs and outputs: a function of sizes, type, mode and device.
std::size_t backward_workspace_bytes(const Problem& problem, Gradient mode);

// Enqueues the gradients of a batch on `stream`: no allocation, no synchronisation, nothing copied to the host. Throws
// std::runtime_error when a launch is refused.
void backward(const Problem& problem, const Adjoint& adjoint, void* workspace, void* stream);

}  // namespace wbm::cuda
