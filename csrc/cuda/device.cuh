// Every primitive of the device that the kernels use, under one name each. With WBM_CUDA_ON_CPU the same names come
// from "fibers.h" (tests/cuda_on_cpu), which runs the threads of a block on the host in a random order.
//
//   thread_x, thread_y      place of the thread in its block        threads_x   threads of the block along x
//   block_x, block_y        place of the block in the grid          grid_x, grid_y   extent of the grid
//   block_barrier           all threads of the block, memory included
//   block_any               barrier that tells every thread whether any thread said true
//   shuffle_down            the value of the lane `offset` above (its own where there is none); whole warps only
//   atomic_or, atomic_max   integers only: their result does not depend on the order
//   WBM_SHARED              an array of the block, not initialised
//   WBM_KERNEL(threads)     blocks of at most so many threads; one of them a multiprocessor is enough, so that no
//                           register is spilled for the sake of a second one
#pragma once

#include <cstdint>

#ifdef WBM_CUDA_ON_CPU
#include "fibers.h"
#else

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#define WBM_DEVICE __device__ __forceinline__
#define WBM_KERNEL(threads) __global__ void __launch_bounds__(threads, 1)
#define WBM_SHARED(Type, name, count) __shared__ Type name[count]

namespace wbm::cuda {

inline constexpr int kWarp = 32;
inline constexpr std::int64_t kMaxGridX = 2147483647, kMaxGridY = 65535;  // blocks stride over what lies beyond

struct Extent {
  unsigned x = 1, y = 1;
};

WBM_DEVICE int thread_x() { return static_cast<int>(threadIdx.x); }
WBM_DEVICE int thread_y() { return static_cast<int>(threadIdx.y); }
WBM_DEVICE int threads_x() { return static_cast<int>(blockDim.x); }
WBM_DEVICE std::int64_t block_x() { return blockIdx.x; }
WBM_DEVICE std::int64_t block_y() { return blockIdx.y; }
WBM_DEVICE std::int64_t grid_x() { return gridDim.x; }
WBM_DEVICE std::int64_t grid_y() { return gridDim.y; }

WBM_DEVICE void block_barrier() { __syncthreads(); }
WBM_DEVICE bool block_any(bool value) { return __syncthreads_or(value) != 0; }
WBM_DEVICE double shuffle_down(double value, int offset) { return __shfl_down_sync(0xffffffffu, value, offset); }
WBM_DEVICE void atomic_or(std::int32_t* address, std::int32_t bits) { atomicOr(address, bits); }
WBM_DEVICE void atomic_max(std::uint64_t* address, std::uint64_t value) {
  atomicMax(reinterpret_cast<unsigned long long*>(address), static_cast<unsigned long long>(value));
}
// Order-preserving for values >= 0.
WBM_DEVICE std::uint64_t bits_of(double value) { return static_cast<std::uint64_t>(__double_as_longlong(value)); }
WBM_DEVICE double double_of(std::uint64_t bits) { return __longlong_as_double(static_cast<long long>(bits)); }

// Enqueues one kernel. Reports this launch's own error, not one that an earlier call left behind.
template <typename Arguments>
void launch(void (*kernel)(Arguments), Extent grid, Extent block, Arguments arguments, void* stream) {
  void* parameters[] = {&arguments};
  const cudaError_t error = cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(grid.x, grid.y),
                                             dim3(block.x, block.y), parameters, 0, static_cast<cudaStream_t>(stream));
  if (error == cudaSuccess) return;
  cudaGetLastError();  // it has been told; leave nothing for the caller's next check
  throw std::runtime_error(std::string("wbm_ext: a CUDA launch was refused: ") + cudaGetErrorString(error));
}

}  // namespace wbm::cuda

#endif
