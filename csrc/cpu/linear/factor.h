// A float32 factor of the Schur complement of a stored plan, as a preconditioner.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/runtime/memory.h"
#include "cpu/linear/stored_matrix.h"

namespace wbm {

// L D L' of H = diag(d) - B'B without its diagonal, B_ij = sqrt(weight_i) K_ij v_j, an M-matrix with row sums `excess` >= 0.
// Where a column's pivot vanishes (the last of a set of columns that is coupled to nothing else: H is singular there) the
// answer is fixed to 0.
class Factor {
 public:
  // Everything is multiplied by `scale` first, which should bring the diagonal near 1, into float32's range.
  void make(const StoredMatrix<double>& k, const std::vector<double>& weight, const std::vector<double>& v,
            const std::vector<double>& excess, double scale);

  bool made() const { return size_ > 0; }

  // out = H^-1 x
  void solve(const std::vector<double>& x, std::vector<double>& out) const;

 private:
  std::int64_t size_ = 0, stride_ = 0;
  double scale_ = 1.0;
  Array<float> factor_, b_, panel_;
  std::vector<double> excess_, pivot_;
};

}  // namespace wbm
