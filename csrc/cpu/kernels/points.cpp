// Squared distances by tiles, of a matrix product where it is safe, and their gradient. Compiled once per instruction set with -DWBM_ISA=<name>; see kernels.h.
#include <cstdint>
#include <limits>

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace wbm::WBM_ISA {
namespace {

// Rows x two registers of out from column j on, all coordinates in registers. The sum of products |x|^2 + |y|^2 - 2 x y says
// whether it lost digits: where the result is below kCancel of the squares it comes from, or those overflow.
template <typename S, int Rows>
bool product_tile(const S* x, const S* x_squares, const S* y, const S* y_squares, std::int64_t k, std::int64_t padded,
                  S scale, S* out, std::int64_t stride) {
  using Wide = typename WideOf<S>::Type;
  constexpr std::int64_t kWide = sizeof(Wide) / sizeof(S);
  constexpr S kCancel = S(0.25), kMost = std::numeric_limits<S>::max();
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
  auto safe = low[0] == low[0];  // false where NaN
  const auto finish = [&](Wide product, Wide squares, S square) {
    const Wide both = squares + square, d = both - product * S(2);
    safe &= (d >= both * kCancel) & (both <= kMost);
    return d * scale;
  };
  for (int r = 0; r < Rows; ++r) {
    store_wide(out + r * stride, finish(low[r], load_wide(y_squares), x_squares[r]));
    store_wide(out + r * stride + kWide, finish(high[r], load_wide(y_squares + kWide), x_squares[r]));
  }
  bool all = true;
  for (std::int64_t l = 0; l < kWide; ++l) all &= safe[l] != 0;
  return all;
}

// The same from differences, which lose nothing.
template <typename S, int Rows>
void difference_tile(const S* x, const S* y, std::int64_t k, std::int64_t padded, S scale, S* out, std::int64_t stride) {
  using Wide = typename WideOf<S>::Type;
  constexpr std::int64_t kWide = sizeof(Wide) / sizeof(S);
  Wide low[Rows] = {}, high[Rows] = {};
  for (std::int64_t c = 0; c < k; ++c) {
    const Wide a = load_wide(y + c * padded), b = load_wide(y + c * padded + kWide);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Wide d = a - x[r * k + c], e = b - x[r * k + c];
      low[r] += d * d;
      high[r] += e * e;
    }
  }
  for (int r = 0; r < Rows; ++r) {
    store_wide(out + r * stride, low[r] * scale);
    store_wide(out + r * stride + kWide, high[r] * scale);
  }
}

// tile(i, j, count, to, stride) for kTileRows rows (the last ones: fewer) and kTileColumns columns at a time; what stands
// beyond column m goes nowhere. The columns of one tile stay in cache while the rows pass.
template <typename S, typename Tile>
void by_tiles(std::int64_t rows, std::int64_t m, S* out, const Tile& tile) {
  S rest[kTileRows * kTileColumns<S>];
  for (std::int64_t j = 0; j < m; j += kTileColumns<S>) {
    const bool whole = j + kTileColumns<S> <= m;
    for (std::int64_t i = 0; i < rows; i += kTileRows) {
      const std::int64_t count = rows - i < kTileRows ? rows - i : kTileRows;
      if (!tile(i, j, count, whole ? out + i * m + j : rest, whole ? m : kTileColumns<S>) || whole) continue;
      for (std::int64_t r = 0; r < count; ++r)
        for (std::int64_t l = j; l < m; ++l) out[(i + r) * m + l] = rest[r * kTileColumns<S> + l - j];
    }
  }
}

template <typename S>
void products(const S* x, const S* x_squares, std::int64_t rows, const S* y, const S* y_squares, std::int64_t k,
              std::int64_t m, std::int64_t padded, S scale, S* out, std::uint8_t* lossy) {
  by_tiles(rows, m, out, [&](std::int64_t i, std::int64_t j, std::int64_t count, S* to, std::int64_t stride) {
    bool safe = true;
    if (count == kTileRows)
      safe = product_tile<S, kTileRows>(x + i * k, x_squares + i, y + j, y_squares + j, k, padded, scale, to, stride);
    else
      for (std::int64_t r = 0; r < count; ++r)
        safe &= product_tile<S, 1>(x + (i + r) * k, x_squares + i + r, y + j, y_squares + j, k, padded, scale,
                                   to + r * stride, stride);
    lossy[i / kTileRows * padded / kTileColumns<S> + j / kTileColumns<S>] = !safe;
    return true;
  });
}

template <typename S>
void differences(const S* x, std::int64_t rows, const S* y, std::int64_t k, std::int64_t m, std::int64_t padded, S scale,
                 S* out, const std::uint8_t* lossy) {
  by_tiles(rows, m, out, [&](std::int64_t i, std::int64_t j, std::int64_t count, S* to, std::int64_t stride) {
    if (lossy && !lossy[i / kTileRows * padded / kTileColumns<S> + j / kTileColumns<S>]) return false;
    if (count == kTileRows)
      difference_tile<S, kTileRows>(x + i * k, y + j, k, padded, scale, to, stride);
    else
      for (std::int64_t r = 0; r < count; ++r)
        difference_tile<S, 1>(x + (i + r) * k, y + j, k, padded, scale, to + r * stride, stride);
    return true;
  });
}

// Rows x two registers of the gradient.
template <typename S, int Rows>
void gradient_tile(const S* w, std::int64_t row_step, std::int64_t point_step, std::int64_t points, const S* x, const S* y,
                   std::int64_t padded, S* out) {
  using Wide = typename WideOf<S>::Type;
  constexpr std::int64_t kWide = sizeof(Wide) / sizeof(S);
  Wide low[Rows] = {}, high[Rows] = {}, from_low[Rows], from_high[Rows];
  for (int r = 0; r < Rows; ++r) {
    from_low[r] = load_wide(x + r * padded);
    from_high[r] = load_wide(x + r * padded + kWide);
  }
  for (std::int64_t j = 0; j < points; ++j) {
    const Wide a = load_wide(y + j * padded), b = load_wide(y + j * padded + kWide);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const S weight = w[r * row_step + j * point_step];
      low[r] += (from_low[r] - a) * weight;
      high[r] += (from_high[r] - b) * weight;
    }
  }
  for (int r = 0; r < Rows; ++r) {
    store_wide(out + r * padded, low[r]);
    store_wide(out + r * padded + kWide, high[r]);
  }
}

