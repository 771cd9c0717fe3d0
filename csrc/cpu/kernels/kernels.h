// The inner loops over matrices and vectors, compiled once per instruction set and chosen at run time (dispatch.cpp).
//
// The files kernels_*.cpp hold nothing but loops over plain pointers: no library template may be instantiated with a wide
// instruction set, for the linker could then take that copy for all. All sums are in a fixed order.
#pragma once

#include <cstdint>

namespace wbm {

// --- log domain (kernels_log.cpp) ------------------------------------------------------------------------------------
// Every loop works on one row of D (unit stride) and, for columns, on a range [begin, end) of it, so that threads share a
// problem by rows or by columns. `mask` may be null.

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

  // Of n rows `stride` apart: 1 when all entries are finite; then sum = sum_ij D_ij, largest = max_ij |D_ij|
  int (*scan)(const T* cost, std::int64_t stride, std::int64_t n, std::int64_t m, double* sum, double* largest);

  // f_i = min_j D_ij and g_j = min_i (D_ij - f_i) of n rows `stride` apart, all entries finite
  void (*minima)(const T* cost, std::int64_t stride, std::int64_t n, std::int64_t m, T* f, T* g);

  // max_j (g_j - D_ij), -inf when nothing is admissible
  double (*row_max)(const T* cost, const std::uint8_t* mask, const double* g, std::int64_t m);

  // with p_j = exp((f + g_j - D_j) / eps): sum += sum_j p_j, value += sum_j p_j D_j, column_j += p_j
  void (*add_plan)(const T* cost, const std::uint8_t* mask, double f, const double* g, double inverse_epsilon,
                   std::int64_t m, double* column, double* sum, double* value);

  // p_j = exp(e_j), e_j = (f + g_j - D_j) / eps; sum += sum_j p_j, entropy += sum_j p_j e_j, column_j += p_j,
  // column_entropy_j += p_j e_j, with p_j e_j = 0 where p_j = 0
  void (*plan_sums)(const T* cost, const std::uint8_t* mask, double f, const double* g, double inverse_epsilon,
                    std::int64_t m, double* p, double* column, double* column_entropy, double* sum, double* entropy);

  // p_j = exp((f + g_j - D_j) / eps) for j in [begin, end)
  void (*plan)(const T* cost, const std::uint8_t* mask, double f, const double* g, double inverse_epsilon, double* p,
               std::int64_t begin, std::int64_t end);
};

struct LogKernels {
  RowKernels<float> float32;
  RowKernels<double> float64;
};

// --- stabilised scaling (kernels_scaling.cpp) -------------------------------------------------------------------------
// K = exp((f + g - D) / eps) / (a b') is stored, its rows padded with zeros to a multiple of kPadding, and only read.
inline constexpr std::int64_t kPadding = 16;

template <typename S>
struct ScalingKernels {
  // Rows that the loops below take at once: 2, 4 or 8.
  int (*block_rows)(std::int64_t row_bytes);
  // sums_r = sum_j K_rj v_j, rows <= 8
  void (*dots)(const S* k, std::int64_t stride, int rows, const S* v, std::int64_t padded, double* sums);
  // out_j += sum_r u_r K_rj
  void (*accumulate)(const S* k, std::int64_t stride, int rows, const S* u, S* out, std::int64_t padded);
  // dots of the block `next` and accumulate of the block `current` in one loop, rows = block_rows for both
  void (*fused)(const S* next, const S* current, std::int64_t stride, int rows, const S* v, const S* u, S* out,
                std::int64_t padded, double* sums);
  // out_j = sum_c partial[c * padded + j] for j < n
  void (*reduce)(const S* partial, std::int64_t chunks, std::int64_t padded, double* out, std::int64_t n);
};

// The same two products of one float32 row with sums in float64, for residuals; vectors padded as the row is.
struct MixedKernels {
  double (*dot)(const float* k, const double* v, std::int64_t padded);
  void (*accumulate)(const float* k, double u, double* out, std::int64_t padded);
};

