#include "binding/losses.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <tuple>
#include <utility>

#include "binding/interruptible.h"
#include "binding/problem_in.h"
#include "cpu/loss/group_loss.h"

namespace py = pybind11;

namespace wbm {
namespace {

using cpu::BalanceInput;
using cpu::BalanceLoss;
using cpu::OutcomeInput;
using cpu::OutcomeLoss;
using cpu::LossReport;
using cpu::LossSolve;

// method, tol, max_iter, epsilon (NaN: the default), kappa of rows and columns, reference, gradient, threads, differentiable
using SolveNumbers = std::tuple<int, double, std::int64_t, double, double, double, int, int, int, bool>;

LossSolve solve_of(const SolveNumbers& numbers, Interrupt* interrupt) {
  const auto [method, tol, max_iter, epsilon, kappa_rows, kappa_columns, reference, gradient, threads, differentiable] = numbers;
  return {static_cast<Method>(method),       tol,     max_iter,   epsilon, {kappa_rows, kappa_columns},
          static_cast<Reference>(reference), static_cast<Gradient>(gradient), threads, interrupt, differentiable};
}

// The loss (None where it is not done), its number of rows, effective sample sizes, mass, residual.
template <typename T>
using Made = std::tuple<std::unique_ptr<T>, std::int64_t, double, double, double, double>;

template <typename T, typename Make>
Made<T> made(const SolveNumbers& numbers, const Make& make) {
  LossReport report;
  std::unique_ptr<T> loss;
  interruptibly([&](Interrupt* interrupt) {
    loss = make(solve_of(numbers, interrupt), report);
    if (!report.done) loss.reset();
  });
  return {std::move(loss), report.rows, report.ess_rows, report.ess_columns, report.mass, report.residual};
}

// phi as address, row stride, k; how: float64, logits, softmax, low, high, all, scaled
Made<BalanceLoss> balance(Address q, Address treated, std::int64_t size,
                          const std::tuple<Address, std::int64_t, std::int64_t>& phi,
                          const std::tuple<bool, bool, bool, double, double, bool, bool>& how, const SolveNumbers& solve,
                          Address value) {
  const auto [data, stride, k] = phi;
  const auto [float64, logits, softmax, low, high, all, scaled] = how;
  BalanceInput input;
  input.q = at<const void>(q);
  input.treated = at<const std::uint8_t>(treated);
  input.size = size;
  input.phi = {at<const void>(data), stride, nullptr, size};
  input.k = k;
  input.how = {float64, logits, softmax, false, low, high};
  input.all = all;
  input.scaled = scaled;
  return made<BalanceLoss>(solve, [&](const LossSolve& options, LossReport& report) {
    return cpu::balance_loss(input, options, at<void>(value), report);
  });
}

using ColumnNumbers = std::tuple<Address, std::int64_t, std::int64_t>;

// r as address, row stride, size, k; outcomes of d columns as address, row and column stride; how: float64, scale, gamma
Made<OutcomeLoss> outcome(const std::tuple<Address, std::int64_t, std::int64_t, std::int64_t>& r, Address treated,
                          std::int64_t d, const ColumnNumbers& factual, const ColumnNumbers& other,
                          const std::tuple<bool, double, double>& how, const SolveNumbers& solve, Address value) {
  const auto columns = [](const ColumnNumbers& numbers) {
    return cpu::Columns{at<const void>(std::get<0>(numbers)), std::get<1>(numbers), std::get<2>(numbers)};
  };
  OutcomeInput input;
  const auto [data, stride, size, k] = r;
  input.r = {at<const void>(data), stride, nullptr, size};
  input.k = k;
  input.d = d;
  input.treated = at<const std::uint8_t>(treated);
  input.factual = columns(factual);
  input.other = columns(other);
  std::tie(input.float64, input.scale, input.gamma) = how;
  return made<OutcomeLoss>(solve, [&](const LossSolve& options, LossReport& report) {
    return cpu::outcome_loss(input, options, at<void>(value), report);
  });
}

// Point sets of a batch, all contiguous: x (batch, n, k), y (batch, m, k).
struct Sets {
  std::int64_t batch = 0, n = 0, m = 0, k = 0;
  bool float64 = false;
  int threads = 1;

