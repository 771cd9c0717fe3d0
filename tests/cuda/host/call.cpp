// C functions for ctypes that are the same for forward and backward.
#include "call.h"

#include <cstddef>
#include <cstdint>

extern "C" {

// The device that later calls find: multiprocessors, bytes of shared memory a block, blocks of a cluster, cooperative launches,
// registers of a multiprocessor.
void wbm_device(int multiprocessors, std::size_t shared, int cluster, int cooperative, int registers) {
  cuda_on_cpu::configure_device({multiprocessors, shared, cluster, cooperative != 0, registers});
}

// Device memory that kernels compiled with -fsanitize=thread are watched in; what they were seen to do.
void wbm_watch(const void* begin, std::size_t bytes, const char* name) { cuda_on_cpu::watch(begin, bytes, name, false); }
void wbm_forget_watched() { cuda_on_cpu::forget_watched(); }
std::int64_t wbm_accesses() { return cuda_on_cpu::accesses(); }

void wbm_forget_barriers() { cuda_on_cpu::forget_barriers(); }
// The host's numbers of 16 bits, there and back.
void wbm_lengthen(const std::uint16_t* bits, double* values, std::int64_t count, int bits16) {
  for (std::int64_t k = 0; k < count; ++k)
    values[k] = bits16 == 1 ? wbm::cuda::widened(wbm::cuda::Half{bits[k]}) : wbm::cuda::widened(wbm::cuda::Bfloat16{bits[k]});
}
void wbm_shorten(const double* values, std::uint16_t* bits, std::int64_t count, int bits16) {
  for (std::int64_t k = 0; k < count; ++k)
    bits[k] = bits16 == 1 ? wbm::cuda::narrowed<wbm::cuda::Half>(values[k]).bits
                          : wbm::cuda::narrowed<wbm::cuda::Bfloat16>(values[k]).bits;
}

const char* wbm_barriers_passed() { return cuda_on_cpu::barriers_passed().c_str(); }

}  // extern "C"
