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

struct Kernels {
  RowKernels<float> float32;
  RowKernels<double> float64;
  const char* name;  // instruction set
};

template <typename T>
const RowKernels<T>& row_kernels();   // for the machine the code runs on
const char* instruction_set();

}  // namespace wbm
