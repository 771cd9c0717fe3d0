// Kernels for eight tiny problems side by side, one in each lane of a vector; see kernels.h.
//
// Entry x of the problem in lane l stands at [x * kTinyLanes + l]. Both marginals are hard, every pair is allowed.
#pragma once

#include <cstdint>

namespace wbm {

inline constexpr std::int64_t kTinySide = 8, kTinyLanes = 8;

// D, masses (b as it was given), epsilon, and what the product reference takes off the potentials: shift log a, shift log b.
struct TinyProblems {
  std::int64_t n, m;
  const double *d, *a, *b, *epsilon;
  bool product;
};

// K_ij = exp(row_i + column_j - D_ij / eps) with a 1 in every row and column, b rescaled to the total of a, b_scale what it was
// multiplied by, and the scalings of every iteration: u of the l-th one (from 1 on) at u + l n kTinyLanes, v alike.
struct TinyScaling {
  double *k, *row, *column, *b, *b_scale, *u, *v;
};

struct TinyReport {
  double *f, *g, *sharp, *regularized, *mass, *residual;
};

// Upstream gradients in, gradients out; residual: of the linear system.
struct TinyAdjoint {
  const double *f, *g, *sharp, *regularized, *grad_f, *grad_g;
  double *grad_cost, *grad_a, *grad_b, *residual;
};

struct TinyKernels {
  // `iterations` plain ones from g = 0, all scalings kept. 0 where a mass or an entry of D is not as above, totals differ by more
  // than 1e-3, or K leaves its range.
  int (*iterate)(const TinyProblems& problems, std::int64_t iterations, const TinyScaling& scaling);
  // Potentials in their gauge, costs and residual after `iterations`. 0 where the scalings have left their range.
  int (*report)(const TinyProblems& problems, std::int64_t iterations, const TinyScaling& scaling, const TinyReport& out);
  // The implicit gradient at the potentials f, g. 0 where a sum of the plan is no normal number.
  int (*implicit)(const TinyProblems& problems, const TinyAdjoint& adjoint);
  // The gradient of the iterations that `scaling` holds.
  void (*unrolled)(const TinyProblems& problems, std::int64_t iterations, const TinyScaling& scaling,
                   const TinyAdjoint& adjoint);
};

const TinyKernels& tiny_kernels();

}  // namespace wbm
