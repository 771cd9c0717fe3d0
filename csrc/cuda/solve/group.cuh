// The blocks that solve one problem together. Each has a window, in which it publishes its sums; of(rank) is the window
// of the block of that rank. A barrier makes what was written before it, window or device memory, visible after it.
#pragma once

#include "cuda/solve/iterates.cuh"

namespace wbm::cuda {

// One block; the window is in its shared memory.
struct BlockGroup {
  Shared<double> window;
  std::int64_t first, step;  // problems first, first + step, ...

  template <typename T>
  WBM_DEVICE explicit BlockGroup(const SolveArguments<T>& args)
      : window(dynamic_shared<double>(args.plan.layout.window)), first(block_x()), step(grid_x()) {}

  WBM_DEVICE int rank() const { return 0; }
  WBM_DEVICE int size() const { return 1; }
  WBM_DEVICE void barrier(Site site = Site::here()) const { block_barrier(site); }
  WBM_DEVICE Shared<double> own() const { return window; }
  WBM_DEVICE Shared<double> of(int) const { return window; }
};

// A cluster of blocks; they read each other's shared memory.
struct ClusterGroup {
  Shared<double> window;
  std::int64_t first, step;

  template <typename T>
  WBM_DEVICE explicit ClusterGroup(const SolveArguments<T>& args)
      : window(dynamic_shared<double>(args.plan.layout.window)), first(block_x() / cluster_size()),
        step(grid_x() / cluster_size()) {}

  WBM_DEVICE int rank() const { return cluster_rank(); }
  WBM_DEVICE int size() const { return cluster_size(); }
  WBM_DEVICE void barrier(Site site = Site::here()) const { cluster_barrier(site); }
  WBM_DEVICE Shared<double> own() const { return window; }
  WBM_DEVICE Shared<double> of(int rank) const { return peer(window, rank); }
};

// Blocks of a cooperative launch; the windows are in device memory.
struct GridGroup {
  double* windows;
  std::uint64_t* counter;
  std::int64_t first, step, width;
  int place, blocks;

  template <typename T>
  WBM_DEVICE explicit GridGroup(const SolveArguments<T>& args)
      : first(block_x() / args.plan.blocks), step(args.plan.groups), width(args.plan.window),
        place(static_cast<int>(block_x() % args.plan.blocks)), blocks(args.plan.blocks) {
    windows = args.iterates.windows + first * blocks * width;
    counter = args.iterates.counters + first;
  }

  WBM_DEVICE int rank() const { return place; }
  WBM_DEVICE int size() const { return blocks; }
  WBM_DEVICE void barrier(Site site = Site::here()) const { group_barrier(counter, blocks, site); }
  WBM_DEVICE double* own() const { return of(place); }
  WBM_DEVICE double* of(int rank) const { return windows + rank * width; }
};

}  // namespace wbm::cuda
