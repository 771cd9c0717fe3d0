// Small problems, forward and implicit backward: at most kSmallSide rows and columns, both marginals hard, every pair allowed,
// every mass positive. Everything stays in the first-level cache, in working memory that a thread takes once for all its
// problems. What is of another kind, crawls, or leaves the range of its type is left to the general solver.
#pragma once

#include <vector>

#include "cpu/gradient.h"
#include "cpu/kernels.h"
#include "cpu/kernels_small.h"
#include "cpu/memory.h"
#include "cpu/relaxation.h"
#include "cpu/report.h"
#include "cpu/view.h"

namespace wbm::cpu {

// Room for six matrices and their vectors, handed out in whole cache lines.
class SmallMemory {
 public:
  template <typename S>
  S* take(std::int64_t count) {
    S* out = reinterpret_cast<S*>(block_.data() + used_);
    used_ += (count * static_cast<std::int64_t>(sizeof(S)) + 63) / 64 * 64;
    return out;
  }

 private:
  static constexpr std::int64_t kBytes = (6 * kSmallSide + 32) * kSmallSide * static_cast<std::int64_t>(sizeof(double));

  Array<char> block_{kBytes};
  std::int64_t used_ = 0;
};

// A problem of the batch, its matrix with padded rows, and the terms of the exponents row_i + column_j - D_ij / eps.
template <typename T>
class SmallProblem {
 protected:
  explicit SmallProblem(const Problem& problem);

  static bool fits(const Problem& problem) {
    return problem.n <= kSmallSide && problem.m <= kSmallSide && !problem.mask;
  }
  // False where problem p is not of this kind; D is not looked at.
  bool open(std::int64_t p);
  // False where an exponent would be lost in the rounding of these.
  bool set_exponents(const double* f, const double* g);

  const Problem& problem_;
  const SmallKernels<T>& kernels_;
  const SmallShape shape_;
  SmallMemory memory_;
  View<T> view_;
  const T* d_ = nullptr;
  T* padded_;
  double *row_, *column_;
};

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

template <typename T>
class SmallGradient : SmallProblem<T> {
 public:
  SmallGradient(const Problem& problem, const Adjoint& adjoint);

  static bool fits(const Problem& problem, const Adjoint& adjoint);

  // False where the gradients of problem p are left to the general solver.
  bool run(std::int64_t p);

 private:
  bool right_side();
  bool solve(double& reached);
  void centre();

  using Base = SmallProblem<T>;
  using Base::column_, Base::d_, Base::memory_, Base::row_, Base::shape_, Base::view_;

  const Adjoint& adjoint_;
  T* p_;
  float *b_, *transposed_, *root_r_, *root_c_;
  double *h1_, *h2_, *share_, *inverse_c_;
  SmallSchur schur_;
  SmallSystem<T> system_;
  std::vector<double> r_, c_, x_, y_, d_a_, d_b_;
  Upstream up_;
};

}  // namespace wbm::cpu
