// Kernels for problems whose matrices fit the first-level cache, once per instruction set; see kernels.h.
#pragma once

#include <cstdint>

namespace wbm {

// --- the iterations (kernels_small.cpp) ---------------------------------------------------------------------------------
// Rows and columns of a problem whose matrices fit the first-level cache, padded to multiples of kSmallPadding.
inline constexpr std::int64_t kSmallSide = 64, kSmallPadding = 16;

struct SmallShape {
  std::int64_t n, m, rows, columns;
};

// K (rows x columns, 0 in the padding) with its transpose, and the scalings. Masses are those of a plan of total 1, and in the
// padding a = u = b = v = 1 and the sums begin at pad = 1, elsewhere at 0: nothing of it is seen in a residual.
template <typename S>
struct SmallScaling {
  SmallShape shape;
  const S *k, *transposed, *a, *b, *pad_rows, *pad_columns;
  S *u, *v, *work;
};

template <typename S>
struct SmallKernels {
  // d = D (rows `stride` apart), the padding of each row filled with its first entry
  void (*pad)(const S* cost, std::int64_t stride, const SmallShape& shape, S* d);
  // f_i = min_j D_ij, g_j = min_i (D_ij - f_i), largest = max |D_ij|; 1 when all entries are finite
  int (*inspect)(const S* d, const SmallShape& shape, double* f, double* g, double* largest);
  // k_ij = exp(row_i + column_j - D_ij / eps), and its transpose
  void (*build)(const S* d, const SmallShape& shape, const double* row, const double* column, double inverse_epsilon, S* k,
                S* transposed);
  // Iterations at one omega until the residual before the next one is at most `target`, at most `count`; returns how many.
  // residual_t: before iteration t. column_error: kSmallPadding terms of the |c - b|_1 that the iterations before have left.
  std::int64_t (*sweeps)(const SmallScaling<S>& scaling, double omega, std::int64_t count, double target, S* column_error,
                         double* residual);
  // r, c = row and column sums of p_ij = u_i k_ij v_j; returns sum p D
  double (*sums)(const S* d, const SmallShape& shape, const S* k, const double* u, const double* v, double* r, double* c);
};

struct SmallVectors {
  // dual = sum x (potential - shift log_mass), error = sum |x - mass|
  void (*side)(const double* x, const double* potential, const double* log_mass, double shift, const double* mass,
               std::int64_t count, double* dual, double* error);
  // out = factor x; returns the largest magnitude
  double (*scale)(const double* x, double factor, std::int64_t count, double* out);
};

struct SmallTable {
  SmallKernels<float> float32;
  SmallKernels<double> float64;
  SmallVectors vectors;
};

// --- their gradients (kernels_small_gradient.cpp) -----------------------------------------------------------------------
struct SmallSums {
  double *r, *c, *row_entropy, *column_entropy;
};

// 1 - B'B with its right side r, of which the residual remains, the solution z and the direction p; q, w: room; zero: zeros.
struct SmallSchur {
  SmallShape shape;
  const float *b, *transposed, *zero;
  float *r, *z, *p, *q, *w;
};

// x = share (h1 - p y), defect = h2 - c y - p'x, inverse_c = 1/c, root_c = its root (0 in the padding); z: what y has yet to be
// moved by, r: what is left to solve, both between root_c and in a unit of their own.
template <typename S>
struct SmallSystem {
  SmallShape shape;
  const S* p;
  const double *share, *h1, *h2, *c, *inverse_c;
  const float *root_c, *z;
  double *y, *x, *defect;
  float* r;
};

template <typename S>
struct SmallGradientKernels {
  // p_ij = exp(e_ij), e_ij = row_i + column_j - D_ij / eps, with the row and column sums of p and of p e
  void (*plan)(const S* d, const SmallShape& shape, const double* row, const double* column, double inverse_epsilon, S* p,
               const SmallSums& sums);
  // b_ij = row_i p_ij column_j, and its transpose
  void (*balance)(const S* p, const SmallShape& shape, const float* row, const float* column, float* b, float* transposed);
  // y += unit root_c z, and x, the defect and r of it; returns |defect| in the norm of 1/c. unit = 0: begins at y = 0, and sets
  // the unit and the scale, the norm of the terms that cancel there. total = sum c.
  double (*defect)(const SmallSystem<S>& system, double total, double* unit, double* scale);
  // out_ij = p_ij (sharp e_ij + x_i + y_j), out of n x m
  void (*gradient)(const S* d, const SmallShape& shape, const S* p, const double* row, const double* column,
                   double inverse_epsilon, double sharp, const double* x, const double* y, S* out);
};

struct SmallGradientVectors {
  // Moves z by conjugate gradients until |r| is at most `target`, or `most` products are taken; returns how many. rho: 0 at the
  // start; called again with an r made anew it goes on in the direction it had.
  int (*conjugate_gradients)(const SmallSchur& system, double target, int most, double* rho);
  // 1/x and its root, 0 where x is 0
  void (*invert)(const double* x, std::int64_t count, double* inverse, float* root);
};

struct SmallGradientTable {
  SmallGradientKernels<float> float32;
  SmallGradientKernels<double> float64;
  SmallGradientVectors vectors;
};

template <typename S>
const SmallKernels<S>& small_kernels();
const SmallVectors& small_vectors();
template <typename S>
const SmallGradientKernels<S>& small_gradient_kernels();
const SmallGradientVectors& small_gradient_vectors();

}  // namespace wbm
