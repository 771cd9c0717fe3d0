// What a fused solve keeps beside the arrays of workspace.cuh, and the arguments of its kernel.
#pragma once

#include "cuda/solve/dispatch.h"
#include "cuda/problem/workspace.cuh"

namespace wbm::cuda {

// A row's part of f / eps = base + shift + log scale, what its sum has to be (`shift` is one number a problem), and the s = K v
// from which scale was computed.
struct RowIterate {
  double base, scale, target, s;
};

// In units of epsilon, two copies of each: an iteration reads one and writes the other, and is taken back by not turning over.
// g / eps = base - shift + log scale. While D is streamed every iteration is absorbed into base: then the scale of a row is its
// mass, and that of a column is 1 (its base is g / eps itself).
struct Iterates {
  RowIterate* rows[2];                       // (batch, n)
  double *column_base[2], *column_scale[2];  // (batch, m)
  double* windows;          // grid: (groups, blocks, window) what the blocks of a group publish to each other
  std::uint64_t* counters;  // grid: (groups) of the barrier; 0 before the kernel
};

template <typename T>
struct SolveArguments {
  Arguments<T> all;
  Iterates iterates;
  Plan plan;
};

inline std::size_t lay_out(const Problem& problem, const Plan& plan, void* base, Iterates& iterates) {
  if (plan.regime == Regime::launches) return 0;
  const std::int64_t rows = problem.batch * problem.n, columns = problem.batch * problem.m;
  detail::Cursor cursor{static_cast<char*>(base)};
  for (int copy = 0; copy < 2; ++copy) {
    cursor.take(iterates.rows[copy], rows);
    for (double** array : {&iterates.column_base[copy], &iterates.column_scale[copy]}) cursor.take(*array, columns);
  }
  const bool grid = plan.regime == Regime::grid;
  cursor.take(iterates.windows, grid ? plan.groups * plan.blocks * plan.window : 0);
  cursor.take(iterates.counters, grid ? plan.groups : 0);
  return cursor.used;
}

}  // namespace wbm::cuda
