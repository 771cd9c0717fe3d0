// Which regime solves a batch: one readable place. The crossovers are by capacity, not yet measured.
//
//     regime    blocks a problem           matrix                         window (partial sums)
//     registers 1                          registers                      -  (registers.cuh: float32 and 16 bits, sides to 224)
//     block     1                          shared memory, else streamed   shared memory
//     cluster   2, 4 or 8                  shared memory                  distributed shared memory
//     grid      what the chip has left     shared memory, else streamed   device memory
//     launches  -                          streamed, twice an iteration   -
//
// Where rows too long for registers are streamed, what is left of the shared memory keeps those that are being read.
// In order: the smallest of them whose shared memory holds the matrix; for few problems too large for a cluster the grid,
// which needs a cooperative launch; for a batch that fills the chip anyhow a block a problem, streamed. `launches` (the log
// domain, a kernel a step) solves where none of the others runs: rows too long for a block's shared memory on a device that
// launches no grid at once. Criterion and recording are the same in every regime.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cuda/runtime/device.cuh"
#include "problem.h"

namespace wbm::cuda {

enum class Regime { block, cluster, grid, launches, registers };

// Offsets into the dynamic shared memory of a block, in bytes; it begins with the buffer in which warps add up, and ends with
// the kernel matrix, or with the column sums and the rows that a sweep keeps.
struct Layout {
  std::size_t window = 0, weights = 0, kernel = 0, bytes = 0;
};
inline constexpr std::size_t kBuffer = 0;

struct Plan {
  Regime regime = Regime::launches;
  int blocks = 1;           // per problem
  int groups = 1;           // problems at once
  int threads = 0;          // per block
  std::int64_t band = 0;    // rows of a block
  bool stored = false;      // the kernel matrix lies in shared memory
  std::int64_t window = 0;  // doubles of a window: what one block publishes to the others, then two numbers per column
  Layout layout;
};

inline constexpr int kSolveThreads = 512;       // of a block; it takes all of them to hold a row of more than kWarpColumns
inline constexpr int kWarpColumns = 256;
inline constexpr int kHeader = 16;              // doubles of a window before the partial sums
inline constexpr int kBufferColumns = 128;      // columns that the warps of a block add up at a time
inline constexpr std::size_t kStatic = 4096;    // bytes kept for the arrays that kernels declare
inline constexpr int kMostKept = 4;             // streamed rows that a sweep keeps at a time

// Entries that a thread holds, beside as many column sums; more would spill.
template <typename S, bool streamed>
inline constexpr int kHold = sizeof(S) == 8 ? 8 : streamed ? 12 : 16;

// Streamed rows that are longer do not fit a block's registers: shared memory keeps them, as far as it goes.
#ifndef WBM_HELD_COLUMNS
#define WBM_HELD_COLUMNS kHold<S, true> * kSolveThreads
#endif
template <typename S>
inline constexpr int kHeldColumns = WBM_HELD_COLUMNS;

inline Layout layout_of(const Problem& problem, const Plan& plan) {
  const std::size_t entry = problem.float64 ? 8 : 4, columns = static_cast<std::size_t>(problem.m);
  const auto aligned = [](std::size_t bytes) { return (bytes + 15) / 16 * 16; };
  Layout layout;
  layout.window = kBuffer + aligned(plan.threads / kWarp * kBufferColumns * sizeof(double));
  const std::size_t window = plan.regime == Regime::grid ? 0 : aligned(static_cast<std::size_t>(plan.window) * sizeof(double));
  layout.weights = layout.window + window;
  layout.kernel = layout.weights + (plan.stored ? aligned(columns * entry) : 0);
  layout.bytes = layout.kernel + (plan.stored ? aligned(static_cast<std::size_t>(plan.band) * columns * entry) : 0);
  return layout;
}

inline Plan plan_with(const Problem& problem, Regime regime, int blocks, bool stored, const Limits& limits) {
  Plan plan;
  plan.regime = regime;
  plan.blocks = blocks;
  plan.groups = static_cast<int>(std::min<std::int64_t>(problem.batch, kMaxGridX / blocks));
  const std::int64_t entries = (problem.n + blocks - 1) / blocks * problem.m;
  plan.threads = entries > 128 * 128 || problem.m > kWarpColumns ? kSolveThreads : entries > 64 * 64 ? 256 : 128;
  plan.band = (problem.n + blocks - 1) / blocks;
  plan.stored = stored;
  plan.window = kHeader + 2 * problem.m;
  plan.layout = layout_of(problem, plan);
  const std::size_t row = static_cast<std::size_t>(problem.m) * (problem.float64 ? 8 : 4);
  const int held = problem.float64 ? kHeldColumns<double> : kHeldColumns<float>;
  if (!stored && problem.m > held && plan.layout.bytes + kStatic < limits.shared)
    plan.layout.bytes += std::min((kMostKept + 1) * row, limits.shared - kStatic - plan.layout.bytes);
  return plan;
}

inline bool fits(const Plan& plan, const Limits& limits) { return plan.layout.bytes + kStatic <= limits.shared; }

// The whole chip, shared among the problems of the batch: as many blocks each as there are multiprocessors for it.
inline Plan grid_plan(const Problem& problem, const Limits& limits) {
  const std::int64_t chip = limits.multiprocessors;
  const auto share = [&](std::int64_t blocks, bool stored) {
    Plan plan = plan_with(problem, Regime::grid, static_cast<int>(std::clamp<std::int64_t>(blocks, 1, chip)), stored, limits);
    plan.groups = static_cast<int>(std::min<std::int64_t>(problem.batch, chip / plan.blocks));
    return plan;
  };
  const std::int64_t fair = std::min(chip / std::min(problem.batch, chip), problem.n);
  for (std::int64_t blocks = fair; blocks <= std::min(chip, problem.n); ++blocks) {
    const Plan plan = share(blocks, true);
    if (fits(plan, limits)) return plan;
  }
  return share(fair, false);
}

// Whether one block's registers hold the kernel matrix. What is recorded, or watched by its scalings, has float64 sums from the
// start and goes the other ways.
inline constexpr std::int64_t kRegisterSide = 224;
inline constexpr int kRegisters = 65536;  // of a multiprocessor, for which the tiles are made

inline bool fits_registers(const Problem& problem, const Options& options, bool recorded, const Limits& limits) {
  const std::int64_t longest = std::max(problem.n, problem.m);
  return !problem.float64 && longest <= kRegisterSide && problem.n > 0 && problem.m > 0 && !recorded &&
         options.criterion == Criterion::marginal && limits.registers >= kRegisters;
}

inline Plan choose(const Problem& problem, const Limits& limits) {
  if (problem.n == 0 || problem.m == 0 || problem.batch == 0) return {};
  const Plan block = plan_with(problem, Regime::block, 1, true, limits);
  if (fits(block, limits)) return block;
  for (int blocks = 2; blocks <= limits.cluster && blocks <= problem.n; blocks *= 2) {
    const Plan cluster = plan_with(problem, Regime::cluster, blocks, true, limits);
    if (fits(cluster, limits)) return cluster;
  }
  const Plan streamed = plan_with(problem, Regime::block, 1, false, limits);
  if (problem.batch >= limits.multiprocessors && fits(streamed, limits)) return streamed;
  if (limits.cooperative) {
    const Plan grid = grid_plan(problem, limits);
    if (fits(grid, limits)) return grid;
  }
  return fits(streamed, limits) ? streamed : Plan{};
}

}  // namespace wbm::cuda
