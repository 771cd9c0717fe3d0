// The exact derivative of the iterations that were run, by replaying them backwards from the stored potentials: two
// launches an iteration, two exponentials an entry. Formulae: cpu/unrolled.cpp.
//
// With h = (potential - s log mass) / ratio, minus eps times the log sum, the softmax of an update needs no new log sum:
// w_ij = exp((f_i + h_j - D_ij) / eps) for the update of g, exp((h_i + g_j - D_ij) / eps) for that of f.
#pragma once

#include "cuda/gradient/masses.cuh"
#include "cuda/gradient/lines.cuh"

namespace wbm::cuda {

// The recorded potentials of problem p after iteration l.
template <typename T>
struct History {
  const double* slots;
  std::int64_t n, m, iterations;

  WBM_DEVICE History(const AdjointArguments<T>& args, std::int64_t p)
      : slots(args.adjoint.history + p * (args.adjoint.max_iter + 1) * (args.base.problem.n + args.base.problem.m)),
        n(args.base.problem.n), m(args.base.problem.m), iterations(args.adjoint.iterations[p]) {}

  WBM_DEVICE const double* f(std::int64_t l) const { return slots + l * (n + m); }
  WBM_DEVICE const double* g(std::int64_t l) const { return f(l) + n; }
};

// A block per problem, O(n + m): q of the potentials before the gauge was set.
template <typename T>
WBM_KERNEL(kMaxThreads) open_replay(AdjointArguments<T> args) {
  for (std::int64_t p = block_x(); p < args.base.problem.batch; p += grid_x()) {
    const AdjointView<T> view(args, p);
    if (view.refused()) continue;
    const History<T> history(args, p);
    open_upstream(args, view, p, history.f(history.iterations), history.g(history.iterations));
  }
}

// log of the last plan
template <typename T>
WBM_DEVICE double log_last(const AdjointView<T>& view, const double* f, const double* g, std::int64_t i, std::int64_t j) {
  return view.rows.active[i] ? (view.matrix.exponent(i, j, g[j]) + f[i]) * view.state.inverse_epsilon : -kInf;
}

// O(n m): sums of the last plan over the lines of one side, and what the regularised cost W makes of them. The slope of W
// in a sum: potential - shift log mass + kappa log(sum / mass) (the last term where soft); W also holds the masses
// themselves: kappa (1 - sum / mass) - shift (sum / mass - other total).
template <typename T, typename Line>
WBM_DEVICE void sum_last(const AdjointArguments<T>& args) {
  for (std::int64_t p = block_y(); p < args.base.problem.batch; p += grid_y()) {
    const AdjointView<T> view(args, p);
    if (view.refused()) continue;
    const LineView<Line, T> lines(view);
    const Side& side = lines.mine.side;
    const History<T> history(args, p);
    const double *f = history.f(history.iterations), *g = history.g(history.iterations);
    const std::int64_t length = lines.other.size;
    for (Line line(view.n, view.m); line.more(); line.next()) {
      double sum = 0.0;
      for (std::int64_t k = line.first(); line.exists() && k < length; k += line.step())
        sum += exp(log_last(view, f, g, line.row(k), line.column(k)));
      sum = line_sum(line, sum);
      if (!line.leads()) continue;
      const std::int64_t i = line.index;
      const double potential = (Line::kRows ? f : g)[i];
      double slope = 0.0;
      if (lines.mine.active[i]) {
        slope = lines.mine.dual(i, potential);
        if (!side.hard && sum > 0.0) slope += side.kappa * (log(sum) - lines.mine.log_mass[i]);
      }
      lines.arrays.h[i] = slope;
      if (view.regularized == 0.0 || !(lines.mine.mass[i] > 0.0)) continue;
      const double share = sum / lines.mine.mass[i];
      lines.arrays.d_mass[i] += view.regularized * ((side.hard ? 0.0 : side.kappa * (1.0 - share)) -
                                                    side.dual_shift * (share - lines.other.side.total));
    }
  }
}

// phi = -ratio eps log sum_k exp((partner_k - D_k) / eps), the potential of one unit of mass; -inf where it has no partner.
template <typename T, typename Line>
WBM_DEVICE double unit_potential(const LineView<Line, T>& lines, const Line& line, const double* partner,
                                 std::int64_t length) {
  const State& state = lines.view.state;
  LogSum s = empty_log_sum();
  for (std::int64_t k = line.first(); k < length; k += line.step())
    if (lines.other.active[k]) add(s, lines.exponent(line, k, partner[k]), state.inverse_epsilon);
  s = line.reduce_all(s, MergeLogSums{state.inverse_epsilon});
  return s.max > -kInf ? -lines.mine.side.ratio * (s.max + state.epsilon * log(s.sum)) : -kInf;
}

// The last plan's share of the derivative at a zero mass: a unit of it would carry exp((phi + potential_k - D_k) / eps).
// The entropy of the regularised cost has an infinite slope there with the entropy reference: left out.
template <typename T, typename Line>
WBM_DEVICE void last_at_zero(const LineView<Line, T>& lines, const Line& line, bool vanished, const double* partner,
                             const double* last) {
  const AdjointView<T>& view = lines.view;
  const Side& side = lines.mine.side;
  const std::int64_t length = vanished ? lines.other.size : 0;
  const double phi = unit_potential(lines, line, partner, length);
  double share = 0.0, spent = 0.0, slopes = 0.0;
  for (std::int64_t k = line.first(); phi > -kInf && k < length; k += line.step()) {
    const double x = lines.exponent(line, k, last[k]);
    if (!lines.other.active[k] || !(x > -kInf)) continue;
    const double carried = exp((phi + x) * view.state.inverse_epsilon);
    share += carried;
    spent += carried * view.sharp * lines.cost(line, k);
    slopes += carried * lines.other_arrays.h[k];
  }
  share = line_sum(line, share);
  spent = line_sum(line, spent);
  slopes = line_sum(line, slopes);
  if (!line.leads() || !vanished || !(phi > -kInf)) return;
  const double w = side.dual_shift > 0.0 ? view.regularized : 0.0;
  const double soft = side.hard || !(share > 0.0) ? 0.0 : side.kappa * (share * log(share) - share + 1.0);
  lines.arrays.d_mass[line.index] =
      spent + w * (slopes + share * phi + soft - side.dual_shift * (share - lines.other.side.total));
}

// O(n m): the costs as functions of the last plan. With G = s D + w (alpha_i + beta_j), alpha and beta the slopes, dL/dP = G
// and dP = P (df + dg - dD) / eps. The pass over the rows sets the gradient in D.
template <typename T, typename Line>
WBM_DEVICE void pull_last(const AdjointArguments<T>& args) {
  for (std::int64_t p = block_y(); p < args.base.problem.batch; p += grid_y()) {
    const AdjointView<T> view(args, p);
    if (view.refused()) continue;
    const LineView<Line, T> lines(view);
    const History<T> history(args, p);
    const std::int64_t last = history.iterations, length = lines.other.size;
    const double *f = history.f(last), *g = history.g(last);
    const bool differentiable = differentiable_at_zero(lines.mine.side) && (!Line::kRows || last > 0);
    for (Line line(view.n, view.m); line.more(); line.next()) {
      double sum = 0.0;
      for (std::int64_t k = line.first(); line.exists() && k < length; k += line.step()) {
        const std::int64_t i = line.row(k), j = line.column(k);
        const double x = exp(log_last(view, f, g, i, j));
        double d = 0.0;
        if (x > 0.0) {
          const double slope = view.sharp * view.matrix.at(i, j) + view.regularized * (view.row.h[i] + view.column.h[j]);
          const double part = x * slope * view.state.inverse_epsilon;
          sum += part;
          d = x * (view.sharp + view.regularized) - part;
        }
        if (Line::kRows) lines.entry(line, k) = d;
      }
      sum = line_sum(line, sum);
      if (line.leads()) lines.arrays.q[line.index] += sum;
      const bool vanished = differentiable && line.exists() && !(lines.mine.mass[line.index] > 0.0);
      if (!block_any(vanished)) continue;
      if (Line::kRows)
        last_at_zero(lines, line, vanished, history.g(last - 1), g);
      else
        last_at_zero(lines, line, vanished, f, f);
    }
  }
}

WBM_DEVICE double unshift(const Marginal& side, std::int64_t k, double potential) {
  return side.active[k] ? (potential - side.side.strength * side.log_mass[k]) / side.side.ratio : -kInf;
}

// O(n m): through the update of the other side's potentials in iteration l, into this side's q, dL/dD and, where a mass is
// zero, its gradient: -eps sum_k flow_k exp((phi + h_k - D_k) / eps), what a unit of it adds to the other side's log sums.
//     rows: q_g of iteration l through g(f(l)); columns: q_f of iteration l through f(g(l - 1)).
template <typename T, typename Line>
WBM_DEVICE void pull(const AdjointArguments<T>& args) {
  const std::int64_t l = args.iteration;
  for (std::int64_t p = block_y(); p < args.base.problem.batch; p += grid_y()) {
    const AdjointView<T> view(args, p);
    if (view.refused()) continue;
    const History<T> history(args, p);
    if (l > history.iterations) continue;
    const LineView<Line, T> lines(view);
    const Side &side = lines.mine.side, &other_side = lines.other.side;
    const double* mine = Line::kRows ? history.f(l) : history.g(l - 1);   // potentials that the update has read
    const double* other = Line::kRows ? history.g(l) : history.f(l);      // and made
    const double* earlier = Line::kRows ? history.g(l - 1) : history.f(l - 1);  // potentials that `mine` was made of
    const double inverse_epsilon = view.state.inverse_epsilon;
    const bool differentiable = differentiable_at_zero(side) && (Line::kRows || l > 1);  // the start does not depend on b
    const bool keeps = Line::kRows && l == history.iterations;  // q_f of the last plan; an update replaces all others
    const auto flow = [&](std::int64_t k) { return lines.other.active[k] ? other_side.ratio * lines.other_arrays.q[k] : 0.0; };
    for (Line line(view.n, view.m); line.more(); line.next()) {
      const bool carries = line.exists() && (!Line::kRows || lines.mine.active[line.index]) && mine[line.index] > -kInf;
      double sum = 0.0;
      for (std::int64_t k = line.first(); carries && k < lines.other.size; k += line.step()) {
        if (!Line::kRows && !view.rows.active[k]) continue;
        const double h = unshift(lines.other, k, other[k]);
        const double part = exp((lines.exponent(line, k, h) + mine[line.index]) * inverse_epsilon) * flow(k);
        sum += part;
        lines.entry(line, k) += part;
      }
      sum = line_sum(line, sum);
      if (line.leads()) {
        const std::int64_t i = line.index;
        const double before = lines.arrays.q[i], q = (keeps ? before : 0.0) - sum;
        // dg_j / d log b_j = s2 is due before q_g is replaced, df_i / d log a_i = s1 as soon as q_f is whole.
        const double due = Line::kRows ? q : before;
        if (lines.mine.active[i]) lines.arrays.d_mass[i] += side.strength * due / lines.mine.mass[i];
        lines.arrays.q[i] = q;
      }
      const bool vanished = differentiable && line.exists() && !(lines.mine.mass[line.index] > 0.0);
      if (!block_any(vanished)) continue;
      const std::int64_t length = vanished ? lines.other.size : 0;
      const double phi = unit_potential(lines, line, earlier, length);
      double d = 0.0;
      for (std::int64_t k = line.first(); phi > -kInf && k < length; k += line.step()) {
        const double x = lines.exponent(line, k, unshift(lines.other, k, other[k]));
        if (x > -kInf && flow(k) != 0.0) d += flow(k) * exp((phi + x) * inverse_epsilon);
      }
      d = line_sum(line, d);
      if (line.leads() && vanished) lines.arrays.d_mass[line.index] -= view.state.epsilon * d;
    }
  }
}

template <typename T>
WBM_KERNEL(kMaxThreads) sum_last_rows(AdjointArguments<T> args) {
  sum_last<T, RowLine>(args);
}
template <typename T>
WBM_KERNEL(kTileThreads) sum_last_columns(AdjointArguments<T> args) {
  sum_last<T, ColumnLine>(args);
}
template <typename T>
WBM_KERNEL(kMaxThreads) pull_last_rows(AdjointArguments<T> args) {
  pull_last<T, RowLine>(args);
}
template <typename T>
WBM_KERNEL(kTileThreads) pull_last_columns(AdjointArguments<T> args) {
  pull_last<T, ColumnLine>(args);
}
template <typename T>
WBM_KERNEL(kMaxThreads) pull_rows(AdjointArguments<T> args) {
  pull<T, RowLine>(args);
}
template <typename T>
WBM_KERNEL(kTileThreads) pull_columns(AdjointArguments<T> args) {
  pull<T, ColumnLine>(args);
}

// A block per row: dL/dD in its own type, NaN where the problem was refused.
template <typename T>
WBM_KERNEL(kMaxThreads) write_replayed_cost(AdjointArguments<T> args) {
  for (std::int64_t p = block_y(); p < args.base.problem.batch; p += grid_y()) {
    const AdjointView<T> view(args, p);
    for (std::int64_t i = block_x(); i < view.n; i += grid_x()) {
      T* out = static_cast<T*>(args.adjoint.grad_cost) + (p * view.n + i) * view.m;
      for (std::int64_t j = thread_x(); j < view.m; j += threads_x())
        out[j] = narrowed<T>(view.refused() ? kNan : view.entries[i * view.m + j]);
    }
  }
}

}  // namespace wbm::cuda
