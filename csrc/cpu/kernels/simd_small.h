// Small matrices in the lanes of simd.h: transposition, sums of rows times numbers, each in all lanes, and rows of a plan.
#pragma once

#include <type_traits>

#include "cpu/kernels/small.h"
#include "cpu/kernels/simd.h"

namespace wbm::WBM_ISA {

template <typename S>
using Wide = typename WideOf<S>::Type;
template <typename S>
constexpr std::int64_t kWide = 64 / sizeof(S);  // lanes of a Wide

// Of x and y: the lower (upper) lanes of each 16 bytes in turn; of pairs of lanes; the even (odd) 16 bytes.
#ifdef WBM_SHUFFLE
inline Wide32 low(Wide32 x, Wide32 y) {
  return WBM_SHUFFLE(x, y, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
}
inline Wide32 high(Wide32 x, Wide32 y) {
  return WBM_SHUFFLE(x, y, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}
inline Vec low(Vec x, Vec y) { return WBM_SHUFFLE(x, y, 0, 8, 2, 10, 4, 12, 6, 14); }
inline Vec high(Vec x, Vec y) { return WBM_SHUFFLE(x, y, 1, 9, 3, 11, 5, 13, 7, 15); }
inline Vec even(Vec x, Vec y) { return WBM_SHUFFLE(x, y, 0, 1, 4, 5, 8, 9, 12, 13); }
inline Vec odd(Vec x, Vec y) { return WBM_SHUFFLE(x, y, 2, 3, 6, 7, 10, 11, 14, 15); }

// The square of lanes x lanes that begins at k, rows `stride` apart, transposed to `out`. First the squares within each 16
// bytes: then row 4 q + e (float32; 2 q + e) holds column e of each of these, for four (two) rows.
inline void transpose_within(Wide32* x) {
#pragma GCC unroll 4
  for (int r = 0; r < 16; r += 4) {
    const Vec a = (Vec)low(x[r], x[r + 1]), b = (Vec)high(x[r], x[r + 1]);
    const Vec c = (Vec)low(x[r + 2], x[r + 3]), d = (Vec)high(x[r + 2], x[r + 3]);
    x[r] = (Wide32)low(a, c);
    x[r + 1] = (Wide32)high(a, c);
    x[r + 2] = (Wide32)low(b, d);
    x[r + 3] = (Wide32)high(b, d);
  }
}
inline void transpose_within(Vec* x) {
#pragma GCC unroll 4
  for (int r = 0; r < 8; r += 2) {
    const Vec a = x[r], b = x[r + 1];
    x[r] = low(a, b);
    x[r + 1] = high(a, b);
  }
}

template <typename S>
inline void transpose_square(const S* k, std::int64_t stride, S* out, std::int64_t out_stride) {
  constexpr int kSide = static_cast<int>(kWide<S>), kStep = kSide / 4;
  Wide<S> x[kSide];
#pragma GCC unroll 16
  for (int r = 0; r < kSide; ++r) x[r] = load_wide(k + r * stride);
  transpose_within(x);
#pragma GCC unroll 4
  for (int e = 0; e < kStep; ++e) {
    const auto at = [&](int q) { return (Vec)x[q * kStep + e]; };
    const Vec even_low = even(at(0), at(1)), even_high = even(at(2), at(3));
    const Vec odd_low = odd(at(0), at(1)), odd_high = odd(at(2), at(3));
    store_wide(out + e * out_stride, (Wide<S>)even(even_low, even_high));
    store_wide(out + (kStep + e) * out_stride, (Wide<S>)even(odd_low, odd_high));
    store_wide(out + (2 * kStep + e) * out_stride, (Wide<S>)odd(even_low, even_high));
    store_wide(out + (3 * kStep + e) * out_stride, (Wide<S>)odd(odd_low, odd_high));
  }
}
#else
template <typename S>
inline void transpose_square(const S* k, std::int64_t stride, S* out, std::int64_t out_stride) {
  for (std::int64_t i = 0; i < kWide<S>; ++i)
    for (std::int64_t j = 0; j < kWide<S>; ++j) out[j * out_stride + i] = k[i * stride + j];
}
#endif

// out_ji = k_ij for i < rows, j < columns.
template <typename S>
inline void transpose(const S* k, std::int64_t rows, std::int64_t columns, S* out) {
  for (std::int64_t i = 0; i < rows; i += kWide<S>)
    for (std::int64_t j = 0; j < columns; j += kWide<S>)
      transpose_square(k + i * columns + j, columns, out + j * rows + i, rows);
}

// Lane `quarter * step + e` in all lanes, step = lanes / 4, in two steps that cost less than a load: the quarter that it is in
// repeated, and its lane in that.
#ifdef WBM_SHUFFLE
template <int Q>
inline Wide32 quarter(Wide32 x) {
  constexpr int q = 4 * Q;
  return WBM_SHUFFLE(x, x, q, q + 1, q + 2, q + 3, q, q + 1, q + 2, q + 3, q, q + 1, q + 2, q + 3, q, q + 1, q + 2, q + 3);
}
template <int Q>
inline Vec quarter(Vec x) {
  constexpr int q = 2 * Q;
  return WBM_SHUFFLE(x, x, q, q + 1, q, q + 1, q, q + 1, q, q + 1);
}
template <int E>
inline Wide32 lane(Wide32 x) {
  constexpr int f = 4 + E, g = 8 + E, h = 12 + E;
  return WBM_SHUFFLE(x, x, E, E, E, E, f, f, f, f, g, g, g, g, h, h, h, h);
}
template <int E>
inline Vec lane(Vec x) {
  return WBM_SHUFFLE(x, x, E, E, 2 + E, 2 + E, 4 + E, 4 + E, 6 + E, 6 + E);
}
#else
template <int Q, typename V>
inline V quarter(V x) {
  constexpr int kLength = sizeof(V) / sizeof(x[0]);
  V out;
  for (int k = 0; k < kLength; ++k) out[k] = x[Q * (kLength / 4) + k % (kLength / 4)];
  return out;
}
template <int E, typename V>
inline V lane(V x) {
  return V{} + x[E];
}
#endif

// out = start + sum_i x_i k_i over the first `count` rows k_i of W vectors. Rows behind them, to a multiple of 4, are 0.
template <int W, typename S>
[[gnu::always_inline]] inline void sum_rows(const S* k, const S* x, std::int64_t count, const S* start, S* out) {
  constexpr int kChains = W > 4 ? 2 : 4;
  constexpr std::int64_t kStride = W * kWide<S>;
  Wide<S> sum[kChains][W] = {};
#pragma GCC unroll 8
  for (int w = 0; w < W; ++w) sum[0][w] = load_wide(start + w * kWide<S>);
  const auto add = [&](std::int64_t i, int chain, Wide<S> factor) {
#pragma GCC unroll 8
    for (int w = 0; w < W; ++w) sum[chain % kChains][w] += load_wide(k + i * kStride + w * kWide<S>) * factor;
  };
  const auto add_quarter = [&](std::int64_t i, Wide<S> factors, int chain) {
    add(i, chain, lane<0>(factors));
    add(i + 1, chain + 1, lane<1>(factors));
    if constexpr (sizeof(S) == 4) {
      add(i + 2, chain + 2, lane<2>(factors));
      add(i + 3, chain + 3, lane<3>(factors));
    }
  };
  constexpr std::int64_t kStep = kWide<S> / 4;
  for (std::int64_t i = 0; i < count; i += kWide<S>) {
    const Wide<S> factors = load_wide(x + i);
    add_quarter(i, quarter<0>(factors), 0);
    if (i + kStep >= count) break;
    add_quarter(i + kStep, quarter<1>(factors), 2);
    if (i + 2 * kStep >= count) break;
    add_quarter(i + 2 * kStep, quarter<2>(factors), 0);
    if (i + 3 * kStep >= count) break;
    add_quarter(i + 3 * kStep, quarter<3>(factors), 2);
  }
#pragma GCC unroll 8
  for (int w = 0; w < W; ++w) {
    if constexpr (kChains == 4)
      sum[0][w] = (sum[0][w] + sum[1][w]) + (sum[2][w] + sum[3][w]);
    else
      sum[0][w] += sum[1][w];
    store_wide(out + w * kWide<S>, sum[0][w]);
  }
}

// The same with rows of `width` entries.
template <typename S>
[[gnu::always_inline]] inline void sum_rows(const S* k, const S* x, std::int64_t count, std::int64_t width, const S* start,
                                            S* out) {
  constexpr int kUnit = static_cast<int>(kSmallPadding / kWide<S>);
  switch (width / kSmallPadding) {
    case 1: return sum_rows<kUnit>(k, x, count, start, out);
    case 2: return sum_rows<2 * kUnit>(k, x, count, start, out);
    case 3: return sum_rows<3 * kUnit>(k, x, count, start, out);
    default: return sum_rows<4 * kUnit>(k, x, count, start, out);
  }
}

// Exponents of row i of the plan, columns j to j + 7.
template <typename S>
inline Vec exponent(const S* d, double row, const double* column, double inverse_epsilon, std::int64_t j) {
  return (load(column + j) + row) - load(d + j) * inverse_epsilon;
}

// Rows of the plan in pairs: the sums over columns are read and written once for both. rows_of(i, count) works on rows
// i, i + count - 1.
template <typename Rows>
inline void in_pairs(std::int64_t n, const Rows& rows_of) {
  std::int64_t i = 0;
  for (; i + 2 <= n; i += 2) rows_of(i, std::integral_constant<int, 2>());
  if (i < n) rows_of(i, std::integral_constant<int, 1>());
}

}  // namespace wbm::WBM_ISA
