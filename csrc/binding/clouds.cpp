#include "binding/clouds.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <tuple>

#include "binding/interruptible.h"
#include "binding/problem_in.h"
#include "cpu/cloud/solver.h"

namespace py = pybind11;

namespace wbm {
namespace {

using cpu::CloudInput;
using cpu::CloudSolution;

// points and masses as float64 addresses with their sizes: x, y, a, b, n, m, dimension
using CloudNumbers = std::tuple<Address, Address, Address, Address, std::int64_t, std::int64_t, std::int64_t>;

CloudInput input_of(const CloudNumbers& numbers) {
  CloudInput input;
  const auto [x, y, a, b, n, m, dimension] = numbers;
  input.x = at<const double>(x);
  input.y = at<const double>(y);
  input.a = at<const double>(a);
  input.b = at<const double>(b);
  input.n = n;
  input.m = m;
  input.dimension = dimension;
  return input;
}

// how: epsilon, kappa of rows and columns, reference, Euclidean cost, tol, max_iter, bytes that may be stored, threads
std::unique_ptr<CloudSolution> solve_clouds(
    const CloudNumbers& numbers,
    const std::tuple<double, double, double, int, bool, double, std::int64_t, std::int64_t, int>& how) {
  std::unique_ptr<CloudSolution> solution;
  interruptibly([&](Interrupt* interrupt) {
    CloudInput input = input_of(numbers);
    int reference;
    std::tie(input.epsilon, input.kappa[0], input.kappa[1], reference, input.euclidean, input.tol, input.max_iter, input.memory,
             input.threads) = how;
    input.reference = static_cast<Reference>(reference);
    input.interrupt = interrupt;
    solution = std::make_unique<CloudSolution>(input);
  });
  return solution;
}

double gradient(const CloudSolution& solution, double sharp, double regularized,
                const std::tuple<Address, Address, Address, Address>& where, int threads) {
  double residual = 0.0;
  interruptibly([&](Interrupt* interrupt) {
    const auto [x, y, a, b] = where;
    residual = solution.gradient(sharp, regularized, at<double>(x), at<double>(y), at<double>(a), at<double>(b), threads,
                                 interrupt);
  });
  return residual;
}

}  // namespace

void bind_clouds(py::module_& module) {
  py::class_<CloudSolution>(module, "CloudSolution", "A solve between point clouds; see csrc/cpu/cloud/solver.h.")
      .def("report",
           [](const CloudSolution& s) {
             const cpu::CloudReport r = s.report();
             return std::make_tuple(r.sharp, r.regularized, r.mass, r.residual, r.left_out, r.iterations, r.status);
           })
      .def("potentials", [](const CloudSolution& s, Address f, Address g) { s.potentials(at<double>(f), at<double>(g)); },
           py::arg("f"), py::arg("g"))
      .def("gradient", gradient, py::arg("sharp"), py::arg("regularized"), py::arg("where"), py::arg("threads"))
      .def(
          "product",
          [](const CloudSolution& s, Address v, bool transposed, Address out, int threads) {
            s.product(at<const double>(v), transposed, at<double>(out), threads);
          },
          py::arg("v"), py::arg("transposed"), py::arg("out"), py::arg("threads"), py::call_guard<py::gil_scoped_release>())
      .def(
          "extend",
          [](const CloudSolution& s, Address z, std::int64_t count, bool columns, Address out, int threads) {
            s.extend(at<const double>(z), count, columns, at<double>(out), threads);
          },
          py::arg("z"), py::arg("count"), py::arg("columns"), py::arg("out"), py::arg("threads"),
          py::call_guard<py::gil_scoped_release>());
  module.def("solve_clouds", solve_clouds, py::arg("numbers"), py::arg("how"));
  module.def(
      "mean_cloud_cost",
      [](const CloudNumbers& numbers, bool euclidean) {
        CloudInput input = input_of(numbers);
        input.euclidean = euclidean;
        return cpu::mean_cloud_cost(input);
      },
      py::arg("numbers"), py::arg("euclidean"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace wbm
