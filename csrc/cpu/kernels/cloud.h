// Kernels for point clouds whose cost matrix is never stored, once per instruction set; see kernels.h.
#pragma once

#include <cstdint>

namespace wbm {

inline constexpr std::int64_t kCloudLanes = 8;  // columns come in groups of this many

// One row against columns of a cloud: D_ij = |x_i - y_j|^2 (or |x_i - y_j| where `euclidean`), exponents (f_i + g_j - D_ij) / eps.
struct CloudRow {
  const double* x;         // (dimension) the row's point
  const double* y;         // coordinate c of column j stands at y[c * stride + j]
  std::int64_t stride, dimension;
  bool euclidean;
  double f;
  const double* g;         // (stride)
  double inverse_epsilon;
};

struct CloudRange {
  std::int32_t begin, end;  // columns, multiples of kCloudLanes
};

// What a row of weights W_ij = w_ij P_ij adds up to, w_ij = one + entropy E_ij + row + column_j; E = log P.
struct CloudWeights {
  double one, entropy, row;
  const double* column;  // (stride) or nullptr: 0
};

struct CloudKernels {
  // max and sum of exp((g_j - D_ij) / eps - max / eps) over the ranges; `max` in units of D.
  void (*log_sum)(const CloudRow& row, const CloudRange* ranges, std::int64_t count, double* max, double* sum);

  // The groups of P_ij with some entry above row_cut * 1 or column_cut_j: their values (8 each) and numbers; returns how many.
  // An entry is worth keeping where P_ij > min(row_cut, column_cut_j); *dropped takes the sum of what is left out.
  std::int64_t (*collect)(const CloudRow& row, const CloudRange* ranges, std::int64_t count, double row_cut,
                          const double* column_cut, float* values, std::int32_t* groups, double* dropped);

  // sum_j k_j v_j of collected groups
  double (*dot)(const float* values, const std::int32_t* groups, std::int64_t count, const double* v);
  // t_j += u k_j
  void (*add)(const float* values, const std::int32_t* groups, std::int64_t count, double u, double* t);

  // Sums of P, P E and P D of a row; column_sum_j += P_ij, column_entropy_j += P_ij E_ij (nullptr: not wanted).
  void (*report)(const CloudRow& row, const CloudRange* ranges, std::int64_t count, double* sum, double* entropy, double* sharp,
                 double* column_sum, double* column_entropy);

  // With W'_ij = W_ij dD_ij/d|x - y|^2 * 2: own = (sum_j W'_ij, sum_j W'_ij y_jc), each column takes W'_ij and W'_ij x_ic into
  // column[c * stride + j], c = 0 the sum.
  void (*moments)(const CloudRow& row, const CloudRange* ranges, std::int64_t count, const CloudWeights& weights, double* own,
                  double* column);

  // own = sum_j P_ij v_j; t_j += P_ij u
  void (*product)(const CloudRow& row, const CloudRange* ranges, std::int64_t count, const double* v, double* own);
};

const CloudKernels& cloud_kernels();

}  // namespace wbm
