// What the kernels of the gradients share: their arguments, the arrays of their workspace, one problem as they see it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/problem/marginal.cuh"
#include "cuda/problem/workspace.cuh"

namespace wbm::cuda {

// Arrays of one side, (batch, n) or (batch, m).
struct SideArrays {
  double* sums;    // of the plan; 0 where the line counts as empty
  double* h;       // (P.E)1, then the right side of the system; unrolled: the slope of the costs in the sums
  double* q;       // upstream gradient of the potentials; unrolled: their running adjoint
  double* x;       // solution of the system
  double* d_mass;  // gradient in the masses
  double *passed, *top, *total;  // what an empty line passed on: its q, and its log sum = top / eps + log(total)

  WBM_DEVICE SideArrays from(std::int64_t first) const {
    return {sums + first, h + first, q + first, x + first, d_mass + first, passed + first, top + first, total + first};
  }
};

struct AdjointWorkspace {
  SideArrays rows, columns;
  double* matrix;       // (batch, n, m). Implicit: the plan, the kept side contiguous; unrolled: the gradient in D
  std::int32_t* idle;   // (batch) 1 = no system to solve; implicit only, as all that follows
  double* carried;      // (groups, max(n, m)): the eliminated side
  double* product;      // (groups, min(n, m)): the kept side, and so all that follows
  double *windows, *own;    // (groups * blocks, min(n, m)) and four times as much: each block's
  std::uint64_t* counters;  // (groups), of the barriers
};

// The blocks that solve one system, and how many systems are solved at once.
struct Team {
  int blocks = 1, groups = 1;
};

template <typename T>
struct AdjointArguments {
  Arguments<T> base;  // problem and the forward's workspace; options and solution are not used
  Adjoint adjoint;
  AdjointWorkspace work;
  Team team;
  std::int64_t iteration = 0;  // unrolled: the one that is replayed
};

// The gradient in D is gathered in float64: where D is float64, in the output itself.
inline bool gathers_apart(const Problem& problem, Gradient mode) {
  return mode == Gradient::implicit || (mode == Gradient::unrolled && !problem.float64);
}

// Lays the arrays out behind those of the forward and returns the bytes all of them take; a null base only counts.
inline std::size_t lay_out(const Problem& problem, Gradient mode, const Team& team, void* base, Workspace& work,
                           AdjointWorkspace& more) {
  const std::int64_t rows = problem.batch * problem.n, columns = problem.batch * problem.m;
  detail::Cursor cursor{static_cast<char*>(base), lay_out(problem, base, work)};
  more = {};
  if (mode == Gradient::frozen) return cursor.used;
  const auto side = [&](SideArrays& arrays, std::int64_t count) {
    for (double** array : {&arrays.sums, &arrays.h, &arrays.q, &arrays.d_mass}) cursor.take(*array, count);
    if (mode != Gradient::implicit) return;
    for (double** array : {&arrays.x, &arrays.passed, &arrays.top, &arrays.total}) cursor.take(*array, count);
  };
  side(more.rows, rows);
  side(more.columns, columns);
  if (gathers_apart(problem, mode)) cursor.take(more.matrix, rows * problem.m);
  if (mode != Gradient::implicit) return cursor.used;
  const std::int64_t saved = problem.m <= problem.n ? problem.m : problem.n, blocks = team.groups * team.blocks;
  cursor.take(more.idle, problem.batch);
  cursor.take(more.carried, team.groups * (problem.n + problem.m - saved));
  cursor.take(more.product, team.groups * saved);
  cursor.take(more.windows, blocks * saved);
  cursor.take(more.own, 4 * blocks * saved);
  cursor.take(more.counters, team.groups);
  return cursor.used;
}

// Problem p.
template <typename T>
struct AdjointView {
  std::int64_t n, m;
  const State& state;
  Matrix<T> matrix;
  Marginal rows, columns;
  SideArrays row, column;
  const double *f, *g;
  double sharp, regularized;  // upstream gradients of the two costs
  double* entries;            // the n x m array

  WBM_DEVICE AdjointView(const AdjointArguments<T>& args, std::int64_t p)
      : n(args.base.problem.n), m(args.base.problem.m), state(args.base.work.states[p]), matrix(args.base.problem, p),
        rows(rows_of(args.base, state, p)), columns(columns_of(args.base, state, p)), row(args.work.rows.from(p * n)),
        column(args.work.columns.from(p * m)), f(args.adjoint.f + p * n), g(args.adjoint.g + p * m),
        sharp(args.adjoint.grad_sharp[p]), regularized(args.adjoint.grad_regularized[p]),
        entries(args.work.matrix + p * n * m) {}

  WBM_DEVICE bool refused() const { return (state.status & kRefused) != 0; }
  WBM_DEVICE bool both_hard() const { return rows.side.hard && columns.side.hard; }

  // log P_ij, -inf where nothing may flow
  WBM_DEVICE double log_plan(std::int64_t i, std::int64_t j) const {
    return rows.active[i] ? (matrix.exponent(i, j, g[j]) + f[i]) * state.inverse_epsilon : -kInf;
  }
};

// The derivative in the masses is finite where a mass is zero: with hard marginals and with the product reference
// exp(f/eps) is proportional to the mass; with the entropy reference and a finite kappa it is not.
WBM_DEVICE bool differentiable_at_zero(const Side& side) { return side.hard || side.dual_shift > 0.0; }

template <typename T>
inline constexpr double kLargest = static_cast<double>(std::numeric_limits<T>::max());

// A one-sided derivative that leaves the range of the masses' type is returned as 0, like one that is infinite.
template <typename T>
WBM_DEVICE double bounded(double d) {
  return fabs(d) <= kLargest<T> ? d : 0.0;
}

}  // namespace wbm::cuda
