// A sparse factor of a thinned plan, as a preconditioner for the Schur complement of the whole one.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/linear/dense_factor.h"
#include "cpu/linear/elimination_order.h"
#include "cpu/linear/preconditioner.h"

namespace wbm {

// The entries of a plan that were chosen, by rows: entries start[i] .. start[i + 1] stand in columns index with these values.
struct ThinPlan {
  std::int64_t rows = 0, columns = 0;
  std::vector<std::int64_t> start;
  std::vector<std::int32_t> index;
  std::vector<float> value;
};

// L D L' of the M-matrix
//
//     [ diag(d1)  -P~      ]
//     [ -P~'      diag(d2) ]
//
// given by P~, the thinned plan, and by what its rows and columns have beyond their chosen entries: the row sums `excess` of
// the whole matrix, summed by themselves. (As diagonal minus chosen they cancel, and the slow modes live in that difference.)
// Pivots are sums of positive numbers (state reduction of Grassmann, Taksar and Heyman), so it cannot break down.
class SparseFactor final : public Preconditioner {
 public:
  // `scale` times a column of the right side is what the matrix belongs to.
  SparseFactor(const ThinPlan& plan, EliminationOrder order, const std::vector<double>& row_excess,
               const std::vector<double>& column_excess, double scale, Team& team, Interrupt* interrupt);

  // The columns' part of the solution for a right side of zeros in the rows: the inverse of the Schur complement.
  void solve(const std::vector<double>& x, std::vector<double>& out) const override;

 private:
  const EliminationOrder order_;
  const std::int64_t rows_, columns_;
  const double scale_;
  std::vector<float> l_;          // the sparse columns of -L
  std::vector<double> inverse_;   // 1 / pivot of those, 0 where nothing is left
  DenseFactor front_;
};

// The bipartite graph of the chosen entries: rows first, then columns.
Graph graph_of(const ThinPlan& plan);

}  // namespace wbm