template <typename T, typename S>
struct BuildKernel {
  // k_j = exp(row + column_j - D_j / eps), 0 where masked and in the padding
  void (*build)(const T* cost, const std::uint8_t* mask, double row, const double* column, double inverse_epsilon, S* k,
                std::int64_t m, std::int64_t padded);
  // with p_j = u k_j v_j: sum += sum_j p_j, value += sum_j p_j D_j, column_j += p_j
  void (*add_plan)(const T* cost, const S* k, double u, const double* v, std::int64_t m, double* column, double* sum,
                   double* value);
  // the same, and with e_j = (f + g_j - D_j) / eps: entropy += sum_j p_j e_j, column_entropy_j += p_j e_j (0 where p_j = 0)
  void (*add_entropy)(const T* cost, const S* k, double u, const double* v, double f, const double* g,
                      double inverse_epsilon, std::int64_t m, double* column, double* column_entropy, double* sum,
                      double* entropy, double* value);
  // out_j = p_j (constant + sharp e_j + y_j), 0 where p_j = 0
  void (*plan_gradient)(const T* cost, const std::uint8_t* mask, const S* k, double u, const double* v, double f,
                        const double* g, double inverse_epsilon, double constant, double sharp, const double* y, T* out,
                        std::int64_t m);
};

// Loops over the n entries of one side.
struct VectorKernels {
  void (*divide)(const double* x, const double* y, double* out, std::int64_t n);
  // error = sum |u s - target|, mass = sum u s
  void (*row_error)(const double* u, const double* s, const double* target, std::int64_t n, double* error, double* mass);
  // next = u (next / u)^omega
  void (*relax)(const double* u, double omega, double* next, std::int64_t n);
  // 1 when mass / limit <= x <= limit mass for all entries
  int (*within)(const double* x, const double* mass, double limit, std::int64_t n);
  double (*total)(const double* x, std::int64_t n);
  // log_u = alpha - ratio log s, u = exp(log_u)
  void (*power)(const double* alpha, double ratio, const double* s, double* log_u, double* u, std::int64_t n);
  // out = exp(p x + q y)
  void (*exp_linear)(const double* x, double p, const double* y, double q, double* out, std::int64_t n);
  void (*logarithm)(const double* x, double* out, std::int64_t n);
};

struct ScalingTable {
  ScalingKernels<float> float32;
  ScalingKernels<double> float64;
  BuildKernel<float, float> build32from32;
  BuildKernel<float, double> build64from32;
  BuildKernel<double, float> build32from64;
  BuildKernel<double, double> build64from64;
  VectorKernels vectors;
  MixedKernels mixed;
};

// --- a factor of an M-matrix (kernels_factor.cpp) -----------------------------------------------------------------------
// Upper triangles, float32, row stride `stride` (a multiple of 32, at least `size`, itself a multiple of 32).
inline constexpr std::int64_t kFactorPanel = 64;  // columns eliminated before the rest of the matrix is updated

struct FactorKernels {
  // Columns of a tile: ranges of columns below begin and end at multiples of it.
  std::int64_t tile_columns;
  // b_j = u k_j v_j for j < m, 0 for m <= j < size
  void (*scaled_row)(const double* k, double u, const double* v, float* b, std::int64_t m, std::int64_t size);
  // m_jl = sum_i b_ij b_il for l >= j (tiles on the diagonal whole), begin <= l < end
  void (*gram)(const float* b, std::int64_t b_stride, std::int64_t rows, float* m, std::int64_t stride, std::int64_t begin,
               std::int64_t end);
  // m holds minus the off-diagonal entries (>= 0), excess the row sums (>= 0). Eliminates columns [start, stop) from their own
  // rows, l and the pivots (inf where nothing is left); panel: kFactorPanel x stride.
  void (*eliminate)(float* m, std::int64_t stride, std::int64_t size, std::int64_t start, std::int64_t stop, double* excess,
                    double* pivot, float* panel);
  // Subtracts what they carry from columns [begin, end) of the rows after them.
  void (*update)(float* m, std::int64_t stride, std::int64_t start, std::int64_t stop, const float* panel, std::int64_t begin,
                 std::int64_t end);
  // Stores l above the diagonal of m.
  void (*keep)(float* m, std::int64_t stride, std::int64_t size, std::int64_t start, std::int64_t stop, const float* panel);
  // x = (L D L')^-1 b
  void (*solve)(const float* m, std::int64_t stride, std::int64_t size, const double* pivot, const double* b, double* x);
};

