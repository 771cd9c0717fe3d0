// The regime `registers`: one launch for everything.
#pragma once

#include "cuda/problem/workspace.cuh"

namespace wbm::cuda {

// For problems that fits_registers (dispatch.h) has accepted.
void enqueue_in_registers(const Problem& problem, const Options& options, const Solution& solution, const Workspace& work,
                          void* stream);

}  // namespace wbm::cuda
