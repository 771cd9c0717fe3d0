// Entry points of the CPU solver. All pointers are host memory; see problem.h for layouts.
#pragma once

#include "problem.h"

namespace wbm::cpu {

// Sinkhorn. O(iterations n m) per problem; workspace per thread: the kernel matrix once, n m of the type of D (twice that and
// a factor of m^2 float32 where Newton steps take over).
void forward(const Problem& problem, const Options& options, const Solution& solution);

// Gradients in D, a, b; O(n m) per conjugate gradient step, workspace n m float64 per thread.
void backward(const Problem& problem, const Adjoint& adjoint);

// Per problem: the mean of D over finite, unmasked entries with positive masses on both sides (1/0.05 where there is
// no such entry, so that 0.05 times the mean is a harmless 1).
void mean_cost(const Problem& problem, double* mean, int threads);

}  // namespace wbm::cpu