// --- a plan in float32 (plan.cpp) --------------------------------------------------------------------------------------
// Rows `stride` apart, padded with zeros to a multiple of kPadding.
struct PlanKernels {
  // out_j += sum_r P_rj (p_j - y_r), y_r = anchor_r + weight_r sum_k P_rk (p_k - anchor_r) - surplus_r, rows <= 4: every
  // difference is taken against the row's own anchor, so that the product of a nearly constant vector is as exact as any.
  void (*difference)(const float* plan, std::int64_t stride, int rows, const float* p, const float* anchor,
                     const float* weight, const float* surplus, float* out, std::int64_t padded);
  // The largest entry of a row, and where it stands; column_j <- max(column_j, P_j)
  float (*largest)(const float* row, std::int64_t padded, float* column, std::int32_t* at);
  // Lists the entries above min(row_threshold, column_threshold_j) and returns their number; of the others
  // dropped_columns_j += P_j and dropped = sum_j P_j
  std::int64_t (*select)(const float* row, float row_threshold, const float* column_threshold, std::int64_t padded,
                         std::int32_t* index, float* value, float* dropped_columns, double* dropped);
  // k_j = (u k_j v_j)^2
  void (*square)(float* k, float u, const float* v, std::int64_t padded);
};

// --- squared distances (points.cpp) ------------------------------------------------------------------------------------
// Columns of y' are padded to a multiple of this.
inline constexpr std::int64_t kDistanceColumns = 32;
inline std::int64_t padded_columns(std::int64_t count) {
  return (count + kDistanceColumns - 1) / kDistanceColumns * kDistanceColumns;
}
inline constexpr int kTileRows = 8;  // rows and columns of one tile: two of the widest registers
template <typename S>
inline constexpr std::int64_t kTileColumns = 128 / sizeof(S);

// Points x by rows of k coordinates, y by coordinates of `padded` points each; out has rows of m entries. `lossy` holds a byte
// for each tile of kTileRows rows and kTileColumns columns.
template <typename S>
struct DistanceKernel {
  // out_ij = scale (x_squares_i + y_squares_j - 2 sum_c x_ic y_cj) of centred points; lossy <- whether an entry of the tile is
  // much smaller than the squares it is the difference of, or has none
  void (*products)(const S* x, const S* x_squares, std::int64_t rows, const S* y, const S* y_squares, std::int64_t k,
                   std::int64_t m, std::int64_t padded, S scale, S* out, std::uint8_t* lossy);
  // out_ij = scale sum_c (x_ic - y_cj)^2 in the lossy tiles, in all where `lossy` is nullptr
  void (*differences)(const S* x, std::int64_t rows, const S* y, std::int64_t k, std::int64_t m, std::int64_t padded, S scale,
                      S* out, const std::uint8_t* lossy);
  // out_i = sum_j w_ij (x_i - y_j), w_ij at w[i * row_step + j * point_step]; x, y and out have rows of `padded` entries
  void (*gradient)(const S* w, std::int64_t row_step, std::int64_t point_step, std::int64_t rows, std::int64_t points,
                   const S* x, const S* y, std::int64_t padded, S* out);
  // Of `count` points, the rows `index` names (nullptr: the first ones) of a matrix with rows `stride` apart: total_c += x_ic;
  void (*sum)(const S* x, std::int64_t stride, const std::int64_t* index, std::int64_t count, std::int64_t k, double* total);
  // out_i = x_i - centre with its squares; returns their sum
  double (*centred)(const S* x, std::int64_t stride, const std::int64_t* index, std::int64_t count, std::int64_t k,
                    const double* centre, S* out, S* squares);
  // the same by columns of `padded` entries, with zeros behind the last point
  double (*centred_columns)(const S* x, std::int64_t stride, const std::int64_t* index, std::int64_t count, std::int64_t k,
                            const double* centre, std::int64_t padded, S* out, S* squares);
};

struct DistanceKernels {
  DistanceKernel<float> float32;
  DistanceKernel<double> float64;
};

// --- the tables of the machine the code runs on ----------------------------------------------------------------------------
template <typename T>
const RowKernels<T>& row_kernels();
template <typename S>
const ScalingKernels<S>& scaling_kernels();
template <typename T, typename S>
const BuildKernel<T, S>& build_kernel();
const VectorKernels& vector_kernels();
const MixedKernels& mixed_kernels();
const FactorKernels& factor_kernels();
const PlanKernels& plan_kernels();
template <typename S>
const DistanceKernel<S>& distance_kernel();
const char* instruction_set();

}  // namespace wbm
