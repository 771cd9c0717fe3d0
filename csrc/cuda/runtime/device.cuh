// Every primitive of the device that the kernels use, under one name each. With WBM_CUDA_ON_CPU the same names come
// from "fibers.h" (tests/cuda/host), which runs the threads of a block on the host in a random order.
//
//   thread_x, thread_y      place of the thread in its block        threads_x   threads of the block along x
//   block_x, block_y        place of the block in the grid          grid_x, grid_y   extent of the grid
//   block_barrier           all threads of the block, memory included
//   block_any               barrier; true in every thread where any thread passed true
//   cluster_rank, cluster_size, cluster_barrier    the block in its cluster, the blocks of it; all threads of the cluster
//   peer(shared, rank)      the array of the block of that rank in the cluster (distributed shared memory)
//   group_barrier           all threads of `blocks` blocks of a cooperative launch that share a counter (0 at first)
//   shuffle_down            the value of the lane `offset` above (its own where there is none); whole warps only
//   warp_any                true in every lane where any lane passed true; whole warps only, as are shuffles
//   shuffle_xor, shuffle    the value of the lane whose number differs in these bits; of that lane
//   atomic_or, atomic_max   integers only: their result does not depend on the order
//   Half, Bfloat16          numbers of 16 bits, to be loaded and stored
//   widened, narrowed<T>    a number of any type as float64, exactly; float64 to the nearest of type T
//   fast_exp2, fast_log2, fast_reciprocal   float32 to a few units in the last place, one instruction each
//   afresh                  the same number, which the compiler may not keep what it derived from: addresses of rare code
//   WBM_SHARED              an array of the block, not initialised
//   dynamic_shared<Type>    array that begins so many bytes into the shared memory that the launch asked for
//   WBM_ARGUMENTS           before the parameter of a kernel that hands a reference to it to functions
//   WBM_FUNCTION            a function of the device with registers of its own, called and not inlined
//   WBM_UNROLL              the loop after it is unrolled: arrays indexed by its counter stay in registers
//   WBM_ROLLED              the loop after it is not: what several turns would hold at once would spill
//   LoadsCode               while it lives this thread may load code, also where a stream is being captured
//   WBM_KERNEL(threads)     blocks of at most so many threads; one of them a multiprocessor is enough, so that no
//                           register is spilled for the sake of a second one
//   WBM_PACKED_KERNEL(threads, blocks)   the same, so many blocks a multiprocessor at once
#pragma once

#include <cstddef>
#include <cstdint>

namespace wbm::cuda {

struct Extent {
  unsigned x = 1, y = 1;
};

// A launch beyond the plain one: dynamic shared memory, blocks of a cluster (1: none), all blocks at once on the device.
struct Shape {
  Extent grid, block;
  std::size_t shared = 0;
  unsigned cluster = 1;
  bool cooperative = false;
};

// What the current device offers one kernel.
struct Limits {
  int multiprocessors = 1;
  std::size_t shared = 0;  // bytes of shared memory a block may have, static and dynamic
  int cluster = 1;         // largest cluster of blocks; 1: none
  bool cooperative = false;
  int registers = 0;       // of 32 bits, a multiprocessor's
};

}  // namespace wbm::cuda

#ifdef WBM_CUDA_ON_CPU
#include "fibers.h"
#else

#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#define WBM_DEVICE __device__ __forceinline__
#define WBM_FUNCTION __device__ __noinline__
#define WBM_KERNEL(threads) __global__ void __launch_bounds__(threads, 1)
#define WBM_PACKED_KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define WBM_ARGUMENTS const __grid_constant__
#define WBM_UNROLL _Pragma("unroll")
#define WBM_ROLLED _Pragma("unroll 1")
#define WBM_SHARED(Type, name, count) __shared__ Type name[count]

