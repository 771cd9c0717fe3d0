// What crosses from Python as numbers and addresses, completed: defaults, and float64 in the place of float32.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <tuple>
#include <vector>

#include "cpu/solver.h"
#include "problem.h"

namespace wbm {

using Address = std::uintptr_t;

template <typename T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

// A batch of problems in numbers: batch, n, m; D's address, problem and row stride; the mask's; the addresses of a and b (0:
// uniform with total 1); epsilon's address, or 0 and one value for all (NaN: 0.05 times each problem's mean cost); kappa's
// address, or 0 and the values of rows and columns; whether D and whether the masses are float64; the reference.
using Numbers = std::tuple<std::int64_t, std::int64_t, std::int64_t, Address, std::int64_t, std::int64_t, Address,
                           std::int64_t, std::int64_t, Address, Address, Address, double, Address, double, double, bool,
                           bool, int>;

// The Problem those numbers describe, with what had to be made for it.
class Completed {
 public:
  Completed(const Numbers& numbers, int threads) {
    Address cost, mask, a, b, epsilon, kappa;
    double epsilon_value, kappa_rows, kappa_columns;
    bool masses_float64;
    int reference;
    std::tie(problem.batch, problem.n, problem.m, cost, problem.cost_stride_problem, problem.cost_stride_row, mask,
             problem.mask_stride_problem, problem.mask_stride_row, a, b, epsilon, epsilon_value, kappa, kappa_rows,
             kappa_columns, problem.float64, masses_float64, reference) = numbers;
    problem.cost = at<const void>(cost);
    problem.mask = at<const std::uint8_t>(mask);
    problem.reference = static_cast<Reference>(reference);
    problem.a = masses(a, problem.n, masses_float64, a_);
    problem.b = masses(b, problem.m, masses_float64, b_);
    problem.kappa = at<const double>(kappa);
    if (!kappa) {
      kappa_.resize(2 * problem.batch);
      for (std::int64_t p = 0; p < problem.batch; ++p) kappa_[2 * p] = kappa_rows, kappa_[2 * p + 1] = kappa_columns;
      problem.kappa = kappa_.data();
    }
    problem.epsilon = at<const double>(epsilon);
    if (epsilon) return;
    const bool given = !std::isnan(epsilon_value);
    epsilon_.assign(problem.batch, given ? epsilon_value : 1.0);
    problem.epsilon = epsilon_.data();
    if (given) return;
    cpu::mean_cost(problem, epsilon_.data(), threads);
    for (double& x : epsilon_) x *= 0.05;
  }
  Completed(const Completed&) = delete;
  Completed& operator=(const Completed&) = delete;

  Problem problem;

 private:
  const double* masses(Address address, std::int64_t size, bool float64, std::vector<double>& own) const {
    if (address && float64) return at<const double>(address);
    const std::int64_t count = problem.batch * size;
    if (address)
      own.assign(at<const float>(address), at<const float>(address) + count);
    else
      own.assign(count, 1.0 / static_cast<double>(size));
    return own.data();
  }

  std::vector<double> a_, b_, epsilon_, kappa_;
};

// Values of the type of D or of the masses, computed in float64: `data` is the place itself, or stands in for it until flush().
class Output {
 public:
  Output(Address address, std::int64_t count, bool float64) : address_(float64 ? 0 : address) {
    if (!float64 || !address) own_.resize(count);
    data = float64 && address ? at<double>(address) : own_.data();
  }
  void flush() const {
    if (address_) std::copy(own_.begin(), own_.end(), at<float>(address_));
  }

  double* data;

 private:
  Address address_;
  std::vector<double> own_;
};

// Values of the type of D as float64; zeros where there is no address.
class Input {
 public:
  Input(Address address, std::int64_t count, bool float64) : data(at<const double>(address)) {
    if (float64 && address) return;
    if (address)
      own_.assign(at<const float>(address), at<const float>(address) + count);
    else
      own_.assign(count, 0.0);
    data = own_.data();
  }

  const double* data;

 private:
  std::vector<double> own_;
};

}  // namespace wbm
