// Reductions of one block: fixed trees, so that the result depends on the values and the block's shape alone.
#pragma once

#include <cmath>

#include "cuda/runtime/device.cuh"

namespace wbm::cuda {

inline constexpr int kMaxThreads = 512;  // of a one-dimensional block; always whole warps
inline constexpr int kTileColumns = 8;   // a tile's warp reads four rows of one 32-byte sector (float32) each
inline constexpr int kTileRows = 32;
inline constexpr int kTileThreads = kTileColumns * kTileRows;

struct Sum {
  WBM_DEVICE double operator()(double x, double y) const { return x + y; }
};

struct Max {
  WBM_DEVICE double operator()(double x, double y) const { return fmax(x, y); }
};

// Over a one-dimensional block: the lanes of each warp by halves, then the warps in order. Every thread gets the
// result, bitwise the same.
template <typename Value, typename Combine>
WBM_DEVICE Value block_reduce(Value value, Combine combine) {
  WBM_SHARED(Value, partial, kMaxThreads / kWarp);
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = combine(value, shuffle_down(value, offset));
  block_barrier();  // a slower thread may still read the reduction before this one
  if (thread_x() % kWarp == 0) partial[thread_x() / kWarp] = value;
  block_barrier();
  Value total = partial[0];
  for (int warp = 1; warp < threads_x() / kWarp; ++warp) total = combine(total, partial[warp]);
  return total;
}

WBM_DEVICE double block_sum(double value) { return block_reduce(value, Sum{}); }
WBM_DEVICE double block_max(double value) { return block_reduce(value, Max{}); }

// Over the kTileRows threads of each column of a kTileColumns x kTileRows block, by halves. Threads with
// thread_y() = 0 get their column's result, the others a part of it.
template <typename Value, typename Combine>
WBM_DEVICE Value tile_reduce(Value value, Combine combine) {
  WBM_SHARED(Value, tile, kTileThreads);
  const int place = thread_y() * kTileColumns + thread_x();
  tile[place] = value;
  for (int half = kTileRows / 2; half > 0; half /= 2) {
    block_barrier();
    if (thread_y() >= half) continue;
    value = combine(value, tile[place + half * kTileColumns]);
    tile[place] = value;
  }
  block_barrier();  // the next reduction may write now
  return value;
}

}  // namespace wbm::cuda
