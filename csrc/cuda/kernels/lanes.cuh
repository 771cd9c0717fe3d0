// Sums over the lanes of a warp without a select. Of K values that a lane holds for K lines, `halve` sends half to the partner
// that differs in one bit of the lane number and adds what comes back to the other half; after log2 K such steps each lane has
// the whole sum of its own line. Which register stands for which line depends on the lane (register k: line k XOR a number of
// the lane), so that the half a lane keeps is always the lower one; only the code that loads the matrix knows that order.
#pragma once

#include "cuda/runtime/device.cuh"

namespace wbm::cuda {

template <int kHalf>
WBM_DEVICE void halve(float* values, int bit) {
  WBM_UNROLL
  for (int k = 0; k < kHalf; ++k) values[k] += shuffle_xor(values[kHalf + k], bit);
}

// The way back: the lower half of the partner becomes the upper half here.
template <int kHalf>
WBM_DEVICE void spread(float* values, int bit) {
  WBM_UNROLL
  for (int k = 0; k < kHalf; ++k) values[kHalf + k] = shuffle_xor(values[k], bit);
}

// kCount values over kLanes lanes that differ in the bits kLow .. kLow kLanes / 2: the first kCount / kLanes are then whole
// sums.
template <int kCount, int kLanes, int kLow>
WBM_DEVICE void reduce_over(float* values) {
  if constexpr (kLanes > 1) {
    halve<kCount / 2>(values, kLow * kLanes / 2);
    reduce_over<kCount / 2, kLanes / 2, kLow>(values);
  }
}
template <int kCount, int kLanes, int kLow>
WBM_DEVICE void gather_over(float* values) {
  if constexpr (kLanes > 1) {
    gather_over<kCount / 2, kLanes / 2, kLow>(values);
    spread<kCount / 2>(values, kLow * kLanes / 2);
  }
}

// One number over all lanes, in every lane.
template <typename Value>
WBM_DEVICE Value warp_sum(Value value) {
  WBM_UNROLL
  for (int bit = kWarp / 2; bit > 0; bit /= 2) value += shuffle_xor(value, bit);
  return value;
}
WBM_DEVICE double warp_max(double value) {
  WBM_UNROLL
  for (int bit = kWarp / 2; bit > 0; bit /= 2) {
    const double other = shuffle_xor(value, bit);
    value = other > value ? other : value;
  }
  return value;
}

}  // namespace wbm::cuda
