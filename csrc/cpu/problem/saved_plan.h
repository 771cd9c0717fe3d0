// The plan of a finished solve, kept for its backward: no exponential is evaluated twice.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "cpu/linear/preconditioner.h"
#include "cpu/runtime/memory.h"
#include "cpu/problem/report.h"
#include "cpu/problem/view.h"

namespace wbm {

class SavedPlan {
 public:
  virtual ~SavedPlan() = default;
};

// P = diag(u) K diag(v), its sums with those of P log P, and the problem as it was found to be. The cost matrix was the
// caller's and may be gone: whoever reads it again places `view` anew.
template <typename T>
struct SavedProblem : SavedPlan {
  View<T> view;
  bool single = false;     // K is float32
  double tolerance = 0.0;  // of the solve
  PlanSums sums;
  std::vector<double> u, v;
};

template <typename T, typename S>
struct StoredPlan final : SavedProblem<T> {
  Array<S> k;     // as StoredMatrix<S> lays it out
  std::unique_ptr<Preconditioner> factor;  // near the Schur complement of P; none where the solve needed none
};

}  // namespace wbm
