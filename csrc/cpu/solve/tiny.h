// A fixed number of plain iterations (tol = 0) of tiny problems, eight at a time.
#pragma once

#include "cpu/problem/tiny_group.h"

namespace wbm::cpu {

template <typename T>
class TinySolver : TinyGroup<T> {
 public:
  TinySolver(const Problem& problem, const Options& options, const Solution& out);

  static bool fits(const Problem& problem, const Options& options);

  // `members` problems from p on, at most kTinyLanes. False where they are left to the solver of single problems.
  //
  // A history holds NaN in the place of the first number of each of them, nothing else: the backward makes the iterates anew
  // (gradient/tiny.h), which takes less time than to write and read them.
  bool solve(std::int64_t p, std::int64_t members);

 private:
  using Base = TinyGroup<T>;

  const Solution& out_;
  TinyReport report_;
};

}  // namespace wbm::cpu
