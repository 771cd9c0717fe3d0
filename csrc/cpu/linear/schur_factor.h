// A float32 factor of the whole Schur complement of a stored plan, as a preconditioner: for small plans and full ones.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/linear/dense_factor.h"
#include "cpu/linear/preconditioner.h"
#include "cpu/linear/stored_matrix.h"

namespace wbm {

// L D L' of H = diag(d) - B'B without its diagonal, B_ij = sqrt(weight_i) K_ij v_j, an M-matrix with row sums `excess` >= 0.
// Everything is multiplied by `scale` first, which should bring the diagonal near 1, into float32's range.
class SchurFactor final : public Preconditioner {
 public:
  SchurFactor(const StoredMatrix<double>& k, const std::vector<double>& weight, const std::vector<double>& v,
              const std::vector<double>& excess, double scale, Interrupt* interrupt = nullptr);

  void solve(const std::vector<double>& x, std::vector<double>& out) const override;

 private:
  double scale_;
  DenseFactor factor_;
};

}  // namespace wbm
