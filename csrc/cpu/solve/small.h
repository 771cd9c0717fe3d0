// The forward of small problems: iterations of the scalings on a stored K and its transpose, as in scaling.h.
#pragma once

#include "cpu/problem/report.h"
#include "cpu/problem/small_problem.h"
#include "cpu/solve/relaxation.h"

namespace wbm::cpu {

template <typename T>
class SmallSolver : SmallProblem<T> {
 public:
  SmallSolver(const Problem& problem, const Options& options, const Solution& out);

  static bool fits(const Problem& problem, const Options& options, const Solution& out);

  // False where problem p is left to the general solver: what `out` then holds of it does not count.
  bool solve(std::int64_t p);

 private:
  bool start();
  bool iterate(double target);
  bool crawls(double residual, double target);
  bool report(std::int64_t p);

  using Base = SmallProblem<T>;
  using Base::column_, Base::d_, Base::kernels_, Base::memory_, Base::row_, Base::shape_, Base::view_;

  const Options& options_;
  const Solution& out_;
  T *k_, *transposed_, *a_, *b_, *pad_rows_, *pad_columns_, *u_, *v_, *work_, *column_error_;
  double *f_, *g_, *wide_u_, *wide_v_, *mass_, *logs_, *r_, *c_;
  Relaxation relaxation_;
  std::int64_t done_ = 0, judged_ = 0;
  double anchor_ = 0.0;
};

}  // namespace wbm::cpu
