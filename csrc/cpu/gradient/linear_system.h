// The linear system behind the implicit gradient, in the plan's own terms.
#pragma once

#include <vector>

#include "cpu/linear/preconditioner.h"
#include "cpu/linear/stored_matrix.h"

namespace wbm {

//     [ k1 diag(r)   P          ] [x]   [h1]
//     [ P'           k2 diag(c) ] [y] = [h2],      r = P1, c = P'1, k = 1 + eps/kappa (1 where hard)
//
// solved for y by conjugate gradients on the Schur complement H = k2 diag(c) - P' diag(1/(k1 r)) P, an M-matrix:
// preconditioned by its diagonal while that is cheap, else by a float32 factor of it. With both marginals hard H 1 = 0, and
// any y + t 1 will do. Rows and columns whose sum is 0 are left out (x = y = 0 there).
//
// Stops at the relative residual `tolerance`, or where rounding lets it come no closer; returns what was reached.
//
// P = diag(u) K diag(v). Where K is float32 there is no factor: what converges too slowly is given up. Residuals are taken with
// float64 sums, and corrections solved for, so that the answer is as exact as with the same K in float64.
template <typename S>
struct PlanMatrix {
  StoredMatrix<S>& k;
  const std::vector<double>&u, &v, &r, &c;
  const Preconditioner* factor = nullptr;  // one near the Schur complement, if there is one
};

struct PlanSystem {
  double k1, k2;
  bool both_hard;
  double tolerance;
  bool crawls = false;  // conjugate gradients without a factor are known to
};

template <typename S>
double solve_plan_system(const PlanMatrix<S>& plan, const PlanSystem& system, const std::vector<double>& h1,
                         const std::vector<double>& h2, std::vector<double>& x, std::vector<double>& y);

}  // namespace wbm
