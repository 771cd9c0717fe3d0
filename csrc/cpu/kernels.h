// The inner loops over the matrix, compiled once per instruction set and chosen at run time (dispatch.cpp).
//
// Every loop works on one row of D (unit stride) and, for columns, on a range [begin, end) of it, so that threads
// share a problem by rows or by columns. `mask` may be null. All sums are float64 in a fixed order.
#pragma once

#include <cstdint>

namespace wbm {

// log sum_j exp(x_j / eps) = max / eps + log(sum), with x_j = g_j - D_ij; max = -inf when nothing is admissible.
struct LogSum {
  double max, sum;
};

template <typename T>
struct RowKernels {
  LogSum (*log_sum)(const T* cost, const std::uint8_t* mask, const double* g, double inverse_epsilon, std::int64_t m);

  // columns: max_j <- max(max_j, f - D_j), the first of two passes over the rows
  void (*column_max)(const T* cost, const std::uint8_t* mask, double f, double* max, std::int64_t begin, std::int64_t end);
  // columns: sum_j += exp((f - D_j - max_j) / eps), the second one
  void (*column_sum)(const T* cost, const std::uint8_t* mask, double f, const double* max, double* sum,
                     double inverse_epsilon, std::int64_t begin, std::int64_t end);

  // p_j = exp((f + g_j - D_j) / eps) for j in [begin, end)
  void (*plan)(const T* cost, const std::uint8_t* mask, double f, const double* g, double inverse_epsilon, double* p,
               std::int64_t begin, std::int64_t end);
};

// Stabilised scaling: K = exp((f + g - D) / eps) / (a b') is stored (rows padded to kPadding entries with zeros) and only
// read. All loops take up to block_rows rows at once.
inline constexpr std::int64_t kPadding = 16;

template <typename S>
struct ScalingKernels {
  int block_rows;
  // sums_r = sum_j K_rj v_j
  void (*dots)(const S* k, std::int64_t stride, int rows, const S* v, std::int64_t padded, double* sums);
  // out_j += sum_r u_r K_rj
  void (*accumulate)(const S* k, std::int64_t stride, int rows, const S* u, S* out, std::int64_t padded);
};

template <typename T, typename S>
struct BuildKernel {
  // k_j = exp(row + column_j - D_j / eps), 0 where masked and in the padding
  void (*build)(const T* cost, const std::uint8_t* mask, double row, const double* column, double inverse_epsilon, S* k,
                std::int64_t m, std::int64_t padded);
};

// Of n entries: log_u = alpha - ratio log s, u = exp(log_u).
using PowerKernel = void (*)(const double* alpha, double ratio, const double* s, double* log_u, double* u, std::int64_t n);

// Of n entries: out = exp(p x + q y).
using ExpKernel = void (*)(const double* x, double p, const double* y, double q, double* out, std::int64_t n);

struct Kernels {
  RowKernels<float> float32;
  RowKernels<double> float64;
  ScalingKernels<float> scaling32;
  ScalingKernels<double> scaling64;
  BuildKernel<float, float> build32from32;
  BuildKernel<float, double> build64from32;
  BuildKernel<double, float> build32from64;
  BuildKernel<double, double> build64from64;
  PowerKernel power;
  ExpKernel exp_linear;
  const char* name;  // instruction set
};

// For the machine the code runs on.
template <typename T>
const RowKernels<T>& row_kernels();
template <typename S>
const ScalingKernels<S>& scaling_kernels();
template <typename T, typename S>
const BuildKernel<T, S>& build_kernel();
PowerKernel power_kernel();
ExpKernel exp_kernel();
const char* instruction_set();

}  // namespace wbm
