// Upstream gradients, the gauge and empty lines before the linear system; dL/da and dL/db after it. Formulae:
// cpu/implicit.cpp and cpu/gradient.h.
#pragma once

#include "cuda/gradient/plan.cuh"
#include "cuda/gradient/lines.cuh"

namespace wbm::cuda {

// --- pieces of one block per problem ----------------------------------------------------------------------

// q = dL/df (or dg), 0 where the potential is infinite, and a gradient of 0 to add to; returns this thread's part of sum q.
WBM_DEVICE double read_upstream(const Marginal& side, const SideArrays& arrays, const double* upstream) {
  double sum = 0.0;
  for (std::int64_t i = thread_x(); i < side.size; i += threads_x()) {
    const double q = side.active[i] ? upstream[i] : 0.0;
    arrays.q[i] = q;
    arrays.d_mass[i] = 0.0;
    sum += q;
  }
  return sum;
}

// The potentials come out in the gauge <a,f>/sum(a) = <b,g>/sum(b), that is f = f0 + t, g = g0 - t with
// t = (<b,g0>/sum(b) - <a,f0>/sum(a)) / 2. Pulling q back through t: q_f - gauge/2 a/sum(a) on f0, and what t's own
// dependence on the masses adds to da. Each thread moves the entries that read_upstream gave it.
WBM_DEVICE void pull_back_gauge(const Marginal& side, double gauge, const double* potential, const SideArrays& arrays) {
  const double total = side.side.total;
  if (gauge == 0.0 || !(total > 0.0)) return;
  double mean = 0.0;
  for (std::int64_t i = thread_x(); i < side.size; i += threads_x())
    if (side.active[i]) mean += side.mass[i] * potential[i];
  mean = block_sum(mean) / total;
  for (std::int64_t i = thread_x(); i < side.size; i += threads_x()) {
    if (!side.active[i]) continue;
    arrays.q[i] -= 0.5 * gauge * side.mass[i] / total;
    arrays.d_mass[i] -= 0.5 * gauge * (potential[i] - mean) / total;
  }
}

// q of both sides, with the gauge pulled back where it is free.
template <typename T>
WBM_DEVICE void open_upstream(const AdjointArguments<T>& args, const AdjointView<T>& view, std::int64_t p, const double* f,
                              const double* g) {
  const double rows = read_upstream(view.rows, view.row, args.adjoint.grad_f + p * view.n);
  const double gauge = block_sum(rows - read_upstream(view.columns, view.column, args.adjoint.grad_g + p * view.m));
  if (!view.both_hard()) return;
  pull_back_gauge(view.rows, gauge, f, view.row);
  pull_back_gauge(view.columns, -gauge, g, view.column);
}

inline constexpr double kEmpty = 1e-100;  // share of the plan below which a line counts as empty: 1/r would overflow

// A line with mass whose plan underflows does not couple back, but its potential still depends on the others: its q is
// passed on along that line, q_k -= ratio q w_k with w = softmax((partner - D) / eps), and the line counts as empty. An
// entry of either side is written by the thread that read_upstream gave it.
template <bool kRows, typename T>
WBM_DEVICE void eliminate_empty(const AdjointView<T>& view, const double* partner) {
  const Marginal &side = kRows ? view.rows : view.columns, &other = kRows ? view.columns : view.rows;
  const SideArrays &arrays = kRows ? view.row : view.column, &others = kRows ? view.column : view.row;
  const auto exponent = [&](std::int64_t i, std::int64_t k) {
    return kRows ? view.matrix.exponent(i, k, partner[k]) : view.matrix.exponent(k, i, partner[k]);
  };
  double mass = 0.0;
  for (std::int64_t i = thread_x(); i < side.size; i += threads_x()) mass += arrays.sums[i];
  mass = block_sum(mass);
  for (std::int64_t first = 0; first < side.size; first += threads_x()) {
    const std::int64_t mine = first + thread_x();
    const bool empty = mine < side.size && side.active[mine] && !(arrays.sums[mine] > kEmpty * mass);
    if (empty) arrays.sums[mine] = 0.0;
    if (!block_any(empty && arrays.q[mine] != 0.0)) continue;
    for (std::int64_t i = first; i < side.size && i < first + threads_x(); ++i) {
      const double q = arrays.q[i];
      if (!side.active[i] || arrays.sums[i] != 0.0 || q == 0.0) continue;
      LogSum s = empty_log_sum();
      for (std::int64_t k = thread_x(); k < other.size; k += threads_x())
        if (other.active[k]) add(s, exponent(i, k), view.state.inverse_epsilon);
      s = block_reduce(s, MergeLogSums{view.state.inverse_epsilon});
      for (std::int64_t k = thread_x(); k < other.size; k += threads_x())
        if (other.active[k])
          others.q[k] -= passed_on(side.side, q, exponent(i, k), s.max, s.sum, view.state.inverse_epsilon);
      if (mine != i) continue;
      arrays.passed[i] = q;  // everyone has read q: the reduction had barriers
      arrays.top[i] = s.max;
      arrays.total[i] = s.sum;
      arrays.d_mass[i] += side.side.strength * q / side.mass[i];
      arrays.q[i] = 0.0;
    }
  }
}

// h <- -s (h + sum potential / kappa) + q, x = 0; returns this thread's largest |h|.
WBM_DEVICE double right_side(const Marginal& side, const SideArrays& arrays, const double* potential, double sharp) {
  double largest = 0.0;
  for (std::int64_t i = thread_x(); i < side.size; i += threads_x()) {
    const double sum = arrays.sums[i];
    const double soft = side.side.hard || !(sum > 0.0) ? 0.0 : sum * potential[i] / side.side.kappa;
    const double h = -sharp * (arrays.h[i] + soft) + arrays.q[i];
    arrays.h[i] = h;
    arrays.x[i] = 0.0;
    largest = fmax(largest, fabs(h));
  }
  return largest;
}

// A block per problem, O(n + m) but for empty lines with a q.
template <typename T>
WBM_KERNEL(kMaxThreads) open_system(AdjointArguments<T> args) {
  for (std::int64_t p = block_x(); p < args.base.problem.batch; p += grid_x()) {
    const AdjointView<T> view(args, p);
    if (thread_x() == 0 && p < args.team.groups) args.work.counters[p] = 0;
    if (view.refused()) continue;
    for (std::int64_t i = thread_x(); i < view.n; i += threads_x()) view.row.passed[i] = 0.0;
    for (std::int64_t j = thread_x(); j < view.m; j += threads_x()) view.column.passed[j] = 0.0;
    open_upstream(args, view, p, view.f, view.g);
    eliminate_empty<true>(view, view.g);
    eliminate_empty<false>(view, view.f);
    const double rows = right_side(view.rows, view.row, view.f, view.sharp);
    const double largest = block_max(fmax(rows, right_side(view.columns, view.column, view.g, view.sharp)));
    if (thread_x() != 0) continue;
    args.work.idle[p] = !(largest > 0.0);
    args.adjoint.residual[p] = 0.0;
  }
}

// --- where the mass is zero ----------------------------------------------------------------------

// dL/dmass of a line without mass: the one-sided derivative. Its plan vanishes, the shape w_k = softmax_k((g_k - D)/eps)
// does not: lambda = tau sum_k w_k (s D_k - mu_k), mu = s g + eps y, tau = kappa/(eps + kappa), and r/a tends to 1 (hard)
// or to S^tau' (product, soft; S = sum_k exp((g_k - D_k)/eps), tau' = eps/(eps + kappa)). Infinite, hence left at 0, with
// the entropy reference and finite kappa.
template <typename T, typename Line>
WBM_DEVICE void implicit_at_zero(const AdjointArguments<T>& args) {
  for (std::int64_t p = block_y(); p < args.base.problem.batch; p += grid_y()) {
    const AdjointView<T> view(args, p);
    const LineView<Line, T> lines(view);
    const Side& side = lines.mine.side;
    if (view.refused() || !differentiable_at_zero(side)) continue;
    const double epsilon = view.state.epsilon, inverse_epsilon = view.state.inverse_epsilon;
    const double* partner = Line::kRows ? view.g : view.f;
    for (Line line(view.n, view.m); line.more(); line.next()) {
      const bool vanished = line.exists() && !(lines.mine.mass[line.index] > 0.0);
      if (!block_any(vanished)) continue;
      const std::int64_t length = vanished ? lines.other.size : 0;
      double top = -kInf, sum = 0.0, lambda = 0.0;
      for (std::int64_t k = line.first(); k < length; k += line.step())
        if (lines.other.active[k]) top = fmax(top, lines.exponent(line, k, partner[k]));
      top = line.reduce_all(top, Max{});
      for (std::int64_t k = line.first(); k < length; k += line.step()) {
        if (!lines.other.active[k]) continue;
        const double x = lines.exponent(line, k, partner[k]);
        if (!(x > -kInf)) continue;
        const double w = exp((x - top) * inverse_epsilon);
        sum += w;
        lambda += w * (-view.sharp * x - epsilon * lines.other_arrays.x[k]);
      }
      sum = line_sum(line, sum);
      lambda = line_sum(line, lambda);
      if (!line.leads() || !vanished || !(top > -kInf)) continue;
      lambda *= side.ratio / sum;
      const double log_sum = top * inverse_epsilon + log(sum);
      const double share = side.hard ? 1.0 : exp(log_sum * epsilon / (epsilon + side.kappa));
      double d = (side.hard ? 1.0 : 1.0 + epsilon / side.kappa) * share * lambda;
      if (side.dual_shift > 0.0) {
        const double w = side.hard ? -epsilon * log_sum : side.kappa * (1.0 - share);
        d += view.regularized * (w - epsilon * (share - lines.other.side.total));
      }
      lines.arrays.d_mass[line.index] = bounded<Real<T>>(d);
    }
  }
}

template <typename T>
WBM_KERNEL(kMaxThreads) implicit_at_zero_rows(AdjointArguments<T> args) {
  implicit_at_zero<T, RowLine>(args);
}

template <typename T>
WBM_KERNEL(kTileThreads) implicit_at_zero_columns(AdjointArguments<T> args) {
  implicit_at_zero<T, ColumnLine>(args);
}

// --- the outputs ----------------------------------------------------------------------

// dL/da = k1' (r/a) (s f + eps x) + w dW/da, k1' = 1 (entropy), 1 + eps/kappa1 (product), where the mass is positive; W, the
// regularised cost, has dW/da = f (hard) or kappa1 (1 - r/a) (soft), and with the product reference the dual potential in
// the place of f, and a further -eps (r/a - sum b).
template <typename T>
WBM_DEVICE void add_mass_gradient(const AdjointView<T>& view, const Marginal& side, const SideArrays& arrays,
                                  const double* potential, double other_total) {
  const Side& constants = side.side;
  const double k = constants.dual_shift > 0.0 && !constants.hard ? 1.0 + view.state.epsilon / constants.kappa : 1.0;
  for (std::int64_t i = thread_x(); i < side.size; i += threads_x()) {
    if (!(side.mass[i] > 0.0)) continue;
    const double share = arrays.sums[i] / side.mass[i];
    double d = arrays.d_mass[i];
    if (side.active[i]) d += k * share * (view.sharp * potential[i] + view.state.epsilon * arrays.x[i]);
    if (view.regularized != 0.0) {
      const double w = constants.hard ? side.dual(i, potential[i]) : constants.kappa * (1.0 - share);
      d += view.regularized * (w - constants.dual_shift * (share - other_total));
    }
    arrays.d_mass[i] = d;
  }
}

template <typename T>
WBM_DEVICE void bound_at_zero(const Marginal& side, const SideArrays& arrays) {
  for (std::int64_t i = thread_x(); i < side.size; i += threads_x())
    if (!(side.mass[i] > 0.0)) arrays.d_mass[i] = bounded<Real<T>>(arrays.d_mass[i]);
}

// Only directions that keep the total mean anything when both marginals are hard: sum a da = 0. Each thread writes the
// entries it has made.
WBM_DEVICE void write_side(const Marginal& side, const SideArrays& arrays, bool centred, double scale, double* out) {
  double mean = 0.0;
  for (std::int64_t i = thread_x(); i < side.size; i += threads_x())
    if (side.mass[i] > 0.0) mean += side.mass[i] * arrays.d_mass[i];
  mean = block_sum(mean);
  if (side.side.total > 0.0) mean /= side.side.total;
  if (!centred) mean = 0.0;
  for (std::int64_t i = thread_x(); i < side.size; i += threads_x()) out[i] = (arrays.d_mass[i] - mean) * scale;
}

WBM_DEVICE void fill_with(double* out, std::int64_t count, double value) {
  for (std::int64_t i = thread_x(); i < count; i += threads_x()) out[i] = value;
}

// What b was multiplied by: sum(a) over its own total where both marginals are hard.
template <typename T>
WBM_DEVICE double scale_of_b(const AdjointArguments<T>& args, const AdjointView<T>& view, std::int64_t p) {
  double total = 0.0;
  for (std::int64_t j = thread_x(); j < view.m; j += threads_x()) total += args.base.problem.b[p * view.m + j];
  total = block_sum(total);
  return view.both_hard() && total != view.rows.side.total ? view.rows.side.total / total : 1.0;
}

// A block per problem, O(n + m).
template <typename T>
WBM_KERNEL(kMaxThreads) write_masses(AdjointArguments<T> args) {
  const Adjoint& out = args.adjoint;
  for (std::int64_t p = block_x(); p < args.base.problem.batch; p += grid_x()) {
    const AdjointView<T> view(args, p);
    if (view.refused() || out.mode == Gradient::frozen) {
      const double value = view.refused() ? kNan : 0.0;
      fill_with(out.grad_a + p * view.n, view.n, value);
      fill_with(out.grad_b + p * view.m, view.m, value);
      if (thread_x() == 0) out.residual[p] = value;
      continue;
    }
    if (out.mode == Gradient::implicit) {
      add_mass_gradient(view, view.rows, view.row, view.f, view.columns.side.total);
      add_mass_gradient(view, view.columns, view.column, view.g, view.rows.side.total);
    } else {
      bound_at_zero<T>(view.rows, view.row);
      bound_at_zero<T>(view.columns, view.column);
      if (thread_x() == 0) out.residual[p] = 0.0;
    }
    write_side(view.rows, view.row, view.both_hard(), 1.0, out.grad_a + p * view.n);
    write_side(view.columns, view.column, view.both_hard(), scale_of_b(args, view, p), out.grad_b + p * view.m);
  }
}

}  // namespace wbm::cuda
