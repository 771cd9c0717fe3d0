// The linear system behind every implicit gradient:
//
//     [diag(k1 r)  P        ] [x]   [h1]
//     [P'          diag(k2 c)] [y] = [h2],      r = P1, c = P'1 (the plan's own), k = 1 + eps / kappa.
//
// x is eliminated; y solves T y = h2 - P'(h1 / (k1 r)) with T = diag(k2 c) - P' diag(1/(k1 r)) P by conjugate
// gradients preconditioned with diag(k2 c). One product with T reads P once. With both marginals hard T has the null
// vector 1; the residual is kept orthogonal to it.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace wbm {

struct LinearSystem {
  std::int64_t n, m;
  const double* plan;              // n x m, contiguous
  const std::vector<double>&r, &c; // row and column sums of the plan
  double k1, k2;
  bool singular;                   // both marginals hard
  int threads;

  // Returns the relative residual reached. Rows and columns without mass get x = 0, y = 0.
  double solve(const std::vector<double>& h1, const std::vector<double>& h2, std::vector<double>& x,
               std::vector<double>& y) const;

  // out = P v
  void rows_times(const std::vector<double>& v, std::vector<double>& out) const;

 private:
  void schur_times(const std::vector<double>& v, std::vector<double>& out, std::vector<double>& scratch) const;
  void columns_times(const std::vector<double>& v, std::vector<double>& out) const;
  void project(std::vector<double>& residual, double total) const;
};

}  // namespace wbm
