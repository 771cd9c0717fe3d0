// One iteration's read of the kernel matrix: rows are dotted with the column weights, each dot gives the row's new scale, and
// scale x row is added to the column sums while the row is still in registers.
//
// A team of `width` threads (one warp, or the block where a row is too long for that) takes R rows at a time; thread k of the
// team holds columns k, k + width, ... of each, kHold numbers in all. Sums have fixed trees.
#pragma once

#include "cuda/dispatch.h"
#include "cuda/line_update.cuh"
#include "cuda/reduce.cuh"

namespace wbm::cuda {

template <typename S>
inline constexpr int kHold = sizeof(S) == 4 ? 32 : 16;

struct Range {
  std::int64_t first, last;
};

WBM_DEVICE float exponential(float x) { return expf(x); }
WBM_DEVICE double exponential(double x) { return exp(x); }

// K in shared memory; the weights are v.
template <typename S>
struct StoredEntries {
  Shared<S> kernel, weights;
  std::int64_t first, m;

  using Row = std::int64_t;
  struct Column {
    std::int64_t j;
    S weight;
  };
  WBM_DEVICE Row row(std::int64_t i) const { return (i - first) * m; }
  WBM_DEVICE Column column(std::int64_t j) const { return {j, weights[j]}; }
  WBM_DEVICE S at(Row row, std::int64_t, const Column& column) const { return kernel[row + column.j]; }
};

// K_ij b_j = exp(base_i + base_j - D_ij / eps) from D itself; the weights are 1. The exponent is float64.
template <typename T, typename S>
struct StreamedEntries {
  const Matrix<T>& matrix;
  const double *row_base, *column_base;
  double inverse_epsilon;

