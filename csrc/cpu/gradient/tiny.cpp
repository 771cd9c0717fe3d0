#include "cpu/gradient/tiny.h"

#include <cmath>

namespace wbm::cpu {

template <typename T>
TinyGradient<T>::TinyGradient(const Problem& problem, const Adjoint& adjoint)
    : Base(problem, adjoint.mode == Gradient::unrolled ? adjoint.max_iter : 1), adjoint_(adjoint) {
  const std::int64_t n = problem.n, m = problem.m;
  f_ = Base::take(n);
  g_ = Base::take(m);
  sharp_ = Base::take(1);
  regularized_ = Base::take(1);
  q_f_ = Base::take(n);
  q_g_ = Base::take(m);
  double *grad_cost = Base::take(n * m), *grad_a = Base::take(n), *grad_b = Base::take(m), *residual = Base::take(1);
  lanes_ = {f_, g_, sharp_, regularized_, q_f_, q_g_, grad_cost, grad_a, grad_b, residual};
}

template <typename T>
bool TinyGradient<T>::fits(const Problem& problem, const Adjoint& adjoint) {
  return adjoint.mode == Gradient::unrolled ? Base::fits(problem, adjoint.max_iter)
                                            : adjoint.mode == Gradient::implicit && Base::fits(problem, 1);
}

template <typename T>
bool TinyGradient<T>::run(std::int64_t p, std::int64_t members) {
  const std::int64_t n = Base::problem_.n, m = Base::problem_.m;
  const bool unrolled = adjoint_.mode == Gradient::unrolled;
  for (std::int64_t q = p; q < p + members; ++q) {
    if (unrolled && !std::isnan(adjoint_.history[q * (adjoint_.max_iter + 1) * (n + m)])) return false;  // it is recorded
    if (!unrolled && adjoint_.saved && adjoint_.saved[q]) return false;
  }
  if (!Base::load(p, members)) return false;
  Base::gather(n, adjoint_.f, f_);
  Base::gather(m, adjoint_.g, g_);
  Base::gather(1, adjoint_.grad_sharp, sharp_);
  Base::gather(1, adjoint_.grad_regularized, regularized_);
  Base::gather(n, adjoint_.grad_f, q_f_);
  Base::gather(m, adjoint_.grad_g, q_g_);
  const TinyKernels& kernels = tiny_kernels();
  if (unrolled) {
    if (!kernels.iterate(Base::group_, Base::iterations_, Base::scaling_)) return false;
    kernels.unrolled(Base::group_, Base::iterations_, Base::scaling_, lanes_);
  } else if (!kernels.implicit(Base::group_, lanes_)) {
    return false;
  }
  if (adjoint_.grad_cost) Base::scatter(n * m, lanes_.grad_cost, static_cast<T*>(adjoint_.grad_cost));
  Base::scatter(n, lanes_.grad_a, adjoint_.grad_a);
  Base::scatter(m, lanes_.grad_b, adjoint_.grad_b);
  Base::scatter(1, lanes_.residual, adjoint_.residual);
  return true;
}

template class TinyGradient<float>;
template class TinyGradient<double>;

}  // namespace wbm::cpu
