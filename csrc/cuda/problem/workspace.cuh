// What the kernels share: the arguments of a solve, the state of every problem, the arrays of the workspace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "cuda/runtime/device.cuh"
#include "problem.h"

namespace wbm::cuda {

// The type in which sums and stored matrices are kept where D has type T: float32 for 16 bits.
template <typename T>
struct Arithmetic {
  using Type = T;
};
template <>
struct Arithmetic<Half> {
  using Type = float;
};
template <>
struct Arithmetic<Bfloat16> {
  using Type = float;
};
template <typename T>
using Real = typename Arithmetic<T>::Type;

inline constexpr double kInf = std::numeric_limits<double>::infinity();
inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// One marginal's constants: potential_i = strength log mass_i - ratio eps log-sum_i.
struct Side {
  double kappa;
  double ratio;       // lambda / eps = kappa / (eps + kappa), 1 where hard
  double strength;    // lambda (entropy) or eps (product)
  double dual_shift;  // dual potential = potential - dual_shift log mass: 0 (entropy), eps (product)
  double total;       // sum of the masses
  bool hard;
};

// One problem. A kernel's blocks skip a problem that is finished: that is all the flow control there is.
struct State {
  double epsilon, inverse_epsilon;
  Side rows, columns;
  std::uint64_t cost_max;    // bits of the largest |D_ij| that may carry mass
  double best;               // smallest residual so far
  std::int64_t iterations;   // f updates so far
  std::int32_t since_best;   // tests since the residual last fell
  std::int32_t status;       // union of Status bits
  std::int32_t finished;     // refused, met or stagnated
  double plan_mass, slack;   // registers.cuh: the plan's mass; relative error of its columns
};

// Arrays of the workspace, problem after problem: 49 n + 33 m bytes and a State per problem.
struct Workspace {
  State* states;                          // (batch)
  double *log_a, *row_max, *row_sum;      // (batch, n): log sum_j exp(x_ij / eps) = row_max / eps + log(row_sum)
  double *old_f, *row_mass, *row_cost;    // (batch, n): f before the update (scaling criterion); P1; (P.D)1
  double *b, *log_b, *old_g, *column_mass;  // (batch, m): rescaled b and its log; g before the update; P'1
  std::uint8_t *row_active, *column_active;  // 1 = positive mass, and a partner that has mass too
};

template <typename T>
struct Arguments {
  Problem problem;
  Options options;
  Solution solution;
  Workspace work;
};

namespace detail {

inline constexpr std::size_t kAlignment = 256;

struct Cursor {
  char* base;
  std::size_t used = 0;

  template <typename Element>
  void take(Element*& array, std::int64_t count) {
    array = base ? reinterpret_cast<Element*>(base + used) : nullptr;
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(Element);
    used += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
};

}  // namespace detail

// Lays the arrays out from `base` (aligned to 256 bytes) and returns the bytes they take; a null base only counts.
inline std::size_t lay_out(const Problem& problem, void* base, Workspace& work) {
  const std::int64_t rows = problem.batch * problem.n, columns = problem.batch * problem.m;
  detail::Cursor cursor{static_cast<char*>(base)};
  cursor.take(work.states, problem.batch);
  for (double** array : {&work.log_a, &work.row_max, &work.row_sum, &work.old_f, &work.row_mass, &work.row_cost})
    cursor.take(*array, rows);
  for (double** array : {&work.b, &work.log_b, &work.old_g, &work.column_mass}) cursor.take(*array, columns);
  cursor.take(work.row_active, rows);
  cursor.take(work.column_active, columns);
  return cursor.used;
}

}  // namespace wbm::cuda
