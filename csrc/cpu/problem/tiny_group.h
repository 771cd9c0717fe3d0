// Eight tiny problems of a batch side by side, one in each lane of a vector: at most kTinySide rows and columns, both marginals
// hard, every pair allowed, every mass positive. A group of which one problem is of another kind, or leaves the range of its
// type, is left to the solver of single problems.
#pragma once

#include <vector>

#include "cpu/kernels/tiny.h"
#include "problem.h"

namespace wbm::cpu {

template <typename T>
class TinyGroup {
 public:
  // Plain iterations, all of whose scalings stay in the second-level cache.
  static bool fits(const Problem& problem, std::int64_t iterations) {
    return problem.n <= kTinySide && problem.m <= kTinySide && !problem.mask && problem.batch >= kTinyLanes && iterations >= 1 &&
           iterations <= kMostIterations;
  }

 protected:
  TinyGroup(const Problem& problem, std::int64_t iterations);

  // Takes `members` problems from p on; the lanes behind them repeat the last one. False where a marginal is soft.
  bool load(std::int64_t p, std::int64_t members);
  // Rows of `count` numbers, one a problem of the batch, into lanes.
  void gather(std::int64_t count, const double* rows, double* lanes) const {
    for (std::int64_t lane = 0; lane < kTinyLanes; ++lane)
      for (std::int64_t x = 0; x < count; ++x) lanes[x * kTinyLanes + lane] = rows[at(lane) * count + x];
  }
  // And back.
  template <typename S>
  void scatter(std::int64_t count, const double* lanes, S* rows) const {
    for (std::int64_t lane = 0; lane < members_; ++lane)
      for (std::int64_t x = 0; x < count; ++x) rows[at(lane) * count + x] = static_cast<S>(lanes[x * kTinyLanes + lane]);
  }
  // The problem in a lane.
  std::int64_t at(std::int64_t lane) const { return first_ + (lane < members_ ? lane : members_ - 1); }
  // Working memory of `count` numbers a lane.
  double* take(std::int64_t count) {
    double* out = memory_.data() + used_;
    used_ += count * kTinyLanes;
    return out;
  }

  const Problem& problem_;
  const std::int64_t iterations_;
  std::int64_t first_ = 0, members_ = 0;
  TinyProblems group_;
  TinyScaling scaling_;

 private:
  static constexpr std::int64_t kMostIterations = 256;

  std::vector<double> memory_;
  std::int64_t used_ = 0;
  double *d_, *a_, *b_, *epsilon_;
};

}  // namespace wbm::cpu
