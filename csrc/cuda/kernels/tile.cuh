// Where the entries of a kernel matrix lie that never leaves the registers, and how its sums travel. A tile is the block that
// solves one problem of at most kN x kM; every lane holds kRows x kColumns entries, and the scalings of kOwnRows rows and
// kOwnColumns columns are computed by it (by several lanes alike where a line is shared).
//
//     row(i), column(j)      the lines of register (i, j); own row k is row(k)
//     own_column(k)          own column k
//     row_sums(K, s)         s = K v of the own rows
//     column_sums(K, u, t)   t = K' u of the own columns; takes u of the own rows
//     set_columns(v)         v of the own columns, for the next row_sums; own_v(k) is what it was given
//     add(x)                 over the whole tile, in every thread
//     counts_row(k), ...     whether this lane is the one that adds own line k to a total, and writes it
#pragma once

#include "cuda/kernels/lanes.cuh"
#include "cuda/runtime/reduce.cuh"

namespace wbm::cuda {

// One warp: 8 x 4 lanes, no barrier. Columns come in pairs, the pairs of a row of lanes side by side.
template <int kRows_, int kColumns_, int kBlocks_>
struct WarpTile {
  static constexpr int kRows = kRows_, kColumns = kColumns_, kRowLanes = 8, kColumnLanes = 4;
  static constexpr int kN = kRows * kRowLanes, kM = kColumns * kColumnLanes;
  static constexpr int kOwnRows = kRows / kColumnLanes, kOwnColumns = kColumns / kRowLanes;
  static constexpr int kThreads = kWarp, kBlocks = kBlocks_;  // of a block, and blocks a multiprocessor
  static constexpr std::size_t kShared = 0;
  int lane;
  float v[kColumns];

  WBM_DEVICE WarpTile() : lane(thread_x()) {}

  WBM_DEVICE int row(int i) const { return lane / kColumnLanes * kRows + (i ^ (lane % kColumnLanes * kOwnRows)); }
  WBM_DEVICE int column(int j) const {
    const int place = j ^ (lane / kColumnLanes * kOwnColumns);
    return (place / 2 * kColumnLanes + lane % kColumnLanes) * 2 + place % 2;
  }
  WBM_DEVICE int own_column(int k) const { return column(k); }
  WBM_DEVICE float own_v(int k) const { return v[k]; }
  WBM_DEVICE bool counts_row(int) const { return true; }
  WBM_DEVICE bool counts_column(int) const { return true; }

  WBM_DEVICE void set_columns(const float* own) {
    WBM_UNROLL
    for (int j = 0; j < kOwnColumns; ++j) v[j] = own[j];
    gather_over<kColumns, kRowLanes, kColumnLanes>(v);
  }

  WBM_DEVICE void row_sums(const float (&K)[kRows][kColumns], float* s) const {
    float sums[kRows];
    WBM_UNROLL
    for (int i = 0; i < kRows; ++i) sums[i] = K[i][0] * v[0];
    WBM_UNROLL
    for (int j = 1; j < kColumns; ++j) {
      WBM_UNROLL
      for (int i = 0; i < kRows; ++i) sums[i] = fmaf(K[i][j], v[j], sums[i]);
    }
    reduce_over<kRows, kColumnLanes, 1>(sums);
    WBM_UNROLL
    for (int k = 0; k < kOwnRows; ++k) s[k] = sums[k];
  }

  WBM_DEVICE void column_sums(const float (&K)[kRows][kColumns], const float* own, float* t) const {
    float u[kRows], sums[kColumns];
    WBM_UNROLL
    for (int k = 0; k < kOwnRows; ++k) u[k] = own[k];
    gather_over<kRows, kColumnLanes, 1>(u);
    WBM_UNROLL
    for (int j = 0; j < kColumns; ++j) sums[j] = K[0][j] * u[0];
    WBM_UNROLL
    for (int i = 1; i < kRows; ++i) {
      WBM_UNROLL
      for (int j = 0; j < kColumns; ++j) sums[j] = fmaf(K[i][j], u[i], sums[j]);
    }
    reduce_over<kColumns, kRowLanes, kColumnLanes>(sums);
    WBM_UNROLL
    for (int k = 0; k < kOwnColumns; ++k) t[k] = sums[k];
  }

  WBM_DEVICE float add(float x) const { return warp_sum(x); }
  WBM_DEVICE bool any(bool x) const { return warp_any(x); }
};

// W warps, each with whole rows, which never leave it: 2 x 16 lanes of R x C entries. The columns cross the block in shared
// memory: W partial sums a column, added by two threads where there are as many as that, else by one. Two barriers an
// iteration.
// R is 8, or 14: a sum over 16 lanes then goes in steps of 7, of 3 with the middle one shared, and two plain ones.
template <int R, int W, int C, int kBlocks_>
struct BlockTile {
  static constexpr int kRows = R, kColumns = C, kN = 2 * R * W, kM = 16 * C;
  static constexpr int kAdders = W >= C ? 2 : 1;  // threads that add up one column
  static constexpr int kOwnRows = R == 8 ? 1 : 4, kOwnColumns = 1;
  static constexpr int kThreads = W * kWarp, kBlocks = kBlocks_;
  static constexpr int kStride = kM + 16 * (kAdders - 1);  // both halves of a warp on banks of their own
  static constexpr std::size_t kShared = (kM + W * kStride + W) * sizeof(float);
  static_assert(R == 8 || R == 14);
  int lane, warp;
  float mine;  // v of the own column
  Shared<float> v, partial, totals;