  explicit Sets(const std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool, int>& numbers) {
    std::tie(batch, n, m, k, float64, threads) = numbers;
  }
  // the p-th block of `count` elements
  template <typename T>
  T* part(Address base, std::int64_t p, std::int64_t count) const {
    return base ? at<T>(base + p * count * (float64 ? 8 : 4)) : nullptr;
  }
  cpu::Points x(Address base, std::int64_t p) const { return {part<const void>(base, p, n * k), k, nullptr, n}; }
  cpu::Points y(Address base, std::int64_t p) const { return {part<const void>(base, p, m * k), k, nullptr, m}; }
};

using SetNumbers = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool, int>;

void distances(Address x, Address y, const SetNumbers& numbers, Address out) {
  const Sets sets(numbers);
  for (std::int64_t p = 0; p < sets.batch; ++p)
    cpu::squared_distances(sets.x(x, p), sets.y(y, p), sets.k, sets.float64, false, 1.0,
                           sets.part<void>(out, p, sets.n * sets.m), sets.threads);
}

// The gradient of sum w |x_i - y_j|^2; d_x and d_y 0 where not wanted.
void distances_gradient(Address w, Address x, Address y, const SetNumbers& numbers, Address d_x, Address d_y) {
  const Sets sets(numbers);
  for (std::int64_t p = 0; p < sets.batch; ++p)
    cpu::distances_gradient(sets.part<const void>(w, p, sets.n * sets.m), sets.x(x, p), sets.y(y, p), sets.k, sets.float64,
                            2.0, sets.part<void>(d_x, p, sets.n * sets.k), sets.part<void>(d_y, p, sets.m * sets.k),
                            sets.threads);
}

}  // namespace

void bind_losses(py::module_& module) {
  const auto release = py::call_guard<py::gil_scoped_release>();
  py::class_<BalanceLoss>(module, "BalanceLoss", "A balancing loss solved, for its gradient; see csrc/cpu/loss/group_loss.h.");
  py::class_<OutcomeLoss>(module, "OutcomeLoss", "A discrepancy of two groups solved, for its gradient; see csrc/cpu/loss/group_loss.h.");
  module.def("cpu_balance_loss", &balance, py::arg("q"), py::arg("treated"), py::arg("size"), py::arg("phi"), py::arg("how"),
             py::arg("solve"), py::arg("value"));
  module.def("cpu_outcome_loss", &outcome, py::arg("r"), py::arg("treated"), py::arg("d"), py::arg("factual"),
             py::arg("other"), py::arg("how"), py::arg("solve"), py::arg("value"));
  module.def(
      "cpu_balance_gradient",
      [](const BalanceLoss& loss, Address q, Address phi, std::int64_t stride, Address upstream, Address d_q, Address d_phi) {
        double residual = 0.0;
        interruptibly([&](Interrupt* interrupt) {
          residual = loss.gradient(at<const void>(q), at<const void>(phi), stride, at<const void>(upstream), at<void>(d_q),
                                   at<void>(d_phi), interrupt);
        });
        return residual;
      },
      py::arg("loss"), py::arg("q"), py::arg("phi"), py::arg("stride"), py::arg("upstream"), py::arg("d_q"),
      py::arg("d_phi"));
  module.def(
      "cpu_outcome_gradient",
      [](const OutcomeLoss& loss, Address upstream, Address d_r, Address d_other, std::int64_t row, std::int64_t column) {
        double residual = 0.0;
        interruptibly([&](Interrupt* interrupt) {
          residual = loss.gradient(at<const void>(upstream), at<void>(d_r), at<void>(d_other), row, column, interrupt);
        });
        return residual;
      },
      py::arg("loss"), py::arg("upstream"), py::arg("d_r"), py::arg("d_other"), py::arg("row"), py::arg("column"));
  module.def("cpu_squared_distances", &distances, release, py::arg("x"), py::arg("y"), py::arg("sets"), py::arg("out"));
  module.def("cpu_distances_gradient", &distances_gradient, release, py::arg("w"), py::arg("x"), py::arg("y"),
             py::arg("sets"), py::arg("d_x"), py::arg("d_y"));
}

}  // namespace wbm
