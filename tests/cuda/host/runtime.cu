// The launcher of csrc/cuda/runtime/device.cuh against a CUDA runtime that only writes down what it is asked: a program that prints
// one line for each case. No GPU is needed; the kernels are never run.
#include <cstdio>
#include <string>

#include "cuda/runtime/device.cuh"

namespace {

struct Device {
  int opt_in = 232448, fixed = 640;  // shared memory of a block, and what the kernel declares
  int cluster = 8;              // the largest of which one fits; 0: the query fails
  int ptx = 90, current = 0;
  int allowed = 49152, lowered = 0;  // dynamic shared memory of the kernel, and how often it got less
  int queries = 0, cleared = 0;
  cudaError_t refusal = cudaSuccess;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal, launched_in = cudaStreamCaptureModeGlobal;
  std::string launched;
} state;

}  // namespace

#ifndef __CUDA_ARCH__  // on a device these functions are nvcc's own
extern "C" {

cudaError_t cudaGetDevice(int* device) { return *device = state.current, cudaSuccess; }
cudaError_t cudaGetLastError() { return ++state.cleared, cudaSuccess; }
const char* cudaGetErrorString(cudaError_t error) { return error == cudaErrorLaunchOutOfResources ? "out of resources" : "?"; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int) {
  *value = name == cudaDevAttrMaxSharedMemoryPerBlockOptin ? state.opt_in : name == cudaDevAttrMultiProcessorCount ? 132 : 1;
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* found, const void*) {
  *found = {};
  found->sharedSizeBytes = state.fixed;
  found->maxDynamicSharedSizeBytes = state.allowed;
  found->ptxVersion = state.ptx;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int value) {
  if (value + state.fixed > state.opt_in) return cudaErrorInvalidValue;
  state.lowered += value < state.allowed;
  state.allowed = value;
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void*, const cudaLaunchConfig_t* config) {
  ++state.queries;
  if (state.cluster == 0 || static_cast<int>(config->dynamicSmemBytes) > state.allowed) return cudaErrorInvalidClusterSize;
  *clusters = static_cast<int>(config->attrs[0].val.clusterDim.x) <= state.cluster;
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  const cudaStreamCaptureMode before = state.mode;
  state.mode = *mode;
  *mode = before;
  return cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void*, void**) {
  state.launched_in = state.mode;
  state.launched = std::to_string(config->gridDim.x) + " blocks of " + std::to_string(config->blockDim.x);
  for (unsigned k = 0; k < config->numAttrs; ++k) {
    const cudaLaunchAttribute& one = config->attrs[k];
    state.launched += one.id == cudaLaunchAttributeCooperative
                          ? ", cooperative"
                          : ", clusters of " + std::to_string(one.val.clusterDim.x);
  }
  return static_cast<int>(config->dynamicSmemBytes) > state.allowed ? cudaErrorInvalidValue : state.refusal;
}

// What code for the device asks when it is loaded and launched.
void** __cudaRegisterFatBinary(void*) { return nullptr; }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char*, char*, const char*, int, uint3*, uint3*, dim3*, dim3*, int*) {}
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, CUstream_st*) { return 0; }
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*) { return cudaSuccess; }
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, size_t, cudaStream_t) { return cudaSuccess; }
cudaError_t __cudaGetKernel(cudaKernel_t*, const void*) { return cudaSuccess; }
cudaError_t cudaLaunchKernel(const void*, dim3, dim3, void**, size_t, cudaStream_t) { return cudaSuccess; }

}  // extern "C"
#endif

namespace {

using namespace wbm::cuda;

struct Nothing {
  int value;
};
template <int>
WBM_KERNEL(32) kernel(Nothing) {}

template <int which>
Limits limits_with(Device device) {
  state = device;
  return device_limits(kernel<which>, 512);
}

Shape shape(std::size_t shared, unsigned cluster, bool cooperative) {
  Shape wanted{{8, 1}, {64, 1}};
  wanted.shared = shared;
  wanted.cluster = cluster;
  wanted.cooperative = cooperative;
  return wanted;
}

}  // namespace

int main() {
  state = {};
  for (const std::size_t bytes : {200000, 1000, 200000}) launch(kernel<0>, shape(bytes, 1, true), Nothing{0}, nullptr);
  std::printf("shared memory: lowered %d times, %d bytes\n", state.lowered, state.allowed);
  launch(kernel<0>, shape(1000, 4, true), Nothing{0}, nullptr);
  std::printf("launch: %s\n", state.launched.c_str());

  Device part, none, older;
  part.cluster = 4;
  none.cluster = 0;
  older.ptx = 75;
  std::printf("clusters: %d %d %d %d\n", limits_with<1>({}).cluster, limits_with<2>(part).cluster,
              limits_with<3>(none).cluster, limits_with<4>(older).cluster);
  Device second;
  second.current = 1;
  limits_with<1>({});
  const int again = state.queries;
  limits_with<1>(second);
  std::printf("queries: %d when asked again, %d of another device\n", again, state.queries);

  state = {};
  {
    const LoadsCode loads;
    launch(kernel<0>, shape(0, 1, false), Nothing{0}, nullptr);
  }
  std::printf("capture: %s while loading, %s after\n",
              state.launched_in == cudaStreamCaptureModeRelaxed ? "relaxed" : "global",
              state.mode == cudaStreamCaptureModeGlobal ? "global" : "relaxed");

  state = {};
  state.refusal = cudaErrorLaunchOutOfResources;
  try {
    launch(kernel<0>, shape(0, 1, false), Nothing{0}, nullptr);
  } catch (const std::exception& thrown) {
    std::printf("refusal: %s, cleared %d\n", thrown.what(), state.cleared);
  }
}