namespace wbm::cuda {

inline constexpr int kWarp = 32;
inline constexpr std::int64_t kMaxGridX = 2147483647, kMaxGridY = 65535;  // blocks stride over what lies beyond

// The host twin names a barrier by the place of its call; here it is nothing.
struct Site {
  static constexpr __host__ __device__ Site here() { return {}; }
};

WBM_DEVICE int thread_x() { return static_cast<int>(threadIdx.x); }
WBM_DEVICE int thread_y() { return static_cast<int>(threadIdx.y); }
WBM_DEVICE int threads_x() { return static_cast<int>(blockDim.x); }
WBM_DEVICE std::int64_t block_x() { return blockIdx.x; }
WBM_DEVICE std::int64_t block_y() { return blockIdx.y; }
WBM_DEVICE std::int64_t grid_x() { return gridDim.x; }
WBM_DEVICE std::int64_t grid_y() { return gridDim.y; }

WBM_DEVICE void block_barrier(Site = {}) { __syncthreads(); }
WBM_DEVICE bool block_any(bool value) { return __syncthreads_or(value) != 0; }
WBM_DEVICE double shuffle_down(double value, int offset) { return __shfl_down_sync(0xffffffffu, value, offset); }
WBM_DEVICE float shuffle_xor(float value, int bits) { return __shfl_xor_sync(0xffffffffu, value, bits); }
WBM_DEVICE double shuffle_xor(double value, int bits) { return __shfl_xor_sync(0xffffffffu, value, bits); }
WBM_DEVICE float shuffle(float value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }
WBM_DEVICE double shuffle(double value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }
WBM_DEVICE bool warp_any(bool value) { return __any_sync(0xffffffffu, value) != 0; }
WBM_DEVICE float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
WBM_DEVICE float fast_log2(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
WBM_DEVICE float fast_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
WBM_DEVICE int afresh(int x) {
  asm volatile("" : "+r"(x));
  return x;
}
WBM_DEVICE std::uint32_t bits_of(float value) { return __float_as_uint(value); }
WBM_DEVICE void atomic_or(std::int32_t* address, std::int32_t bits) { atomicOr(address, bits); }
WBM_DEVICE void atomic_max(std::uint64_t* address, std::uint64_t value) {
  atomicMax(reinterpret_cast<unsigned long long*>(address), static_cast<unsigned long long>(value));
}

using Half = __half;
using Bfloat16 = __nv_bfloat16;
WBM_DEVICE double widened(double x) { return x; }
WBM_DEVICE double widened(float x) { return static_cast<double>(x); }
// By the bits: the assembler in the conversions of cuda_fp16.h and cuda_bf16.h makes the sweeps spill. Half: its exponent and
// fraction in the places of float32's are the number times 2^-112; an exponent of ones, then 2^16 at least, stays one.
WBM_DEVICE double widened(Half x) {
  const int bits = static_cast<short>(__half_as_ushort(x));
  const float y = __uint_as_float((static_cast<unsigned>(bits) << 13) & 0x8fffffffu) * 0x1p112f;
  return static_cast<double>(fabsf(y) >= 65536.0f ? __uint_as_float(__float_as_uint(y) | 0x7f800000u) : y);
}
WBM_DEVICE double widened(Bfloat16 x) {
  return static_cast<double>(__uint_as_float(static_cast<unsigned>(__bfloat16_as_ushort(x)) << 16));
}
template <typename T>
WBM_DEVICE T narrowed(double x) {
  if constexpr (std::is_same_v<T, Half>) {
    return __double2half(x);
  } else if constexpr (std::is_same_v<T, Bfloat16>) {
    return __double2bfloat16(x);
  } else {
    return static_cast<T>(x);
  }
}

// Order-preserving for values >= 0.
WBM_DEVICE std::uint64_t bits_of(double value) { return static_cast<std::uint64_t>(__double_as_longlong(value)); }
WBM_DEVICE double double_of(std::uint64_t bits) { return __longlong_as_double(static_cast<long long>(bits)); }

template <typename Type>
using Shared = Type*;

template <typename Type>
WBM_DEVICE Shared<Type> dynamic_shared(std::size_t bytes) {
  extern __shared__ __align__(16) unsigned char wbm_dynamic_shared[];
  return reinterpret_cast<Type*>(wbm_dynamic_shared + bytes);
}

// Clusters exist from compute capability 9.0 on; code for older devices has blocks alone.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
WBM_DEVICE int cluster_rank() { return static_cast<int>(cooperative_groups::this_cluster().block_rank()); }
WBM_DEVICE int cluster_size() { return static_cast<int>(cooperative_groups::this_cluster().num_blocks()); }
WBM_DEVICE void cluster_barrier(Site = {}) { cooperative_groups::this_cluster().sync(); }
template <typename Type>
WBM_DEVICE Shared<Type> peer(Shared<Type> mine, int rank) {
  return cooperative_groups::this_cluster().map_shared_rank(mine, rank);
}
#else
WBM_DEVICE int cluster_rank() { return 0; }
WBM_DEVICE int cluster_size() { return 1; }
WBM_DEVICE void cluster_barrier(Site = {}) { __syncthreads(); }
template <typename Type>
WBM_DEVICE Shared<Type> peer(Shared<Type> mine, int) {
  return mine;
}
#endif

// One thread of each block arrives after its block has; the count only grows, `blocks` for every barrier, so that the
// ticket says which one this is.
WBM_DEVICE void group_barrier(std::uint64_t* counter, int blocks, Site = {}) {
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    __threadfence();
    auto* count = reinterpret_cast<unsigned long long*>(counter);
    const unsigned long long ticket = atomicAdd(count, 1ull), whole = static_cast<unsigned long long>(blocks);
    const unsigned long long awaited = (ticket / whole + 1) * whole;
    while (*static_cast<volatile unsigned long long*>(count) < awaited) {
    }
    __threadfence();
  }
  __syncthreads();
}

namespace detail {

inline void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // it is reported; leave nothing for the caller's next check
  throw std::runtime_error(std::string("wbm_ext: ") + what + ": " + cudaGetErrorString(error));
}

inline int attribute(cudaDeviceAttr name, int device) {
  int value = 0;
  require(cudaDeviceGetAttribute(&value, name, device), "the CUDA device does not report what it can do");
  return value;
}

// Lets blocks of a kernel have all the dynamic shared memory that the device gives, whatever this launch needs: what another
// thread launches, or what a captured graph holds, may need more, and the limit is the kernel's, not the launch's. Returns it.
inline std::size_t allow_shared(const void* kernel, int device) {
  cudaFuncAttributes made{};
  require(cudaFuncGetAttributes(&made, kernel), "a CUDA kernel has no code for this device");
  const int most = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device) - static_cast<int>(made.sharedSizeBytes);
  if (made.maxDynamicSharedSizeBytes < most)
    require(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most),
            "a CUDA kernel was refused its shared memory");
  return static_cast<std::size_t>(most);
}

