#include <cuda_runtime.h>

#include "cuda/solver.h"

namespace wbm::cuda {

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // no driver, or one too old: not an error to keep
  return 0;
}

}  // namespace wbm::cuda
