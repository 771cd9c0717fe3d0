// A float32 factor of a dense M-matrix, as a preconditioner.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/kernels/kernels.h"
#include "cpu/runtime/interrupt.h"
#include "cpu/runtime/memory.h"
#include "cpu/runtime/team.h"

namespace wbm {

// L D L' of diag(d) - M, M >= 0 off the diagonal, with row sums `excess` >= 0, by additions of positive numbers only: it cannot
// break down. Where a pivot vanishes (the last of a set of columns that is coupled to nothing else: the matrix is singular
// there) the answer is fixed to 0.
class DenseFactor {
 public:
  // Room for a matrix of this size.
  void resize(std::int64_t size);
  // Row r of M's upper triangle, `stride` entries; padded_size() of them count.
  float* row(std::int64_t r) { return factor_.data() + r * stride_; }
  std::int64_t padded_size() const { return padded_; }
  std::int64_t stride() const { return stride_; }

  // M becomes L. `excess` has `size` entries. Interrupted it ends anywhere: what it has made is then of no use.
  void eliminate(const std::vector<double>& excess, Team& team, bool parallel, Interrupt* interrupt);

  // x = (L D L')^-1 x, `size` entries
  void solve(double* x) const;

  // work(begin, end) on ranges of the tiles of the upper triangle from column `first` on: the t-th tile column goes with the
  // t-th from the end, so that all parts are as large. Ranges in columns.
  template <typename Work>
  void split_triangle(Team& team, bool parallel, std::int64_t first, const Work& work) const {
    const std::int64_t tile = factor_kernels().tile_columns, start = first / tile, tiles = padded_ / tile;
    if (!parallel) return work(start * tile, tiles * tile);
    team.split((tiles - start + 1) / 2, [&](std::int64_t begin, std::int64_t end) {
      work((start + begin) * tile, (start + end) * tile);
      work(std::max(start + end, tiles - end) * tile, (tiles - begin) * tile);
    });
  }

 private:
  std::int64_t size_ = 0, padded_ = 0, stride_ = 0, capacity_ = 0;
  Array<float> factor_, panel_;
  std::vector<double> excess_, pivot_;
};

}  // namespace wbm
