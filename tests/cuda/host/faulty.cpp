// Kernels with one fault each: what the fibers have to catch.
#include <cstdint>
#include <string>

#include "call.h"

namespace {

using namespace wbm::cuda;

struct Numbers {
  double* values;
};

void sound(Numbers numbers) {  // the threads' sum, by the lanes and then the warps: no fault
  WBM_SHARED(double, partial, 2);
  double sum = thread_x();
  for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += shuffle_down(sum, offset);
  if (thread_x() % kWarp == 0) partial[thread_x() / kWarp] = sum;
  block_barrier();
  if (thread_x() == 0) numbers.values[block_x()] = partial[0] + partial[1];
}

void returns_early(Numbers) {
  if (thread_x() == 5) return;
  block_barrier();
}

void two_barriers(Numbers) {
  if (thread_x() < kWarp) {
    block_barrier();
  } else {
    block_barrier();
  }
}

void part_of_a_warp(Numbers numbers) {
  if (thread_x() < 7) numbers.values[0] = shuffle_down(1.0, 1);
}

void out_of_bounds(Numbers) {
  WBM_SHARED(double, partial, 63);
  partial[thread_x()] = 1.0;
}

void not_initialised(Numbers numbers) {
  WBM_SHARED(double, partial, 1);
  if (thread_x() == 0) numbers.values[block_x()] = partial[0];
}

void no_barrier(Numbers numbers) {
  WBM_SHARED(double, last, 1);
  last[0] = thread_x();
  numbers.values[block_x()] = last[0];
}

}  // namespace

extern "C" const char* wbm_faulty(const char* name, std::uint64_t seed, double* values) {
  const std::string wanted = name;
  const auto kernel = wanted == "returns_early"     ? returns_early
                      : wanted == "two_barriers"    ? two_barriers
                      : wanted == "part_of_a_warp"  ? part_of_a_warp
                      : wanted == "out_of_bounds"   ? out_of_bounds
                      : wanted == "not_initialised" ? not_initialised
                      : wanted == "no_barrier"      ? no_barrier
                                                    : sound;
  return attempt(seed, "", [&] { launch(kernel, Extent{4, 1}, Extent{64, 1}, Numbers{values}, nullptr); });
}
