// The plan between two clouds at given potentials, row by row: stored where it fits, else evaluated again at every pass.
//
// P_ij = exp((f_i + g_j - D_ij) / eps). What pruning leaves out is below a share of its row and its column that the caller
// chooses; groups of kCloudLanes columns are kept or left out whole.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/cloud/pruning.h"
#include "cpu/cloud/tree.h"
#include "cpu/kernels/cloud.h"
#include "cpu/problem/view.h"
#include "cpu/runtime/interrupt.h"
#include "cpu/runtime/team.h"

namespace wbm::cpu {

// Two clouds, their marginals and one epsilon.
struct CloudProblem {
  const Cloud& x;
  const Cloud& y;
  Side rows, columns;
  double epsilon;
  CloudCost cost;
  Interrupt* interrupt;

  double inverse_epsilon() const { return 1.0 / epsilon; }
  double scale() const { return 0.5 * (rows.total + columns.total); }
};

// Chunks of leaves: the unit of work of a thread, by the size alone, so that results do not depend on the threads.
class LeafChunks {
 public:
  explicit LeafChunks(const Cloud& x)
      : count_(std::min<std::int64_t>(16, static_cast<std::int64_t>(x.leaves.size() + 3) / 4)),
        leaves_(static_cast<std::int64_t>(x.leaves.size())) {}
  std::int64_t count() const { return count_; }
  std::int64_t begin(std::int64_t chunk) const { return leaves_ * chunk / count_; }
  std::int64_t end(std::int64_t chunk) const { return begin(chunk + 1); }

 private:
  std::int64_t count_, leaves_;
};

// f_i = update of the log-sum over y of g, exactly (see softmin_ranges); `side` is that of x.
void softmin_update(const Cloud& x, const Side& side, const Cloud& y, const double* g, double epsilon, CloudCost cost, Team& team,
                    double* f);

class CloudPlan {
 public:
  // Entries that are kept are above `share` of their row's or column's even part; `memory` bytes at most are stored.
  CloudPlan(const CloudProblem& problem, Team& team, double share, std::int64_t memory);

  // Takes the plan of these potentials, f (x.n) and g (y.n).
  void build(const std::vector<double>& f, const std::vector<double>& g);

  // One pass: sums[i] = sum_j P_ij v_j, then column_sums_j = sum_i weight(i) P_ij, where weight(i) may use sums[i]. v has
  // y.padded entries, what is beyond y.n is 0.
  template <typename Weight>
  void pass(const double* v, const Weight& weight) {
    std::fill(partial_.begin(), partial_.end(), 0.0);
    each_row([&](std::int64_t chunk, std::int64_t i, const float* values, const std::int32_t* groups, std::int64_t count) {
      sums[i] = kernels_.dot(values, groups, count, v);
      kernels_.add(values, groups, count, weight(i), &partial_[chunk * problem_.y.padded]);
    });
    reduce();
  }

  // work(chunk, i, values, groups, count) for each row; chunks side by side.
  template <typename Work>
  void each_row(const Work& work) {
    each_row_by_parts(chunks_.count(), work);
  }

  // The same with chunks taken together: parts side by side, the rows of a part one after another.
  template <typename Work>
  void each_row_by_parts(std::int64_t parts, const Work& work) {
    team_.split(parts, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t part = first; part < last; ++part)
        for (std::int64_t chunk = chunks_.count() * part / parts; chunk < chunks_.count() * (part + 1) / parts; ++chunk)
          rows_of(chunk, [&](std::int64_t i, const float* values, const std::int32_t* groups, std::int64_t count) {
            work(part, i, values, groups, count);
          });
    });
  }

  std::int64_t chunks() const { return chunks_.count(); }
  bool stored() const { return stored_; }
  std::int64_t groups() const { return group_count_; }

  const std::vector<double>& f() const { return f_; }
  const std::vector<double>& g() const { return g_; }
  std::vector<double> sums, column_sums;  // (x.n), (y.padded)

 private:
  struct StoredRow {
    std::int64_t i, count;
    const float* values;
    const std::int32_t* groups;
  };

  template <typename Work>
  void rows_of(std::int64_t chunk, const Work& work) {
    if (!stored_) return evaluate(chunk, work);
    for (const StoredRow& row : rows_[chunk]) work(row.i, row.values, row.groups, row.count);
  }

  // work(i, values, groups, count) of the rows of a chunk, evaluated.
  template <typename Work>
  void evaluate(std::int64_t chunk, const Work& work) {
    const Cloud &x = problem_.x, &y = problem_.y;
    std::vector<CloudRange> ranges;
    std::vector<float> values;
    std::vector<std::int32_t> groups;
    double dropped = 0.0;
    for (std::int64_t l = chunks_.begin(chunk); l < chunks_.end(chunk); ++l) {
      const std::int32_t leaf = x.leaves[l];
      if (raised(problem_.interrupt)) return;
      plan_ranges(x, leaf, f_bound_, y, g_bound_, problem_.cost, problem_.inverse_epsilon(), cut_, ranges, dropped);
      std::int64_t most = 0;
      for (const CloudRange& range : ranges) most += range.end - range.begin;
      if (static_cast<std::int64_t>(values.size()) < most) values.resize(most), groups.resize(most / kCloudLanes);
      for (std::int32_t i = x.nodes[leaf].begin; i < x.nodes[leaf].end; ++i) {
        const CloudRow row{x.point(i), y.coordinates.data(), y.padded, y.dimension, problem_.cost.euclidean, f_[i], g_.data(),
                           problem_.inverse_epsilon()};
        const std::int64_t count =
            kernels_.collect(row, ranges.data(), static_cast<std::int64_t>(ranges.size()), row_cut_[i], column_cut_.data(),
                             values.data(), groups.data(), &dropped);
        work(i, values.data(), groups.data(), count);
      }
    }
  }

  void reduce();

  const CloudProblem& problem_;
  Team& team_;
  const CloudKernels& kernels_;
  const LeafChunks chunks_;
  const std::int64_t memory_;
  double cut_ = 0.0;                             // of the exponents of a pair of boxes
  std::vector<double> row_cut_, column_cut_;     // of entries
  std::vector<double> f_, g_, partial_;
  Majorant f_bound_, g_bound_;
  bool stored_ = false;
  std::int64_t group_count_ = 0;
  std::vector<std::vector<StoredRow>> rows_;                   // a chunk each
  std::vector<std::vector<std::unique_ptr<char[]>>> slabs_;    // what they point into
};

}  // namespace wbm::cpu
