// The CPU solver on fixed problems, for instruction counts: `instructions <case> forward|backward`, one thread, no Python.
//
// Only what runs inside `measured` is to be counted (callgrind: --toggle-collect=measured). Prints iterations and residual
// and exits 1 where the solve or the adjoint system did not reach its tolerance, so that a count is never that of a failure.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "cpu/solver.h"

namespace {

using namespace wbm;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kDimension = 8;

// epsilon in units of the mean cost; kappa likewise, infinite: hard marginals.
struct Case {
  const char* name;
  std::int64_t batch, n, m;
  bool float64;
  double epsilon, kappa, tol;
};

constexpr Case kCases[] = {
    {"square", 1, 256, 256, true, 0.05, kInfinity, 1e-9},
    {"square-small-epsilon", 1, 256, 256, true, 0.01, kInfinity, 1e-9},
    {"skewed", 1, 41, 471, true, 0.05, kInfinity, 1e-9},
    {"batch", 64, 32, 32, false, 0.05, kInfinity, 1e-6},
    {"unbalanced", 1, 128, 128, true, 0.05, 1.0, 1e-9},
};

// Squared distances of uniform points in the unit cube and in one moved by 0.2 along every axis.
template <class T>
std::vector<T> costs(const Case& kind) {
  std::mt19937_64 generator(1);  // its sequence is fixed by the standard; distributions are not
  const auto point = [&](double shift, double* x) {
    for (int k = 0; k < kDimension; ++k) x[k] = shift + static_cast<double>(generator() >> 11) * 0x1p-53;
  };
  std::vector<T> out;
  out.reserve(kind.batch * kind.n * kind.m);
  std::vector<double> x(kind.n * kDimension), y(kind.m * kDimension);
  for (std::int64_t p = 0; p < kind.batch; ++p) {
    for (std::int64_t i = 0; i < kind.n; ++i) point(0.0, &x[i * kDimension]);
    for (std::int64_t j = 0; j < kind.m; ++j) point(0.2, &y[j * kDimension]);
    for (std::int64_t i = 0; i < kind.n; ++i)
      for (std::int64_t j = 0; j < kind.m; ++j) {
        double sum = 0.0;
        for (int k = 0; k < kDimension; ++k) {
          const double step = x[i * kDimension + k] - y[j * kDimension + k];
          sum += step * step;
        }
        out.push_back(static_cast<T>(sum));
      }
  }
  return out;
}

template <class Work>
struct Call {
  static void run(const void* work) { (*static_cast<const Work*>(work))(); }
};

}  // namespace

extern "C" __attribute__((noinline)) void measured(void (*call)(const void*), const void* work) {
  call(work);
  asm volatile("" ::: "memory");  // no tail call: the count ends when this function returns
}

namespace {

template <class Work>
void count(const Work& work) {
  measured(&Call<Work>::run, &work);
}

template <class T>
int run(const Case& kind, bool backward) {
  const std::vector<T> cost = costs<T>(kind);
  const std::int64_t rows = kind.batch * kind.n, columns = kind.batch * kind.m;
  const std::vector<double> a(rows, 1.0 / static_cast<double>(kind.n)), b(columns, 1.0 / static_cast<double>(kind.m));
  std::vector<double> epsilon(kind.batch), kappa(2 * kind.batch), mean(kind.batch);

  Problem problem;
  problem.batch = kind.batch;
  problem.n = kind.n;
  problem.m = kind.m;
  problem.float64 = kind.float64;
  problem.cost = cost.data();
  problem.cost_stride_problem = kind.n * kind.m;
  problem.cost_stride_row = kind.m;
  problem.a = a.data();
  problem.b = b.data();
  problem.epsilon = epsilon.data();
  problem.kappa = kappa.data();
  cpu::mean_cost(problem, mean.data(), 1);
  for (std::int64_t p = 0; p < kind.batch; ++p) {
    epsilon[p] = kind.epsilon * mean[p];
    kappa[2 * p] = kappa[2 * p + 1] = kind.kappa * mean[p];
  }

  std::vector<double> f(rows), g(columns), sharp(kind.batch), regularized(kind.batch), mass(kind.batch), residual(kind.batch);
  std::vector<std::int64_t> iterations(kind.batch);
  std::vector<std::int32_t> status(kind.batch);
  const Solution solution{f.data(),        g.data(),    sharp.data(),      regularized.data(), mass.data(),
                          residual.data(), iterations.data(), status.data(), nullptr};
  Options options;
  options.tol = kind.tol;
  options.max_iter = 100000;
  const auto solve = [&] { cpu::forward(problem, options, solution); };
  backward ? solve() : count(solve);

  double worst = 0.0;
  std::int64_t passes = 0;
  bool fine = true;
  for (std::int64_t p = 0; p < kind.batch; ++p) {
    worst = std::fmax(worst, residual[p]);
    passes += iterations[p];
    fine = fine && (status[p] & kConverged) && residual[p] <= kind.tol;
  }
  if (backward) {
    const std::vector<double> upstream(kind.batch, 1.0), none(std::max(kind.batch, rows + columns), 0.0);
    std::vector<T> grad_cost(rows * kind.m);
    std::vector<double> grad_a(rows), grad_b(columns), linear(kind.batch);
    Adjoint adjoint;
    adjoint.f = f.data();
    adjoint.g = g.data();
    adjoint.grad_sharp = upstream.data();
    adjoint.grad_regularized = adjoint.grad_f = adjoint.grad_g = none.data();
    adjoint.grad_cost = grad_cost.data();
    adjoint.grad_a = grad_a.data();
    adjoint.grad_b = grad_b.data();
    adjoint.residual = linear.data();
    count([&] { cpu::backward(problem, adjoint); });
    for (const double x : linear) {
      worst = std::fmax(worst, x);
      fine = fine && x <= (kind.float64 ? 1e-6 : 1e-4);
    }
  }
  std::printf("iterations %lld residual %.3e\n", static_cast<long long>(passes), worst);
  return fine ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  if (count == 2 && !std::strcmp(words[1], "list")) {
    for (const Case& kind : kCases) std::puts(kind.name);
    return 0;
  }
  const bool backward = count == 3 && !std::strcmp(words[2], "backward");
  if (count == 3 && (backward || !std::strcmp(words[2], "forward")))
    for (const Case& kind : kCases)
      if (!std::strcmp(kind.name, words[1])) return kind.float64 ? run<double>(kind, backward) : run<float>(kind, backward);
  std::fputs("usage: instructions list | instructions <case> forward|backward\n", stderr);
  return 2;
}
