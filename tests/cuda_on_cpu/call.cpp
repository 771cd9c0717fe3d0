// C functions for ctypes that are the same for forward and backward.
#include "call.h"

#include <cstddef>

extern "C" {

// The device that later calls find: multiprocessors, bytes of shared memory a block, blocks of a cluster, cooperative launches.
void wbm_device(int multiprocessors, std::size_t shared, int cluster, int cooperative) {
  cuda_on_cpu::configure_device({multiprocessors, shared, cluster, cooperative != 0});
}

const char* wbm_barriers_passed() { return cuda_on_cpu::barriers_passed().c_str(); }

}  // extern "C"
