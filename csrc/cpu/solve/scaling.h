// Stabilised scaling: the iterations of Sinkhorn on a stored kernel matrix, multiply-adds instead of exponentials.
//
// Absorbed potentials f^, g^ make K_ij = exp((f^_i + g^_j - D_ij) / eps) / (a_i b_j), whose entries lie near 1 where the
// plan does. With f = f^ + eps (log u - log a), g = g^ + eps (log v - log b) one iteration is
//
//     s = K v,   log u = alpha - ratio1 log s,   alpha = (s1/eps) log a - (1 - ratio1) (f^/eps - log a)     (u = a/s if hard)
//     t = K'u,   the same for v,
//
// and reads K once: a block of rows is dotted with v, gives its u, and is added to K'u while it is in the cache.
// When u / a or v / b leaves [1/L, L], entries of K that flushed to zero could matter: the caller then goes on in the
// log domain from the last good potentials and absorbs them anew.
#pragma once

#include <memory>

#include "cpu/problem/fixed_point.h"
#include "cpu/problem/saved_plan.h"
#include "cpu/problem/report.h"
#include "cpu/runtime/team.h"
#include "cpu/problem/view.h"

namespace wbm {

class Scaling {
 public:
  enum class Outcome { accepted, met, rejected };

  virtual ~Scaling() = default;

  // Starts from these potentials: builds K (one exponential per entry) and sets u = a, v = b. `columns`: what is known of the
  // columns of their plan.
  virtual void absorb(const double* f, const double* g, const ColumnError& columns) = 0;

  // The same at half the epsilon, to which the view has been tuned, from the potentials of the last accepted iteration: K
  // becomes the square of the plan over a b, without an exponential. float32 only.
  virtual void square(const double* f, const double* g) = 0;

  // The next iteration begins at this g; u is what it was.
  virtual void start(const double* g) = 0;

  // Starts at g = 0 without a single iteration: f^_i = min_j D_ij and g^_j = min_i (D_ij - f^_i) put a 1 into every row
  // and column of K. False where exp(-g^ / eps) would leave the range.
  virtual bool absorb_cold() = 0;

  // One iteration. `residual` becomes that of the plan before it; at or below `target` nothing is changed (met);
  // NaN when a sum overflowed.
  // `omega`: the over-relaxation of both updates, 1 for none.
  // `translate`: follow it by the translation of the potentials that is optimal along its line.
  virtual Outcome iterate(double target, double omega, bool translate, double& residual) = 0;

  // Truncated Newton steps on the semi-dual in v (u eliminated) until the residual is at most `target` or `budget` passes
  // over K are spent. False when it gave up, or the scalings have left their range and want to be absorbed; what was
  // reached stays. float64 only.
  virtual bool newton(double target, std::int64_t budget, std::int64_t& passes, double& residual, bool& left_range) = 0;

  // The potentials of the last accepted iteration, and what is known of the columns of their plan.
  virtual ColumnError read(double* f, double* g) const = 0;

  // Sums of the plan u K v, and its distance from the plan of the potentials read(): relative, for each entry. False where
  // rows or columns were left out of K. With these potentials, f and g, also the sums of P log P; none: nullptr.
  virtual bool sums(PlanSums& out, double& error, const double* f, const double* g) const = 0;

  // K, u and v with these sums, for the backward; the scaling is of no more use.
  virtual std::unique_ptr<SavedPlan> save_plan(PlanSums&& sums, double tolerance) = 0;

  // Largest |change of f or g| / eps for which a new K is worth its exponentials.
  static constexpr double kCalm = 8.0;
};

// S = float: half the bytes, sums good to about 1e-7. nullptr where the matrix is too large to be stored twice.
template <typename T, typename S>
std::unique_ptr<Scaling> make_scaling(const View<T>& view, Team& team);

}  // namespace wbm
