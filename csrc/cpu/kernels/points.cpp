// Squared distances by tiles of a matrix product. Compiled once per instruction set with -DWBM_ISA=<name>; see kernels.h.
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace wbm::WBM_ISA {
namespace {

// Rows x two registers of out from column j on, all k terms in registers.
template <typename S, int Rows>
void tile(const S* x, const S* x_squares, const S* y, const S* y_squares, std::int64_t k, std::int64_t padded, S scale,
          S* out, std::int64_t stride) {
  using Wide = typename WideOf<S>::Type;
  constexpr std::int64_t kWide = sizeof(Wide) / sizeof(S);
  Wide low[Rows] = {}, high[Rows] = {};
  for (std::int64_t c = 0; c < k; ++c) {
    const Wide a = load_wide(y + c * padded), b = load_wide(y + c * padded + kWide);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const S factor = x[r * k + c];
      low[r] += a * factor;
      high[r] += b * factor;
    }
  }
  const Wide zero = {};
  const auto finish = [&](Wide product, Wide squares, S square) {
    const Wide d = (squares + square - product * S(2)) * scale;
    return d < zero ? zero : d;  // NaN stays
  };
  for (int r = 0; r < Rows; ++r) {
    store_wide(out + r * stride, finish(low[r], load_wide(y_squares), x_squares[r]));
    store_wide(out + r * stride + kWide, finish(high[r], load_wide(y_squares + kWide), x_squares[r]));
  }
}

template <typename S>
void tiles(int rows, const S* x, const S* x_squares, const S* y, const S* y_squares, std::int64_t k, std::int64_t padded,
           S scale, S* out, std::int64_t stride) {
  for (; rows >= 8; rows -= 8, x += 8 * k, x_squares += 8, out += 8 * stride)
    tile<S, 8>(x, x_squares, y, y_squares, k, padded, scale, out, stride);
  for (; rows >= 1; --rows, x += k, ++x_squares, out += stride)
    tile<S, 1>(x, x_squares, y, y_squares, k, padded, scale, out, stride);
}

template <typename S>
void distances(const S* x, const S* x_squares, std::int64_t rows, const S* y, const S* y_squares, std::int64_t k,
               std::int64_t m, std::int64_t padded, S scale, S* out) {
  constexpr std::int64_t kColumns = 2 * sizeof(typename WideOf<S>::Type) / sizeof(S), kMost = 32;
  const std::int64_t whole = m / kColumns * kColumns;
  for (std::int64_t j = 0; j < whole; j += kColumns)
    tiles(static_cast<int>(rows), x, x_squares, y + j, y_squares + j, k, padded, scale, out + j, m);
  if (whole == m) return;
  S rest[kMost * kColumns];  // the last columns, which must not be written beyond
  for (std::int64_t i = 0; i < rows; i += kMost) {
    const std::int64_t count = rows - i < kMost ? rows - i : kMost;
    tiles(static_cast<int>(count), x + i * k, x_squares + i, y + whole, y_squares + whole, k, padded, scale, rest, kColumns);
    for (std::int64_t r = 0; r < count; ++r)
      for (std::int64_t j = whole; j < m; ++j) out[(i + r) * m + j] = rest[r * kColumns + j - whole];
  }
}

template <typename S>
const S* point(const S* x, std::int64_t stride, const std::int64_t* index, std::int64_t i) {
  return x + (index ? index[i] : i) * stride;
}

template <typename S>
void add_points(const S* x, std::int64_t stride, const std::int64_t* index, std::int64_t count, std::int64_t k,
                double* total) {
  for (std::int64_t i = 0; i < count; ++i) {
    const S* p = point(x, stride, index, i);
    for (std::int64_t c = 0; c < k; c += kLanes) {
      const std::int64_t some = k - c < kLanes ? k - c : kLanes;
      store_some(total + c, load_some(total + c, some, 0.0) + load_some(p + c, some, 0.0), some);
    }
  }
}

// out = p - centre, `count` coordinates of it; returns their squares
template <typename S>
Vec centre_some(const S* p, const double* centre, std::int64_t count, S* out) {
  const Vec d = load_some(p, count, 0.0) - load_some(centre, count, 0.0);
  store_some(out, d, count);
  return d * d;
}

template <typename S>
double centred(const S* x, std::int64_t stride, const std::int64_t* index, std::int64_t count, std::int64_t k,
               const double* centre, S* out, S* squares) {
  double total = 0.0;
  for (std::int64_t i = 0; i < count; ++i, out += k) {
    const S* p = point(x, stride, index, i);
    Vec square = splat(0.0);
    for (std::int64_t c = 0; c < k; c += kLanes)
      square += centre_some(p + c, centre + c, k - c < kLanes ? k - c : kLanes, out + c);
    const double own = sum(square);
    squares[i] = static_cast<S>(own);
    total += own;
  }
  return total;
}

// By blocks of points and coordinates, so that each line of `out` is written once.
template <typename S>
double centred_columns(const S* x, std::int64_t stride, const std::int64_t* index, std::int64_t count, std::int64_t k,
                       const double* centre, std::int64_t padded, S* out, S* squares) {
  constexpr std::int64_t kBlock = 16;
  double total = 0.0;
  for (std::int64_t j = 0; j < padded; j += kBlock) {
    const std::int64_t points = count - j < kBlock ? (count > j ? count - j : 0) : kBlock;
    Vec square[kBlock] = {};
    for (std::int64_t c = 0; c < k; c += kLanes) {
      const std::int64_t some = k - c < kLanes ? k - c : kLanes;
      S block[kBlock][kLanes] = {};
      for (std::int64_t i = 0; i < points; ++i)
        square[i] += centre_some(point(x, stride, index, j + i) + c, centre + c, some, block[i]);
      for (std::int64_t l = 0; l < some; ++l)
        for (std::int64_t i = 0; i < kBlock; ++i) out[(c + l) * padded + j + i] = block[i][l];
    }
    for (std::int64_t i = 0; i < kBlock; ++i) {
      const double own = sum(square[i]);
      squares[j + i] = static_cast<S>(own);
      total += own;
    }
  }
  return total;
}

template <typename S>
constexpr DistanceKernel<S> table = {distances<S>, add_points<S>, centred<S>, centred_columns<S>};

}  // namespace

extern const DistanceKernels distance_kernels;
const DistanceKernels distance_kernels = {table<float>, table<double>};

}  // namespace wbm::WBM_ISA
