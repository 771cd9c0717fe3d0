// The records of wbm_ext/solver/problem.py as they cross from Python: numbers and addresses. A problem of the CPU is completed
// on the way, with defaults and with float64 in the place of float32.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include "binding/address.h"
#include "cpu/solver.h"
#include "problem.h"

namespace wbm {

// A batch of problems: batch, n, m; D's address, problem and row stride; the mask's; the addresses of a and b (0: uniform with
// total 1); epsilon's address, or 0 and one value for all (NaN: the default); kappa's address, or 0 and the values of rows and
// columns; whether D is float64, its 16-bit type, whether the masses, and whether the two costs are float64; the reference.
using ProblemRecord = std::tuple<std::int64_t, std::int64_t, std::int64_t, Address, std::int64_t, std::int64_t, Address,
                                 std::int64_t, std::int64_t, Address, Address, Address, double, Address, double, double, bool,
                                 int, bool, bool, int>;

// method, criterion, tol, max_iter, address of the g to start from (0: zeros), threads
using OptionsRecord = std::tuple<int, int, double, std::int64_t, Address, int>;

// The addresses of sharp, regularized, f, g, mass, residual, iterations, status, history, epsilon; on the CPU 0: not wanted.
using SolutionRecord = std::tuple<Address, Address, Address, Address, Address, Address, Address, Address, Address, Address>;

// mode, max_iter, addresses of iterations and history (unrolled only), threads; f and g and the upstream gradients on sharp,
// regularized, f and g (on the CPU 0: zeros); where the gradients in D, a, b and the residual go (0: not wanted).
using GradientOptions = std::tuple<int, std::int64_t, Address, Address, int>;
using GradientInputs = std::tuple<Address, Address, Address, Address, Address, Address>;
using GradientOutputs = std::tuple<Address, Address, Address, Address>;

// What stands in a record, as it is: all of it must be given, the masses in float64.
struct ProblemFields {
  explicit ProblemFields(const ProblemRecord& record) {
    Address cost, mask, a, b, epsilon, kappa;
    int bits16, reference;
    std::tie(problem.batch, problem.n, problem.m, cost, problem.cost_stride_problem, problem.cost_stride_row, mask,
             problem.mask_stride_problem, problem.mask_stride_row, a, b, epsilon, epsilon_value, kappa, kappa_rows, kappa_columns,
             problem.float64, bits16, masses_float64, costs_float64, reference) = record;
    problem.bits16 = static_cast<Bits16>(bits16);
    problem.reference = static_cast<Reference>(reference);
    problem.cost = at<const void>(cost);
    problem.mask = at<const std::uint8_t>(mask);
    problem.a = at<const double>(a);
    problem.b = at<const double>(b);
    problem.epsilon = at<const double>(epsilon);
    problem.kappa = at<const double>(kappa);
  }

  Problem problem;
  double epsilon_value, kappa_rows, kappa_columns;
  bool masses_float64, costs_float64;
};

inline Options options_of(const OptionsRecord& record, Interrupt* interrupt) {
  const auto [method, criterion, tol, max_iter, init_g, threads] = record;
  return {static_cast<Method>(method), static_cast<Criterion>(criterion), tol, max_iter, at<const double>(init_g), threads,
          interrupt};
}

// A problem of the CPU, with what had to be made for it.
class CompletedProblem : public ProblemFields {
 public:
  CompletedProblem(const ProblemRecord& record, int threads) : ProblemFields(record) {
    problem.a = masses(problem.a, problem.n, a_);
    problem.b = masses(problem.b, problem.m, b_);
    if (!problem.kappa) {
      kappa_.resize(2 * problem.batch);
      for (std::int64_t p = 0; p < problem.batch; ++p) kappa_[2 * p] = kappa_rows, kappa_[2 * p + 1] = kappa_columns;
      problem.kappa = kappa_.data();
    }
    if (problem.epsilon) return;
    const bool given = !std::isnan(epsilon_value);
    epsilon_.assign(problem.batch, given ? epsilon_value : 1.0);
    problem.epsilon = epsilon_.data();
    if (given) return;
    cpu::mean_cost(problem, epsilon_.data(), threads);
    for (std::int64_t p = 0; p < problem.batch; ++p)
      epsilon_[p] = 0.05 * (epsilon_[p] == 0.0 && vanishes(p) ? 1.0 : epsilon_[p]);
  }
  CompletedProblem(const CompletedProblem&) = delete;
  CompletedProblem& operator=(const CompletedProblem&) = delete;

 private:
  const double* masses(const double* given, std::int64_t size, std::vector<double>& made) const {
    if (given && masses_float64) return given;
    const std::int64_t count = problem.batch * size;
    if (given)
      made.assign(reinterpret_cast<const float*>(given), reinterpret_cast<const float*>(given) + count);
    else
      made.assign(count, 1.0 / static_cast<double>(size));
    return made.data();
  }

  // Whether every entry of D that may carry mass is 0: such a problem has no scale of its own.
  bool vanishes(std::int64_t p) const { return problem.float64 ? all_zero<double>(p) : all_zero<float>(p); }

  template <typename T>
  bool all_zero(std::int64_t p) const {
    const T* cost = static_cast<const T*>(problem.cost) + p * problem.cost_stride_problem;
    for (std::int64_t i = 0; i < problem.n; ++i)
      for (std::int64_t j = 0; j < problem.m; ++j) {
        const bool masked = problem.mask && !problem.mask[p * problem.mask_stride_problem + i * problem.mask_stride_row + j];
        const T x = cost[i * problem.cost_stride_row + j];
        if (!masked && x != T(0) && x != std::numeric_limits<T>::infinity()) return false;
      }
    return true;
  }

  std::vector<double> a_, b_, epsilon_, kappa_;
};

}  // namespace wbm