template <typename S>
void gradient(const S* w, std::int64_t row_step, std::int64_t point_step, std::int64_t rows, std::int64_t points, const S* x,
              const S* y, std::int64_t padded, S* out) {
  constexpr int kRows = 4;
  for (std::int64_t c = 0; c < padded; c += kTileColumns<S>) {
    std::int64_t r = 0;
    for (; r + kRows <= rows; r += kRows)
      gradient_tile<S, kRows>(w + r * row_step, row_step, point_step, points, x + r * padded + c, y + c, padded,
                              out + r * padded + c);
    for (; r < rows; ++r)
      gradient_tile<S, 1>(w + r * row_step, row_step, point_step, points, x + r * padded + c, y + c, padded,
                          out + r * padded + c);
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
    const double total_square = sum(square);
    squares[i] = static_cast<S>(total_square);
    total += total_square;
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
      const double total_square = sum(square[i]);
      squares[j + i] = static_cast<S>(total_square);
      total += total_square;
    }
  }
  return total;
}

template <typename S>
constexpr DistanceKernel<S> table = {products<S>, differences<S>, gradient<S>, add_points<S>, centred<S>, centred_columns<S>};

}  // namespace

extern const DistanceKernels distance_kernels;
const DistanceKernels distance_kernels = {table<float>, table<double>};

}  // namespace wbm::WBM_ISA