  using Row = double;
  struct Column {
    std::int64_t j;
    double base;
    static constexpr S weight = 1;
  };
  WBM_DEVICE Row row(std::int64_t i) const { return row_base[i]; }
  WBM_DEVICE Column column(std::int64_t j) const { return {j, column_base[j]}; }
  WBM_DEVICE S at(Row row, std::int64_t i, const Column& column) const {
    const double exponent = matrix.allows(i, column.j) ? row + column.base - matrix.at(i, column.j) * inverse_epsilon : -kInf;
    return exponential(static_cast<S>(exponent));
  }
};

// Every lane's R sums over its warp; lane k returns that of row k % R.
template <int R, typename S>
WBM_DEVICE S warp_sums(S (&values)[R]) {
  S mine = 0;
  const int row = thread_x() % kWarp % R;
WBM_UNROLL
  for (int r = 0; r < R; ++r) {
    for (int bits = kWarp / 2; bits > 0; bits /= 2) values[r] += shuffle_xor(values[r], bits);
    if (r == row) mine = values[r];
  }
  return mine;
}

// The same over the whole block, warp after warp. `buffer` holds two turns, so that one barrier is enough.
template <int R, typename S>
WBM_DEVICE S block_sums(S (&values)[R], Shared<S> buffer, int turn) {
  const int lane = thread_x() % kWarp, warps = threads_x() / kWarp;
  const S mine = warp_sums(values);
  const int first = turn % 2 * warps * R;
  if (lane < R) buffer[first + thread_x() / kWarp * R + lane] = mine;
  block_barrier();
  S total = 0;
  for (int warp = 0; warp < warps; ++warp) total += buffer[first + warp * R + lane % R];
  return total;
}

// The column sums of a block whose warps each hold one of their own: `sums` are those of columns lane, lane + 32, ...
template <int H, typename S, typename Window>
WBM_DEVICE void add_warps(const S (&sums)[H], std::int64_t m, Shared<S> buffer, Window partial) {
  constexpr int kTurn = H < kBufferColumns / kWarp ? H : kBufferColumns / kWarp, kWidth = kTurn * kWarp;
  const int warp = thread_x() / kWarp, lane = thread_x() % kWarp, warps = threads_x() / kWarp;
WBM_UNROLL
  for (int h = 0; h < H; h += kTurn) {
    if (h * kWarp >= m) break;
    block_barrier();  // what was read before is done with
WBM_UNROLL
    for (int k = 0; k < kTurn; ++k) buffer[warp * kWidth + k * kWarp + lane] = sums[h + k];
    block_barrier();
    for (int k = thread_x(); k < kWidth && h * kWarp + k < m; k += threads_x()) {
      S total = 0;
      for (int w = 0; w < warps; ++w) total += buffer[w * kWidth + k];
      partial[h * kWarp + k] = static_cast<double>(total);
    }
  }
}

// `update(i, s, owner, tally)` is the new scale of row i; one thread of those that ask for it is the owner.
template <int R, typename S, typename Entries, typename Update, typename Window>
WBM_DEVICE Tally sweep_held(const Entries& entries, const Update& update, Range rows, std::int64_t m, bool whole_block,
                            Shared<S> buffer, Window partial) {
  constexpr int H = kHold<S> / R;
  const int width = whole_block ? threads_x() : kWarp, place = thread_x() % width, lane = thread_x() % kWarp;
  const int team = thread_x() / width, teams = threads_x() / width;
  S sums[H] = {};
  Tally tally = {0.0, 0.0, 0.0, 0.0};
  int turn = 0;
  for (std::int64_t tile = rows.first; tile < rows.last; tile += teams * R, ++turn) {
    const std::int64_t first = tile + team * R;
    S held[R][H], dots[R];
    typename Entries::Row row[R];
WBM_UNROLL
    for (int r = 0; r < R; ++r) {
      dots[r] = 0;
      row[r] = first + r < rows.last ? entries.row(first + r) : typename Entries::Row(0);
    }
WBM_UNROLL
    for (int h = 0; h < H; ++h) {
      const std::int64_t j = place + h * width;
      if (j < m) {
        const auto column = entries.column(j);
WBM_UNROLL
        for (int r = 0; r < R; ++r) {
          held[r][h] = first + r < rows.last ? entries.at(row[r], first + r, column) : S(0);
          dots[r] += held[r][h] * column.weight;
        }
      } else {
WBM_UNROLL
        for (int r = 0; r < R; ++r) held[r][h] = 0;
      }
    }
    const S s = whole_block ? block_sums(dots, buffer, turn) : warp_sums(dots);
    const std::int64_t i = first + lane % R;
    const S scale = i < rows.last ? static_cast<S>(update(i, static_cast<double>(s), place < R, tally)) : S(0);
WBM_UNROLL
    for (int r = 0; r < R; ++r) {
      const S factor = shuffle(scale, r);
WBM_UNROLL
      for (int h = 0; h < H; ++h) sums[h] += held[r][h] * factor;
    }
  }
  if (!whole_block) {
    add_warps(sums, m, buffer, partial);
  } else {
WBM_UNROLL
    for (int h = 0; h < H; ++h)
      if (place + h * width < m) partial[place + h * width] = static_cast<double>(sums[h]);
  }
  return tally;
}

// Rows longer than what a block's registers hold: each is read twice, the second time from a cache.
template <typename S, typename Entries, typename Update, typename Window>
WBM_DEVICE Tally sweep_long(const Entries& entries, const Update& update, Range rows, std::int64_t m, Shared<S> buffer,
                            Window partial) {
  Tally tally = {0.0, 0.0, 0.0, 0.0};
  for (std::int64_t j = thread_x(); j < m; j += threads_x()) partial[j] = 0.0;
  int turn = 0;
  for (std::int64_t i = rows.first; i < rows.last; ++i, ++turn) {
    const auto row = entries.row(i);
    S dot[1] = {0};
    for (std::int64_t j = thread_x(); j < m; j += threads_x()) {
      const auto column = entries.column(j);
      dot[0] += entries.at(row, i, column) * column.weight;
    }
    const S s = block_sums(dot, buffer, turn);
    const S scale = static_cast<S>(update(i, static_cast<double>(s), thread_x() == 0, tally));
    for (std::int64_t j = thread_x(); j < m; j += threads_x())
      partial[j] += static_cast<double>(entries.at(row, i, entries.column(j)) * scale);
  }
  return tally;
}

// The column sums of the new scales go to `partial` (m), to be read after a barrier; returns this thread's part of the tally.
template <typename S, typename Entries, typename Update, typename Window>
WBM_DEVICE Tally sweep(const Entries& entries, const Update& update, Range rows, std::int64_t m, Shared<S> buffer,
                       Window partial) {
  const bool whole_block = m > kHold<S> * kWarp;
  const std::int64_t width = whole_block ? threads_x() : kWarp, held = (m + width - 1) / width;
  if (held <= kHold<S> / 8) return sweep_held<8, S>(entries, update, rows, m, whole_block, buffer, partial);
  if (held <= kHold<S> / 4) return sweep_held<4, S>(entries, update, rows, m, whole_block, buffer, partial);
  if (held <= kHold<S> / 2) return sweep_held<2, S>(entries, update, rows, m, whole_block, buffer, partial);
  if (held <= kHold<S>) return sweep_held<1, S>(entries, update, rows, m, whole_block, buffer, partial);
  return sweep_long<S>(entries, update, rows, m, buffer, partial);
}

}  // namespace wbm::cuda