inline int current_device() {
  int device = 0;
  require(cudaGetDevice(&device), "no current CUDA device");
  return device;
}

// The largest cluster of blocks, each with all the shared memory, that the device has room for; 1: none. Clusters of 8 are
// portable, but a part of a device (MIG, MPS) may have fewer multiprocessors side by side. Code made for older devices (also
// where a newer one compiles it at start) knows no clusters.
inline int largest_cluster(const void* kernel, int threads, int device) {
  cudaFuncAttributes made{};
  require(cudaFuncGetAttributes(&made, kernel), "a CUDA kernel has no code for this device");
  if (made.ptxVersion < 90 || !attribute(cudaDevAttrClusterLaunch, device)) return 1;
  cudaLaunchAttribute size;
  size.id = cudaLaunchAttributeClusterDimension;
  size.val.clusterDim.y = size.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = allow_shared(kernel, device);
  config.attrs = &size;
  config.numAttrs = 1;
  for (unsigned blocks = 8; blocks > 1; blocks /= 2) {
    size.val.clusterDim.x = blocks;
    config.gridDim = dim3(blocks);
    int clusters = 0;
    if (cudaOccupancyMaxActiveClusters(&clusters, kernel, &config) == cudaSuccess && clusters > 0)
      return static_cast<int>(blocks);
    cudaGetLastError();  // not an error to keep
  }
  return 1;
}

}  // namespace detail

// Code is loaded when a kernel is first asked for, which a capture in the default mode forbids.
class LoadsCode {
 public:
  LoadsCode() { detail::require(cudaThreadExchangeStreamCaptureMode(&mode_), "no CUDA capture mode"); }
  ~LoadsCode() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  LoadsCode(const LoadsCode&) = delete;
  LoadsCode& operator=(const LoadsCode&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// Asks the runtime, not the device: neither a synchronisation nor an allocation.
inline Limits device_limits() {
  const int device = detail::current_device();
  Limits limits;
  limits.multiprocessors = detail::attribute(cudaDevAttrMultiProcessorCount, device);
  limits.shared = static_cast<std::size_t>(detail::attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  limits.cooperative = detail::attribute(cudaDevAttrCooperativeLaunch, device) != 0;
  limits.registers = detail::attribute(cudaDevAttrMaxRegistersPerMultiprocessor, device);
  return limits;
}

// The same with the clusters that this kernel may have with so many threads a block; asked once for each device.
template <typename Arguments>
Limits device_limits(void (*cluster_kernel)(Arguments), int threads) {
  static std::mutex access;
  static std::map<std::pair<const void*, int>, Limits> known;
  const std::lock_guard<std::mutex> one_at_a_time(access);
  const auto kernel = reinterpret_cast<const void*>(cluster_kernel);
  const int device = detail::current_device();
  const auto found = known.find({kernel, device});
  if (found != known.end()) return found->second;
  Limits limits = device_limits();
  limits.cluster = detail::largest_cluster(kernel, threads, device);
  return known[{kernel, device}] = limits;
}

// Enqueues one kernel. Reports this launch's own error, not one that an earlier call left behind.
template <typename Arguments>
void launch(void (*kernel)(Arguments), const Shape& shape, Arguments arguments, void* stream) {
  void* parameters[] = {&arguments};
  const void* function = reinterpret_cast<const void*>(kernel);
  if (shape.shared > 0) detail::allow_shared(function, detail::current_device());
  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(shape.grid.x, shape.grid.y);
  config.blockDim = dim3(shape.block.x, shape.block.y);
  config.dynamicSmemBytes = shape.shared;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = attributes;
  if (shape.cluster > 1) {
    attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
    attributes[config.numAttrs].val.clusterDim.x = shape.cluster;
    attributes[config.numAttrs].val.clusterDim.y = attributes[config.numAttrs].val.clusterDim.z = 1;
    ++config.numAttrs;
  }
  if (shape.cooperative) {
    attributes[config.numAttrs].id = cudaLaunchAttributeCooperative;
    attributes[config.numAttrs].val.cooperative = 1;
    ++config.numAttrs;
  }
  detail::require(cudaLaunchKernelExC(&config, function, parameters), "a CUDA launch was refused");
}

template <typename Arguments>
void launch(void (*kernel)(Arguments), Extent grid, Extent block, Arguments arguments, void* stream) {
  launch(kernel, Shape{grid, block}, arguments, stream);
}

}  // namespace wbm::cuda

#endif
