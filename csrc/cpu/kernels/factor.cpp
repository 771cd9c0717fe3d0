// L D L' of a symmetric diagonally dominant M-matrix T by additions of positive numbers only (the state reduction of
// Grassmann, Taksar and Heyman): it cannot break down, however weakly the columns are coupled. float32: it serves as a
// preconditioner. Compiled once per instruction set with -DWBM_ISA=<name>; see kernels.h.
//
// T = diag(d) - M with M >= 0 off the diagonal and row sums excess = T 1 >= 0. Eliminating column c with
// pivot_c = excess_c + sum_{q>c} M_cq leaves M_rq += M_cr M_cq / pivot_c and excess_q += excess_c M_cq / pivot_c.
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace wbm::WBM_ISA {
namespace {

constexpr std::int64_t kWide = 16;   // float32 lanes
#ifdef __AVX512F__
constexpr int kTileRows = 8, kTileWides = 2;
#else
constexpr int kTileRows = 4, kTileWides = 1;
#endif
constexpr std::int64_t kTileColumns = kTileWides * kWide;

// c_rq += sum_k a_kr b_kq over one tile: kTileRows rows r, kTileColumns columns q.
inline void tile(const float* a, const float* b, std::int64_t stride, std::int64_t depth, float* c, std::int64_t c_stride) {
  Wide32 sum[kTileRows][kTileWides];
  for (int r = 0; r < kTileRows; ++r)
    for (int w = 0; w < kTileWides; ++w) sum[r][w] = load_wide(c + r * c_stride + w * kWide);
  for (std::int64_t k = 0; k < depth; ++k) {
    Wide32 y[kTileWides];
    for (int w = 0; w < kTileWides; ++w) y[w] = load_wide(b + k * stride + w * kWide);
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) {
      const float x = a[k * stride + r];
#pragma GCC unroll 2
      for (int w = 0; w < kTileWides; ++w) sum[r][w] += y[w] * x;
    }
  }
  for (int r = 0; r < kTileRows; ++r)
    for (int w = 0; w < kTileWides; ++w) store_wide(c + r * c_stride + w * kWide, sum[r][w]);
}

// c_rq += sum_k a_kr b_kq for first <= r <= q + kTileColumns, begin <= q < end: a part of the upper triangle, whole tiles
// on the diagonal.
void add_upper(const float* a, const float* b, std::int64_t stride, std::int64_t depth, float* c, std::int64_t c_stride,
               std::int64_t first, std::int64_t begin, std::int64_t end) {
  for (std::int64_t q = begin / kTileColumns * kTileColumns; q < end; q += kTileColumns)
    for (std::int64_t r = first; r < q + kTileColumns; r += kTileRows)
      tile(a + r, b + q, stride, depth, c + r * c_stride + q, c_stride);
}

void scaled_row(const double* k, double u, const double* v, float* b, std::int64_t m, std::int64_t size) {
  std::int64_t j = 0;
  for (; j + kLanes <= m; j += kLanes) store(b + j, load(k + j) * load(v + j) * u);
  for (; j < m; ++j) b[j] = static_cast<float>(k[j] * v[j] * u);
  for (; j < size; ++j) b[j] = 0.0f;
}

void gram(const float* b, std::int64_t b_stride, std::int64_t rows, float* m, std::int64_t stride, std::int64_t begin,
          std::int64_t end) {
  constexpr std::int64_t kDepth = 192;  // rows of b that stay in the cache
  for (std::int64_t r = 0; r < end; ++r)
    for (std::int64_t tile = r / kTileColumns * kTileColumns, q = begin > tile ? begin : tile; q < end; q += kWide)
      store_wide(m + r * stride + q, Wide32{});
  for (std::int64_t k = 0; k < rows; k += kDepth)
    add_upper(b + k * b_stride, b + k * b_stride, b_stride, rows - k < kDepth ? rows - k : kDepth, m, stride, 0, begin, end);
}

// sum of row[from .. size)
double sum_from(const float* row, std::int64_t from, std::int64_t size) {
  double s = 0.0;
  std::int64_t q = from;
  for (; q < size && q % kWide; ++q) s += row[q];
  Wide32 wide = {};
  for (; q < size; q += kWide) wide += load_wide(row + q);
  return s + sum_wide(wide);
}

// Columns start .. stop - 1 are eliminated from the rows of the panel; l_cq of all q > c goes to `panel`.
void eliminate(float* m, std::int64_t stride, std::int64_t size, std::int64_t start, std::int64_t stop, double* excess,
               double* pivot, float* panel) {
  for (std::int64_t c = start; c < stop; ++c) {
    const float* row = m + c * stride;
    float* l = panel + (c - start) * stride;
    const double coupling = sum_from(row, c + 1, size);
    double d = coupling + excess[c];
    if (!(d > 1e-30)) {  // nothing left to eliminate it by: its row of L is 0, its answer 0
      for (std::int64_t q = c / kWide * kWide; q < size; q += kWide) store_wide(l + q, Wide32{});
      pivot[c] = kInfinity;
      continue;
    }
    pivot[c] = d;
    const float inverse = static_cast<float>(1.0 / d);
    for (std::int64_t q = c / kWide * kWide; q < size; q += kWide) store_wide(l + q, load_wide(row + q) * inverse);
    if (excess[c] > 0.0)
      for (std::int64_t q = c + 1; q < size; ++q) excess[q] += excess[c] * l[q];
    for (std::int64_t r = c + 1; r < stop; ++r) {
      const float x = row[r];
      if (x == 0.0f) continue;
      float* other = m + r * stride;
      for (std::int64_t q = r / kWide * kWide; q < size; q += kWide)
        store_wide(other + q, load_wide(other + q) + load_wide(l + q) * x);
    }
  }
}

// What the eliminated columns add to the rest, for columns begin <= q < end of it.
void update(float* m, std::int64_t stride, std::int64_t start, std::int64_t stop, const float* panel, std::int64_t begin,
            std::int64_t end) {
  add_upper(m + start * stride, panel, stride, stop - start, m, stride, stop, begin, end);
}

// L takes the place of the eliminated rows.
void keep(float* m, std::int64_t stride, std::int64_t size, std::int64_t start, std::int64_t stop, const float* panel) {
  for (std::int64_t c = start; c < stop; ++c)
    for (std::int64_t q = c + 1; q < size; ++q) m[c * stride + q] = panel[(c - start) * stride + q];
}

// L' y = b by columns, then L x = y / pivot by rows; L has ones on the diagonal and -l above it.
void solve(const float* m, std::int64_t stride, std::int64_t size, const double* pivot, const double* b, double* x) {
  for (std::int64_t c = 0; c < size; ++c) x[c] = b[c];
  for (std::int64_t c = 0; c < size; ++c) {
    const float* l = m + c * stride;
    const double y = x[c];
    std::int64_t q = c + 1;
    for (; q < size && q % kLanes; ++q) x[q] += l[q] * y;
    for (; q < size; q += kLanes) store(x + q, load(x + q) + load(l + q) * y);
  }
  for (std::int64_t c = size - 1; c >= 0; --c) {
    const float* l = m + c * stride;
    double s = 0.0;
    std::int64_t q = c + 1;
    for (; q < size && q % kLanes; ++q) s += l[q] * x[q];
    Vec wide = splat(0.0);
    for (; q < size; q += kLanes) wide += load(l + q) * load(x + q);
    x[c] = x[c] / pivot[c] + s + sum(wide);
  }
}

}  // namespace

extern const FactorKernels factor_kernels;
const FactorKernels factor_kernels = {kTileColumns, scaled_row, gram, eliminate, update, keep, solve};

}  // namespace wbm::WBM_ISA