  WBM_DEVICE BlockTile()
      : lane(thread_x() % kWarp), warp(thread_x() / kWarp), mine(1.0f), v(dynamic_shared<float>(0)), partial(v + kM),
        totals(partial + W * kStride) {}

  WBM_DEVICE int row(int i) const {
    const int c = lane % 16, first = warp * 2 * R + lane / 16 * R;
    if constexpr (R == 8) return first + (i ^ (c / 2));
    const int place = i % 7;
    return first + ((i / 7) ^ (c / 8)) * 7 + (place == 3 ? 3 : place ^ (c & 4));
  }
  WBM_DEVICE int column(int j) const {
    const int r = lane / 16, c = lane % 16;
    return (j < C / 2 ? 2 * j + r : 2 * (j - C / 2) + 1 - r) * 16 + c;
  }
  // Of the thread, or of the pair of lanes, that adds it up.
  WBM_DEVICE int own_column(int) const {
    if constexpr (kAdders == 2) return warp * 16 + lane % 16;
    return thread_x() < kM ? thread_x() : kM - 1;
  }
  WBM_DEVICE float own_v(int) const { return mine; }
  WBM_DEVICE bool counts_row(int k) const {
    if constexpr (R == 8) return lane % 2 == 0;
    return lane % 4 == 0 && (k < 3 || lane % 8 == 0);
  }
  WBM_DEVICE bool counts_column(int) const {
    if constexpr (kAdders == 2) return lane < 16 && warp < C;
    return thread_x() < kM;
  }

  WBM_DEVICE void set_columns(const float* own) {
    mine = own[0];
    if (counts_column(0)) v[own_column(0)] = mine;
    block_barrier();  // v is there, and the partial sums are read
  }

  WBM_DEVICE void row_sums(const float (&K)[R][C], float* s) const {
    const int r = lane / 16, c = lane % 16;
    const auto lower = v + (r * 16 + c), upper = v + ((1 - r) * 16 + c);
    float sums[R];
    WBM_UNROLL
    for (int j = 0; j < C; ++j) {
      const float vj = j < C / 2 ? lower[32 * j] : upper[32 * (j - C / 2)];
      WBM_UNROLL
      for (int i = 0; i < R; ++i) sums[i] = j ? fmaf(K[i][j], vj, sums[i]) : K[i][j] * vj;
    }
    if constexpr (R == 8) {
      halve<4>(sums, 8), halve<2>(sums, 4), halve<1>(sums, 2);
      sums[0] += shuffle_xor(sums[0], 1);
    } else {
      halve<7>(sums, 8);
      WBM_UNROLL
      for (int k = 0; k < 3; ++k) sums[k] += shuffle_xor(sums[4 + k], 4);
      sums[3] += shuffle_xor(sums[3], 4);
      WBM_UNROLL
      for (int bit = 2; bit > 0; bit /= 2) {
        WBM_UNROLL
        for (int k = 0; k < 4; ++k) sums[k] += shuffle_xor(sums[k], bit);
      }
    }
    WBM_UNROLL
    for (int k = 0; k < kOwnRows; ++k) s[k] = sums[k];
  }

  WBM_DEVICE void column_sums(const float (&K)[R][C], const float* own, float* t) const {
    float u[R], sums[C];
    WBM_UNROLL
    for (int k = 0; k < kOwnRows; ++k) u[k] = own[k];
    if constexpr (R == 8) {
      spread<1>(u, 2), spread<2>(u, 4), spread<4>(u, 8);
    } else {
      WBM_UNROLL
      for (int k = 0; k < 3; ++k) u[4 + k] = shuffle_xor(u[k], 4);
      spread<7>(u, 8);
    }
    WBM_UNROLL
    for (int j = 0; j < C; ++j) sums[j] = K[0][j] * u[0];
    WBM_UNROLL
    for (int i = 1; i < R; ++i) {
      WBM_UNROLL
      for (int j = 0; j < C; ++j) sums[j] = fmaf(K[i][j], u[i], sums[j]);
    }
    halve<C / 2>(sums, 16);
    const auto mine = partial + (warp * kStride + lane / 16 * 16 + lane % 16);
    WBM_UNROLL
    for (int j = 0; j < C / 2; ++j) mine[32 * j] = sums[j];
    block_barrier();  // every partial sum is there, and v is read
    const auto parts = partial + ((kAdders == 2 ? lane / 16 : 0) * kStride + own_column(0));
    float x[W / kAdders];
    WBM_UNROLL
    for (int k = 0; k < W / kAdders; ++k) x[k] = parts[kAdders * k * kStride];
    WBM_UNROLL
    for (int k = 1; k < W / kAdders; ++k) x[0] += x[k];
    t[0] = kAdders == 2 ? x[0] + shuffle_xor(x[0], 16) : x[0];
  }

  WBM_DEVICE float add(float x) const {
    x = warp_sum(x);
    if (lane == 0) totals[warp] = x;
    block_barrier();
    float sum = totals[0];
    WBM_UNROLL
    for (int k = 1; k < W; ++k) sum += totals[k];
    block_barrier();  // everyone has read before the next one writes
    return sum;
  }
  WBM_DEVICE bool any(bool x) const { return block_any(x); }
};

}  // namespace wbm::cuda
