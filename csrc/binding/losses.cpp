#include "binding/losses.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <tuple>
#include <utility>

#include "binding/problem_in.h"
#include "cpu/runtime/interrupt.h"
#include "cpu/loss/group_loss.h"

namespace py = pybind11;

namespace wbm {
namespace {

using cpu::BalanceInput;
using cpu::BalanceTerm;
using cpu::OutcomeInput;
using cpu::OutcomeTerm;
using cpu::TermReport;
using cpu::TermSolve;

bool (*signal_pending)() = nullptr;

// method, tol, max_iter, epsilon (NaN: the default), kappa of rows and columns, reference, gradient, threads, keep
using SolveNumbers = std::tuple<int, double, std::int64_t, double, double, double, int, int, int, bool>;

TermSolve solve_of(const SolveNumbers& numbers, Interrupt& interrupt) {
  const auto [method, tol, max_iter, epsilon, kappa_rows, kappa_columns, reference, gradient, threads, keep] = numbers;
  return {static_cast<Method>(method),       tol,     max_iter,   epsilon, {kappa_rows, kappa_columns},
          static_cast<Reference>(reference), static_cast<Gradient>(gradient), threads, &interrupt, keep};
}

// The term (None where it is not done), its number of rows, effective sample sizes, mass, residual.
template <typename T>
using Made = std::tuple<std::unique_ptr<T>, std::int64_t, double, double, double, double>;

template <typename T, typename Make>
Made<T> made(const SolveNumbers& numbers, const Make& make) {
  Interrupt interrupt(signal_pending);
  TermReport report;
  std::unique_ptr<T> term;
  {
    py::gil_scoped_release release;
    term = make(solve_of(numbers, interrupt), report);
    if (!report.done) term.reset();
  }
  if (PyErr_Occurred()) throw py::error_already_set();
  return {std::move(term), report.rows, report.ess_rows, report.ess_columns, report.mass, report.residual};
}

// phi as address, row stride, k; how: float64, logits, softmax, low, high, all, scaled
Made<BalanceTerm> balance(Address q, Address treated, std::int64_t size,
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
  return made<BalanceTerm>(solve, [&](const TermSolve& options, TermReport& report) {
    return cpu::balance_term(input, options, at<void>(value), report);
  });
}

using ColumnNumbers = std::tuple<Address, std::int64_t, std::int64_t>;

// r as address, row stride, size, k; treated: 0, the first `count` are; outcomes of d columns as address, row and column stride
Made<OutcomeTerm> outcome(const std::tuple<Address, std::int64_t, std::int64_t, std::int64_t>& r, Address treated,
                          std::int64_t count, std::int64_t d, const ColumnNumbers& factual, const ColumnNumbers& other_rows,
                          const ColumnNumbers& other_columns, const std::tuple<bool, double, double>& how,
                          const SolveNumbers& solve, Address value) {
  const auto columns = [](const ColumnNumbers& numbers) {
    return cpu::Columns{at<const void>(std::get<0>(numbers)), std::get<1>(numbers), std::get<2>(numbers)};
  };
  OutcomeInput input;
  const auto [data, stride, size, k] = r;
  input.r = {at<const void>(data), stride, nullptr, size};
  input.k = k;
  input.d = d;
  input.treated = at<const std::uint8_t>(treated);
  input.count = count;
  input.factual = columns(factual);
  input.other_rows = columns(other_rows);
  input.other_columns = columns(other_columns);
  std::tie(input.float64, input.scale, input.gamma) = how;
  return made<OutcomeTerm>(solve, [&](const TermSolve& options, TermReport& report) {
    return cpu::outcome_term(input, options, at<void>(value), report);
  });
}

}  // namespace

void bind_terms(py::module_& module, bool (*pending)()) {
  signal_pending = pending;
  const auto release = py::call_guard<py::gil_scoped_release>();
  py::class_<BalanceTerm>(module, "BalanceTerm", "A balancing loss solved, for its gradient; see csrc/cpu/loss/group_loss.h.");
  py::class_<OutcomeTerm>(module, "OutcomeTerm", "A discrepancy of two groups solved, for its gradient; see csrc/cpu/loss/group_loss.h.");
  module.def("cpu_balance_term", &balance, py::arg("q"), py::arg("treated"), py::arg("size"), py::arg("phi"), py::arg("how"),
             py::arg("solve"), py::arg("value"));
  module.def("cpu_outcome_term", &outcome, py::arg("r"), py::arg("treated"), py::arg("count"), py::arg("d"),
             py::arg("factual"), py::arg("other_rows"), py::arg("other_columns"), py::arg("how"), py::arg("solve"),
             py::arg("value"));
  module.def(
      "cpu_balance_gradient",
      [](const BalanceTerm& term, Address q, Address phi, std::int64_t stride, Address upstream, Address d_q, Address d_phi) {
        return term.gradient(at<const void>(q), at<const void>(phi), stride, at<const void>(upstream), at<void>(d_q),
                             at<void>(d_phi));
      },
      release, py::arg("term"), py::arg("q"), py::arg("phi"), py::arg("stride"), py::arg("upstream"), py::arg("d_q"),
      py::arg("d_phi"));
  module.def(
      "cpu_outcome_gradient",
      [](const OutcomeTerm& term, Address upstream, Address d_r, Address d_rows, Address d_columns, std::int64_t row,
         std::int64_t column) {
        return term.gradient(at<const void>(upstream), at<void>(d_r), at<void>(d_rows), at<void>(d_columns), row, column);
      },
      release, py::arg("term"), py::arg("upstream"), py::arg("d_r"), py::arg("d_rows"), py::arg("d_columns"), py::arg("row"),
      py::arg("column"));
}

}  // namespace wbm
