// A two-level preconditioner for the Schur complement of a plan between clouds: exact within clusters of columns that the plan
// couples strongly, and exact between them.
//
// T = diag(d) - P' diag(w) P is like a graph's Laplacian: columns that share rows are coupled, by sum_i w_i P_ij P_ij'. Where the blur
// is below the spacing of the points, groups of columns are coupled far more strongly within than between, and the slow modes of
// conjugate gradients are those that are constant on such groups. Clusters follow the strongest couplings; with T_k the block of
// cluster k and A the clusters' indicators,
//
//     M^-1 = diag(T_k^-1) + A (A'TA)^-1 A'.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/cloud/plan.h"
#include "cpu/runtime/memory.h"

namespace wbm::cpu {

class Clusters {
 public:
  bool made() const { return !first_.empty(); }

  // Of T = diag(diagonal) - diag(v) P' diag(weight) P diag(v), row sums `excess` >= 0. `scale` brings the diagonal near 1.
  void make(CloudPlan& plan, const std::vector<double>& v, const std::vector<double>& weight,
            const std::vector<double>& diagonal, const std::vector<double>& excess, double scale);

  // z = M^-1 r
  void solve(const std::vector<double>& r, std::vector<double>& z) const;

 private:
  void gather(CloudPlan& plan, const std::vector<double>& v, const std::vector<double>& weight, const std::vector<double>& carried);
  void factorise_blocks();
  void factorise_coarse(const std::vector<double>& excess);

  double scale_ = 1.0;
  std::vector<std::int32_t> member_;               // columns, cluster by cluster
  std::vector<std::int64_t> first_, block_;        // where each cluster begins in member_, and its block in blocks_
  std::vector<std::int32_t> cluster_, place_;      // of each column
  std::vector<double> blocks_;                     // T_k, then its Cholesky factor
  std::int64_t size_ = 0, stride_ = 0;             // of the coarse matrix
  Array<float> factor_, panel_;
  std::vector<double> pivot_;
};

}  // namespace wbm::cpu
