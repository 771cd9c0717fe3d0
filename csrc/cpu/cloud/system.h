// The Schur complement of a plan between clouds, and conjugate gradients for it.
#pragma once

#include <vector>

#include "cpu/cloud/clusters.h"
#include "cpu/cloud/plan.h"

namespace wbm::cpu {

// T = diag(diagonal) - diag(v) P' diag(weight) P diag(v), positive semidefinite; where `singular`, T 1 = 0 and residuals are kept
// free of what no x can remove. `carried`: in whose direction they are projected.
class CloudSystem {
 public:
  CloudSystem(CloudPlan& plan_, const CloudProblem& problem)
      : plan(plan_), interrupt(problem.interrupt), singular(problem.rows.hard && problem.columns.hard), v(problem.y.padded, 0.0),
        weight(problem.x.n), diagonal(problem.y.n), excess(problem.y.n), carried(problem.y.n) {}

  CloudPlan& plan;
  Interrupt* interrupt;
  const bool singular;
  std::vector<double> v, weight, diagonal, excess, carried;

  void apply(const std::vector<double>& p, std::vector<double>& out);
  void project(std::vector<double>& r) const;

  // Moves x until |residual|_1 <= wanted or `most` products are taken; returns their number. The diagonal preconditions alone for
  // the first products, then the clusters do, which are made when they are first needed.
  int solve(std::vector<double>& x, std::vector<double>& residual, double wanted, int most, Clusters& clusters);

 private:
  int conjugate_gradients(std::vector<double>& x, std::vector<double>& residual, double wanted, int most,
                          const Clusters* clusters);

  std::vector<double> scaled_, direction_, preconditioned_, product_;
};

}  // namespace wbm::cpu
