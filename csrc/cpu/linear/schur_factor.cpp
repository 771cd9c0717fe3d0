#include "cpu/linear/schur_factor.h"

#include <cmath>

#include "cpu/kernels/kernels.h"

namespace wbm {

SchurFactor::SchurFactor(const StoredMatrix<double>& k, const std::vector<double>& weight, const std::vector<double>& v,
                         const std::vector<double>& excess, double scale, Interrupt* interrupt)
    : scale_(scale) {
  const FactorKernels& kernels = factor_kernels();
  Team& team = k.team();
  const std::int64_t n = k.rows(), m = k.columns();
  factor_.resize(m);
  const std::int64_t size = factor_.padded_size(), stride = factor_.stride();
  const Array<float> b(n * stride);
  team.split_if(k.parallel(), n, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      kernels.scaled_row(k.row(i), std::sqrt(scale * weight[i]), v.data(), b.data() + i * stride, m, size);
  });
  std::vector<double> scaled(m);
  for (std::int64_t j = 0; j < m; ++j) scaled[j] = scale * excess[j];

  // B'B by blocks of rows of B that stay in the cache
  const bool parallel = k.parallel() && size >= 4 * kFactorPanel;
  factor_.split_triangle(team, parallel, 0, [&](std::int64_t begin, std::int64_t end) {
    kernels.gram(b.data(), stride, n, factor_.row(0), stride, begin, end);
  });
  factor_.eliminate(scaled, team, parallel, interrupt);
}

void SchurFactor::solve(const std::vector<double>& x, std::vector<double>& out) const {
  for (std::size_t j = 0; j < x.size(); ++j) out[j] = x[j] * scale_;
  factor_.solve(out.data());
}

}  // namespace wbm
