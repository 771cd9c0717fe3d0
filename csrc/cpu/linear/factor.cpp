#include "cpu/linear/factor.h"

#include <algorithm>
#include <cmath>

#include "cpu/kernels/kernels.h"

namespace wbm {
namespace {

// work(begin, end) on ranges of the tiles of an upper triangle: the t-th tile column goes with the t-th from the end, so
// that all parts are as large.
template <typename Work>
void split_triangle(Team& team, bool parallel, std::int64_t first, std::int64_t tiles, const Work& work) {
  if (!parallel) return work(first, tiles);
  const std::int64_t count = tiles - first;
  team.split((count + 1) / 2, [&](std::int64_t begin, std::int64_t end) {
    work(first + begin, first + end);
    work(std::max(first + end, tiles - end), tiles - begin);
  });
}

}  // namespace

void Factor::make(const StoredMatrix<double>& k, const std::vector<double>& weight, const std::vector<double>& v,
                  const std::vector<double>& excess, double scale) {
  const FactorKernels& kernels = factor_kernels();
  Team& team = k.team();
  const std::int64_t n = k.rows(), m = k.columns(), tile = kernels.tile_columns;
  const std::int64_t size = (m + 31) / 32 * 32, stride = size % 1024 ? size : size + 32;
  if (!made()) {
    factor_ = Array<float>(size * stride);
    b_ = Array<float>(n * stride);
    panel_ = Array<float>(kFactorPanel * stride);
    for (auto* x : {&excess_, &pivot_}) x->assign(size, 0.0);
  }
  size_ = size;
  stride_ = stride;
  scale_ = scale;
  team.split_if(k.parallel(), n, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      kernels.scaled_row(k.row(i), std::sqrt(scale * weight[i]), v.data(), b_.data() + i * stride, m, size);
  });
  for (std::int64_t j = 0; j < size; ++j) excess_[j] = j < m ? scale * excess[j] : 1.0;

  // B'B by blocks of rows of B that stay in the cache, then the elimination by panels of columns.
  const bool parallel = k.parallel() && size >= 4 * kFactorPanel;
  const std::int64_t tiles = size / tile;
  split_triangle(team, parallel, 0, tiles, [&](std::int64_t begin, std::int64_t end) {
    kernels.gram(b_.data(), stride, n, factor_.data(), stride, begin * tile, end * tile);
  });
  for (std::int64_t start = 0; start < size; start += kFactorPanel) {
    const std::int64_t stop = std::min(start + kFactorPanel, size);
    kernels.eliminate(factor_.data(), stride, size, start, stop, excess_.data(), pivot_.data(), panel_.data());
    if (stop < size)
      split_triangle(team, parallel && size - stop >= 4 * kFactorPanel, stop / tile, tiles,
                     [&](std::int64_t begin, std::int64_t end) {
                       kernels.update(factor_.data(), stride, start, stop, panel_.data(), std::max(begin * tile, stop),
                                      end * tile);
                     });
    kernels.keep(factor_.data(), stride, size, start, stop, panel_.data());
  }
}

void Factor::solve(const std::vector<double>& x, std::vector<double>& out) const {
  std::vector<double> in(size_, 0.0), solved(size_);
  for (std::size_t j = 0; j < x.size(); ++j) in[j] = x[j] * scale_;
  factor_kernels().solve(factor_.data(), stride_, size_, pivot_.data(), in.data(), solved.data());
  std::copy(solved.begin(), solved.begin() + static_cast<std::ptrdiff_t>(x.size()), out.begin());
}

}  // namespace wbm
