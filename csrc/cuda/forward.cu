// Log-domain Sinkhorn on the device: one stream-ordered sequence of launches. The host decides nothing on the way: all
// max_iter iterations are enqueued, and blocks of a problem that is finished return at once.
#include <algorithm>
#include <cstdint>

#include "cuda/device.cuh"
#include "cuda/kernels_iterate.cuh"
#include "cuda/kernels_open.cuh"
#include "cuda/kernels_report.cuh"
#include "cuda/solver.h"
#include "cuda/workspace.cuh"

namespace wbm::cuda {
namespace {

Extent grid(std::int64_t x, std::int64_t y = 1) {
  return {static_cast<unsigned>(std::clamp<std::int64_t>(x, 1, kMaxGridX)),
          static_cast<unsigned>(std::clamp<std::int64_t>(y, 1, kMaxGridY))};
}

// A one-dimensional block for `count` values: whole warps, at most `limit` threads.
Extent block(std::int64_t count, std::int64_t limit) {
  const std::int64_t whole = std::min(count, limit) + kWarp - 1;
  return {static_cast<unsigned>(std::max<std::int64_t>(whole / kWarp * kWarp, kWarp)), 1};
}

// The three shapes of a launch: a block per problem, a block per row, a tile per kTileColumns columns.
template <typename T>
class Launcher {
 public:
  Launcher(const Arguments<T>& args, void* stream) : args_(args), stream_(stream) {}

  using Kernel = void (*)(Arguments<T>);

  void problems(Kernel kernel) const {
    const Problem& problem = args_.problem;
    launch(kernel, grid(problem.batch), block(std::max(problem.n, problem.m), kMaxThreads), args_, stream_);
  }
  void rows(Kernel kernel) const {
    launch(kernel, grid(args_.problem.n, args_.problem.batch), block(args_.problem.m, kRowThreads), args_, stream_);
  }
  void columns(Kernel kernel) const {
    const std::int64_t tiles = (args_.problem.m + kTileColumns - 1) / kTileColumns;
    launch(kernel, grid(tiles, args_.problem.batch), Extent{kTileColumns, kTileRows}, args_, stream_);
  }

 private:
  static constexpr std::int64_t kRowThreads = 128;

  Arguments<T> args_;
  void* stream_;
};

template <typename T>
void enqueue(const Problem& problem, const Options& options, const Solution& solution, void* workspace, void* stream) {
  Arguments<T> args{problem, options, solution, {}};
  lay_out(problem, workspace, args.work);
  const Launcher<T> launcher(args, stream);
  const bool test = options.tol > 0.0;
  const bool finishes = solution.history || (test && options.criterion == Criterion::scaling) ||
                        (test && options.method == Method::accelerated);

  launcher.problems(open_masses<T>);
  launcher.rows(scan_rows<T>);
  launcher.columns(scan_columns<T>);
  launcher.problems(start<T>);
  for (std::int64_t iteration = 0; iteration < options.max_iter; ++iteration) {
    launcher.rows(row_log_sums<T>);
    launcher.problems(test_and_update_rows<T>);
    launcher.columns(update_columns<T>);
    if (finishes) launcher.problems(finish_iteration<T>);
  }
  launcher.rows(report_rows<T>);
  launcher.columns(report_columns<T>);
  launcher.problems(report<T>);
  launcher.problems(set_gauge<T>);
}

}  // namespace

std::size_t workspace_bytes(const Problem& problem) {
  Workspace work;
  return lay_out(problem, nullptr, work);
}

void forward(const Problem& problem, const Options& options, const Solution& solution, void* workspace, void* stream) {
  if (problem.batch == 0) return;
  problem.float64 ? enqueue<double>(problem, options, solution, workspace, stream)
                  : enqueue<float>(problem, options, solution, workspace, stream);
}

}  // namespace wbm::cuda
