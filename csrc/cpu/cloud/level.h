// Transport between two clouds at one epsilon: fused iterations, then Newton's method on the semi-dual; the algebra is that of
// solve/newton.h.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/cloud/system.h"

namespace wbm::cpu {

class CloudLevel {
 public:
  CloudLevel(const CloudProblem& problem, Team& team, double share, std::int64_t memory);

  // From g (y.n), as near as it is known: at most `sweeps` iterations, and Newton steps where they leave more than `rough`; ends
  // at `target` or when `passes` reaches `budget`. f and g become the potentials reached; returns the residual (rows exact).
  double solve(std::vector<double>& f, std::vector<double>& g, double target, double rough, int sweeps, std::int64_t budget,
               std::int64_t& passes);

  // One Newton step from column sums in float64 of the plan at (f, g); the rows become exact in float64.
  void refine(std::vector<double>& f, std::vector<double>& g, const std::vector<double>& columns, std::int64_t& passes);

 private:
  struct Point {
    double residual, dual;
  };

  void start(const std::vector<double>& g, std::vector<double>& f);
  Point evaluate();
  double iterate(double target, int sweeps, std::int64_t budget, std::int64_t& passes);
  double newton(double target, std::int64_t budget, std::int64_t& passes);
  void set_system(double levenberg);
  void update_columns();
  void read(std::vector<double>& f, std::vector<double>& g) const;
  bool far() const;  // the scalings have left the potentials that pruning was done for

  const CloudProblem& problem_;
  Team& team_;
  CloudPlan plan_;
  CloudSystem system_;
  Clusters clusters_;
  std::vector<double> log_u_, log_v_, wanted_;  // scalings over the plan's potentials; c*
};

}  // namespace wbm::cpu
