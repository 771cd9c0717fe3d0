// Entropic transport between two point clouds whose cost matrix is never stored; the problem is that of problem.h with
// D_ij = |x_i - y_j|^2 or |x_i - y_j|.
//
// From coarse to fine (Schmitzer 2019): epsilon comes down by halves, each level solved between centroids of boxes that are small
// beside its blur, and its potentials extended to the next level's points by their own update. The last levels are those of the
// points themselves, with Newton steps on the entries that can carry mass. What pruning leaves out is bounded, and the residual
// reported contains the bound.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/cloud/tree.h"
#include "cpu/runtime/interrupt.h"
#include "problem.h"

namespace wbm::cpu {

struct CloudInput {
  std::int64_t n = 0, m = 0, dimension = 0;
  const double *x = nullptr, *y = nullptr;  // (n, dimension), (m, dimension)
  const double *a = nullptr, *b = nullptr;  // masses >= 0; those of 0 are left out, whatever their points hold
  double epsilon = 1.0;
  double kappa[2] = {0.0, 0.0};
  Reference reference = Reference::entropy;
  bool euclidean = false;
  double tol = 1e-6;
  std::int64_t max_iter = 1000;
  std::int64_t memory = std::int64_t(384) << 20;  // bytes of the plan that may be stored
  int threads = 1;
  Interrupt* interrupt = nullptr;
};

struct CloudReport {
  double sharp = 0.0, regularized = 0.0, mass = 0.0, residual = 0.0;
  double left_out = 0.0;  // bound of the plan's mass that was not looked at, part of the residual
  std::int64_t iterations = 0;
  std::int32_t status = 0;
};

class CloudSolution {
 public:
  explicit CloudSolution(const CloudInput& input);
  ~CloudSolution();

  CloudReport report() const;

  // f (n), g (m); -inf where the mass is 0.
  void potentials(double* f, double* g) const;

  // Of grad_sharp * sharp + grad_regularized * regularized, in points (n, dimension) and masses; nullptr: not wanted. Returns the
  // relative residual of the linear system.
  double gradient(double grad_sharp, double grad_regularized, double* x, double* y, double* a, double* b, int threads,
                  Interrupt* interrupt) const;

  // out = P v (`transposed`: P'v), v of m (n) entries.
  void product(const double* v, bool transposed, double* out, int threads) const;

  // -lambda log sum_j exp((g_j - D(z, y_j)) / eps) at new points z (count, dimension): the dual potential of the rows (`columns`: of
  // the columns) without the masses' own share.
  void extend(const double* z, std::int64_t count, bool columns, double* out, int threads) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Mean of D over pairs with positive masses.
double mean_cloud_cost(const CloudInput& input);

}  // namespace wbm::cpu
