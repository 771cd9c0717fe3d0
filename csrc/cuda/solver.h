// Entry points of the CUDA solver. Pointers of Problem, Options and Solution are device memory.
#pragma once

#include <cstddef>

#include "problem.h"

namespace wbm::cuda {

// Devices the driver reports; 0 where there is no driver. Creates no context.
int device_count();

// Bytes of device memory that forward needs beside its inputs and outputs.
std::size_t workspace_bytes(const Problem& problem);

// Enqueues a whole solve on `stream`: no allocation, no synchronisation, nothing copied to the host. Throws
// std::runtime_error when a launch is refused.
void forward(const Problem& problem, const Options& options, const Solution& solution, void* workspace, void* stream);

}  // namespace wbm::cuda
