// Loops over a plan in float32: products with its Schur complement, and the choice of its largest entries. Compiled once per
// instruction set with -DWBM_ISA=<name>; see kernels.h.
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace wbm::WBM_ISA {
namespace {

constexpr std::int64_t kWide = 16;

template <int Rows>
void difference_of(const float* plan, std::int64_t stride, const float* p, const float* anchor, const float* weight,
                   const float* surplus, float* out, std::int64_t padded) {
  Wide32 total[Rows] = {}, shift[Rows];
  for (int r = 0; r < Rows; ++r) shift[r] = Wide32{} + anchor[r];
  for (std::int64_t j = 0; j < padded; j += kWide) {
    const Wide32 x = load_wide(p + j);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) total[r] += load_wide(plan + r * stride + j) * (x - shift[r]);
  }
  Wide32 rest[Rows];
  for (int r = 0; r < Rows; ++r)
    rest[r] = Wide32{} + static_cast<float>(sum_wide(total[r]) * weight[r] - static_cast<double>(surplus[r]));
  for (std::int64_t j = 0; j < padded; j += kWide) {
    const Wide32 x = load_wide(p + j);
    Wide32 added = load_wide(plan + j) * ((x - shift[0]) - rest[0]);
#pragma GCC unroll 4
    for (int r = 1; r < Rows; ++r) added += load_wide(plan + r * stride + j) * ((x - shift[r]) - rest[r]);
    store_wide(out + j, load_wide(out + j) + added);
  }
}

void difference(const float* plan, std::int64_t stride, int rows, const float* p, const float* anchor, const float* weight,
                const float* surplus, float* out, std::int64_t padded) {
  if (rows == 4) return difference_of<4>(plan, stride, p, anchor, weight, surplus, out, padded);
  for (int r = 0; r < rows; ++r)
    difference_of<1>(plan + r * stride, stride, p, anchor + r, weight + r, surplus + r, out, padded);
}

float largest(const float* row, std::int64_t padded, float* column, std::int32_t* at) {
  Wide32 most = {};
  for (std::int64_t j = 0; j < padded; j += kWide) {
    const Wide32 x = load_wide(row + j), other = load_wide(column + j);
    most = x > most ? x : most;
    store_wide(column + j, x > other ? x : other);
  }
  float top = 0.0f;
  for (int k = 0; k < kWide; ++k) top = most[k] > top ? most[k] : top;
  *at = 0;
  for (std::int64_t j = 0; j < padded; j += kWide) {
    if (!any((Bits)(load_wide(row + j) >= Wide32{} + top))) continue;
    for (int k = 0; k < kWide; ++k)
      if (row[j + k] == top) {
        *at = static_cast<std::int32_t>(j + k);
        return top;
      }
  }
  return top;
}

std::int64_t select(const float* row, float row_threshold, const float* column_threshold, std::int64_t padded,
                    std::int32_t* index, float* value, float* dropped_columns, double* dropped) {
  const Wide32 by_row = Wide32{} + row_threshold;
  Wide32 total = {};
  std::int64_t count = 0;
  for (std::int64_t j = 0; j < padded; j += kWide) {
    const Wide32 x = load_wide(row + j), by_column = load_wide(column_threshold + j);
    const WideBits32 chosen = x > (by_row < by_column ? by_row : by_column);
    if (any((Bits)chosen))
      for (int k = 0; k < kWide; ++k)
        if (chosen[k]) {
          index[count] = static_cast<std::int32_t>(j + k);
          value[count++] = x[k];
        }
    const Wide32 left = chosen ? Wide32{} : x;
    total += left;
    store_wide(dropped_columns + j, load_wide(dropped_columns + j) + left);
  }
  *dropped = sum_wide(total);
  return count;
}

void square(float* k, float u, const float* v, std::int64_t padded) {
  for (std::int64_t j = 0; j < padded; j += kWide) {
    const Wide32 x = load_wide(k + j) * u * load_wide(v + j);
    store_wide(k + j, x * x);
  }
}

}  // namespace

extern const PlanKernels plan_kernels;
const PlanKernels plan_kernels = {difference, largest, select, square};

}  // namespace wbm::WBM_ISA
