// Gradients on the device: one stream-ordered sequence of launches. The host decides nothing on the way but by sizes.
#include "cuda/backward.h"

#include <algorithm>
#include <cstdint>

#include "cuda/adjoint.cuh"
#include "cuda/device.cuh"
#include "cuda/kernels_masses.cuh"
#include "cuda/kernels_open.cuh"
#include "cuda/kernels_plan.cuh"
#include "cuda/kernels_system.cuh"
#include "cuda/kernels_unrolled.cuh"

namespace wbm::cuda {
namespace {

#ifndef WBM_SYSTEM_BLOCK_SIDE
#define WBM_SYSTEM_BLOCK_SIDE 256
#endif
constexpr std::int64_t kBlockSide = WBM_SYSTEM_BLOCK_SIDE;  // longest side of a problem whose system one block solves
constexpr std::int64_t kProducts = 500;                     // enqueued for a larger one
constexpr std::int64_t kRowThreads = 128;

Extent grid(std::int64_t x, std::int64_t y = 1) {
  return {static_cast<unsigned>(std::clamp<std::int64_t>(x, 1, kMaxGridX)),
          static_cast<unsigned>(std::clamp<std::int64_t>(y, 1, kMaxGridY))};
}

// A one-dimensional block for `count` values: whole warps, at most `limit` threads.
Extent block(std::int64_t count, std::int64_t limit) {
  const std::int64_t whole = std::min(count, limit) + kWarp - 1;
  return {static_cast<unsigned>(std::max<std::int64_t>(whole / kWarp * kWarp, kWarp)), 1};
}

template <typename T>
class Sequence {
 public:
  Sequence(const AdjointArguments<T>& args, void* stream)
      : args_(args), batch_(args.base.problem.batch), n_(args.base.problem.n), m_(args.base.problem.m), stream_(stream) {}

  void run() {
    open();
    switch (args_.adjoint.mode) {
      case Gradient::frozen:
        problems(write_masses<T>);
        if (args_.adjoint.grad_cost) rows(write_frozen_cost<T>);
        return;
      case Gradient::implicit:
        return implicit();
      case Gradient::unrolled:
        return unrolled();
    }
  }

 private:
  // The shapes of a launch: a block per problem, a block per row, a tile per kTileColumns columns.
  template <typename Values>
  void problems(void (*kernel)(Values), const Values& args) const {
    launch(kernel, grid(batch_), block(std::max(n_, m_), kMaxThreads), args, stream_);
  }
  template <typename Values>
  void rows(void (*kernel)(Values), const Values& args) const {
    launch(kernel, grid(n_, batch_), block(m_, kRowThreads), args, stream_);
  }
  template <typename Values>
  void columns(void (*kernel)(Values), const Values& args) const {
    launch(kernel, grid((m_ + kTileColumns - 1) / kTileColumns, batch_), Extent{kTileColumns, kTileRows}, args, stream_);
  }
  using Kernel = void (*)(AdjointArguments<T>);
  void problems(Kernel kernel) const { problems<AdjointArguments<T>>(kernel, args_); }
  void rows(Kernel kernel) const { rows<AdjointArguments<T>>(kernel, args_); }
  void columns(Kernel kernel) const { columns<AdjointArguments<T>>(kernel, args_); }

  // What the forward begins with: checks, constants, what may carry mass.
  void open() const {
    problems(open_masses<T>, args_.base);
    rows(scan_rows<T>, args_.base);
    columns(scan_columns<T>, args_.base);
  }

  void implicit() const {
    rows(fill_plan<T>);
    columns(sum_plan<T>);
    problems(open_system<T>);
    if (std::max(n_, m_) <= kBlockSide) {
      // Eight entries of the plan a thread and product, where there are so many.
      launch(solve_in_block<T>, grid(batch_), block(n_ * m_ / 8, kMaxThreads), args_, stream_);
    } else {
      solve_by_launches();
    }
    rows(implicit_at_zero_rows<T>);
    columns(implicit_at_zero_columns<T>);
    problems(write_masses<T>);
    if (args_.adjoint.grad_cost) rows(write_implicit_cost<T>);
  }

  // A stage whose lines are those of the kept side (`kept`), or of the other one.
  template <Stage kStage>
  void stage(bool kept) const {
    kept == (m_ <= n_) ? columns(stage_columns<T, kStage>) : rows(stage_rows<T, kStage>);
  }

  void solve_by_launches() const {
    stage<Stage::open>(true);
    problems(move_vectors<T, Moment::start>);
    for (std::int64_t product = 0; product < kProducts; ++product) {
      stage<Stage::eliminate>(false);
      stage<Stage::keep>(true);
      problems(move_vectors<T, Moment::step>);
    }
    problems(move_vectors<T, Moment::end>);
    stage<Stage::close>(false);
  }

  void unrolled() {
    problems(open_replay<T>);
    rows(sum_last_rows<T>);
    columns(sum_last_columns<T>);
    rows(pull_last_rows<T>);
    columns(pull_last_columns<T>);
    for (args_.iteration = args_.adjoint.max_iter; args_.iteration >= 1; --args_.iteration) {
      rows(pull_rows<T>);
      columns(pull_columns<T>);
    }
    problems(write_masses<T>);
    rows(write_replayed_cost<T>);
  }

  AdjointArguments<T> args_;
  const std::int64_t batch_, n_, m_;
  void* const stream_;
};

template <typename T>
void enqueue(const Problem& problem, const Adjoint& adjoint, void* workspace, void* stream) {
  AdjointArguments<T> args{};
  args.base.problem = problem;
  args.adjoint = adjoint;
  lay_out(problem, adjoint.mode, workspace, args.base.work, args.work);
  if (!gathers_apart(problem, adjoint.mode)) args.work.matrix = static_cast<double*>(adjoint.grad_cost);
  Sequence<T>(args, stream).run();
}

}  // namespace

std::size_t backward_workspace_bytes(const Problem& problem, Gradient mode) {
  Workspace work;
  AdjointWorkspace more;
  return lay_out(problem, mode, nullptr, work, more);
}

void backward(const Problem& problem, const Adjoint& adjoint, void* workspace, void* stream) {
  if (problem.batch == 0) return;
  problem.float64 ? enqueue<double>(problem, adjoint, workspace, stream)
                  : enqueue<float>(problem, adjoint, workspace, stream);
}

}  // namespace wbm::cuda
