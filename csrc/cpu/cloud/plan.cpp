#include "cpu/cloud/plan.h"

#include <atomic>
#include <cmath>
#include <cstring>

namespace wbm::cpu {

void softmin_update(const Cloud& x, const Side& side, const Cloud& y, const double* g, double epsilon, CloudCost cost, Team& team,
                    double* f) {
  const Majorant g_bound(y, std::vector<double>(g, g + y.n), cost);
  const LeafChunks chunks(x);
  team.split(chunks.count(), [&](std::int64_t first, std::int64_t last) {
    std::vector<CloudRange> ranges;
    for (std::int64_t l = chunks.begin(first); l < chunks.end(last - 1); ++l) {
      const std::int32_t leaf = x.leaves[l];
      softmin_ranges(x, leaf, y, g, g_bound, cost, epsilon, ranges);
      for (std::int32_t i = x.nodes[leaf].begin; i < x.nodes[leaf].end; ++i) {
        const CloudRow row{x.point(i), y.coordinates.data(), y.padded, y.dimension, cost.euclidean, 0.0, g, 1.0 / epsilon};
        double max = 0.0, sum = 0.0;
        cloud_kernels().log_sum(row, ranges.data(), static_cast<std::int64_t>(ranges.size()), &max, &sum);
        f[i] = side.update(i, max, sum, epsilon);
      }
    }
  });
}

CloudPlan::CloudPlan(const CloudProblem& problem, Team& team, double share, std::int64_t memory)
    : sums(problem.x.n), column_sums(problem.y.padded), problem_(problem), team_(team), kernels_(cloud_kernels()),
      chunks_(problem.x), memory_(memory), row_cut_(problem.x.n), column_cut_(problem.y.padded, 0.0),
      g_(problem.y.padded, -kInf), partial_(chunks_.count() * problem.y.padded) {
  const double n = static_cast<double>(problem.x.n), m = static_cast<double>(problem.y.n);
  double least = kInf;
  for (std::int64_t i = 0; i < problem.x.n; ++i) least = std::min(least, row_cut_[i] = share * problem.rows.mass[i] / m);
  for (std::int64_t j = 0; j < problem.y.n; ++j) least = std::min(least, column_cut_[j] = share * problem.columns.mass[j] / n);
  // A pair of boxes is left out where each of its entries would be.
  cut_ = std::log(least);
}

void CloudPlan::build(const std::vector<double>& f, const std::vector<double>& g) {
  const Cloud &x = problem_.x, &y = problem_.y;
  f_ = f;
  std::copy_n(g.begin(), y.n, g_.begin());
  f_bound_ = Majorant(x, f_, problem_.cost);
  g_bound_ = Majorant(y, g_, problem_.cost);
  constexpr std::int64_t kSlab = 1 << 20;
  constexpr std::int64_t kGroupBytes = kCloudLanes * sizeof(float) + sizeof(std::int32_t);
  stored_ = false;
  rows_.assign(chunks_.count(), {});
  slabs_.clear();
  slabs_.resize(chunks_.count());
  std::atomic<std::int64_t> used{0};
  std::vector<std::int64_t> counts(chunks_.count(), 0);
  team_.split(chunks_.count(), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t chunk = first; chunk < last; ++chunk) {
      std::int64_t left = 0;
      char* place = nullptr;
      evaluate(chunk, [&](std::int64_t i, const float* values, const std::int32_t* groups, std::int64_t count) {
        counts[chunk] += count;
        if (used.load(std::memory_order_relaxed) > memory_) return;
        const std::int64_t bytes = count * kGroupBytes;
        if (left < bytes) {
          left = std::max(kSlab, bytes);
          if (used.fetch_add(left) + left > memory_) return;
          slabs_[chunk].push_back(std::make_unique<char[]>(left));
          place = slabs_[chunk].back().get();
        }
        std::memcpy(place, values, count * kCloudLanes * sizeof(float));
        std::memcpy(place + count * kCloudLanes * sizeof(float), groups, count * sizeof(std::int32_t));
        rows_[chunk].push_back({i, count, reinterpret_cast<const float*>(place),
                                reinterpret_cast<const std::int32_t*>(place + count * kCloudLanes * sizeof(float))});
        place += bytes;
        left -= bytes;
      });
    }
  });
  stored_ = used.load() <= memory_;
  if (!stored_) {
    rows_.assign(chunks_.count(), {});
    slabs_.clear();
    slabs_.resize(chunks_.count());
  }
  group_count_ = 0;
  for (const std::int64_t count : counts) group_count_ += count;
}

void CloudPlan::reduce() {
  const std::int64_t padded = problem_.y.padded;
  team_.split(padded / kCloudLanes, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t j = first * kCloudLanes; j < last * kCloudLanes; ++j) {
      double sum = 0.0;
      for (std::int64_t chunk = 0; chunk < chunks_.count(); ++chunk) sum += partial_[chunk * padded + j];
      column_sums[j] = sum;
    }
  });
}

}  // namespace wbm::cpu
