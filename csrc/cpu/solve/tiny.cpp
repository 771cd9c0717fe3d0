#include "cpu/solve/tiny.h"

#include <limits>

namespace wbm::cpu {

template <typename T>
TinySolver<T>::TinySolver(const Problem& problem, const Options& options, const Solution& out)
    : Base(problem, options.max_iter), out_(out) {
  double *f = Base::take(problem.n), *g = Base::take(problem.m), *sharp = Base::take(1), *regularized = Base::take(1),
         *mass = Base::take(1), *residual = Base::take(1);
  report_ = {f, g, sharp, regularized, mass, residual};
}

template <typename T>
bool TinySolver<T>::fits(const Problem& problem, const Options& options) {
  return Base::fits(problem, options.max_iter) && options.tol == 0.0 && options.criterion == Criterion::marginal &&
         !options.init_g;
}

template <typename T>
bool TinySolver<T>::solve(std::int64_t p, std::int64_t members) {
  const Problem& problem = Base::problem_;
  const TinyKernels& kernels = tiny_kernels();
  if (!Base::load(p, members) || !kernels.iterate(Base::group_, Base::iterations_, Base::scaling_) ||
      !kernels.report(Base::group_, Base::iterations_, Base::scaling_, report_))
    return false;
  for (std::int64_t lane = 0; lane < members; ++lane)
    if (!representable(report_.sharp[lane], problem.float64) || !representable(report_.regularized[lane], problem.float64))
      return false;
  Base::scatter(problem.n, report_.f, out_.f);
  Base::scatter(problem.m, report_.g, out_.g);
  Base::scatter(1, report_.sharp, out_.sharp);
  Base::scatter(1, report_.regularized, out_.regularized);
  Base::scatter(1, report_.mass, out_.mass);
  Base::scatter(1, report_.residual, out_.residual);
  for (std::int64_t lane = 0; lane < members; ++lane) {
    const double b_scale = Base::scaling_.b_scale[lane], apart = b_scale < 1.0 ? 1.0 - b_scale : b_scale - 1.0;
    out_.iterations[p + lane] = Base::iterations_;
    out_.status[p + lane] =
        (report_.residual[lane] == 0.0 ? kConverged : kIterationLimit) | (apart > 1e-6 ? kRescaled : 0);
    if (out_.history)
      out_.history[(p + lane) * (Base::iterations_ + 1) * (problem.n + problem.m)] = std::numeric_limits<double>::quiet_NaN();
  }
  return true;
}

template class TinySolver<float>;
template class TinySolver<double>;

}  // namespace wbm::cpu
