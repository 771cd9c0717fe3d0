// An approximate inverse of a Schur complement.
#pragma once

#include <vector>

namespace wbm {

class Preconditioner {
 public:
  virtual ~Preconditioner() = default;
  // out = M^-1 x, both over the columns of the plan
  virtual void solve(const std::vector<double>& x, std::vector<double>& out) const = 0;
};

}  // namespace wbm
