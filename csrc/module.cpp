// pybind11 only: addresses in, nothing of torch. Arguments are checked in Python (wbm_ext/solver/checks.py); here the
// addresses are trusted. The interpreter lock is released while a solve runs.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>

#include "cpu/interrupt.h"
#include "cpu/kernels.h"
#include "cpu/solver.h"
#ifdef WBM_WITH_CUDA
#include "cuda/solver.h"
#endif

namespace py = pybind11;
using wbm::Adjoint;
using wbm::Options;
using wbm::Problem;
using wbm::Solution;

namespace {

using Address = std::uintptr_t;

template <typename T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

#define WBM_POINTER(Struct, Type, field)                                         \
  def_property(                                                                  \
      #field, [](const Struct& s) { return reinterpret_cast<Address>(s.field); }, \
      [](Struct& s, Address address) { s.field = at<Type>(address); })

void bind_structs(py::module_& module) {
  py::class_<Problem>(module, "Problem", "Inputs of a batch of problems; see csrc/problem.h.")
      .def(py::init<>())
      .def_readwrite("batch", &Problem::batch)
      .def_readwrite("n", &Problem::n)
      .def_readwrite("m", &Problem::m)
      .def_readwrite("float64", &Problem::float64)
      .def_readwrite("cost_stride_problem", &Problem::cost_stride_problem)
      .def_readwrite("cost_stride_row", &Problem::cost_stride_row)
      .def_readwrite("mask_stride_problem", &Problem::mask_stride_problem)
      .def_readwrite("mask_stride_row", &Problem::mask_stride_row)
      .def_property(
          "reference", [](const Problem& p) { return static_cast<int>(p.reference); },
          [](Problem& p, int value) { p.reference = static_cast<wbm::Reference>(value); })
      .WBM_POINTER(Problem, const void, cost)
      .WBM_POINTER(Problem, const std::uint8_t, mask)
      .WBM_POINTER(Problem, const double, a)
      .WBM_POINTER(Problem, const double, b)
      .WBM_POINTER(Problem, const double, epsilon)
      .WBM_POINTER(Problem, const double, kappa);

  py::class_<Options>(module, "Options", "How to solve; see csrc/problem.h.")
      .def(py::init([](int method, int criterion, double tol, std::int64_t max_iter, Address init_g, int threads) {
             return Options{static_cast<wbm::Method>(method), static_cast<wbm::Criterion>(criterion), tol, max_iter,
                            at<const double>(init_g), threads, nullptr};
           }),
           py::arg("method"), py::arg("criterion"), py::arg("tol"), py::arg("max_iter"), py::arg("init_g"),
           py::arg("threads"));

  py::class_<Solution>(module, "Solution", "Where the answers go; see csrc/problem.h.")
      .def(py::init([](Address f, Address g, Address sharp, Address regularized, Address mass, Address residual,
                       Address iterations, Address status, Address history) {
             return Solution{at<double>(f),        at<double>(g),        at<double>(sharp),
                             at<double>(regularized), at<double>(mass),  at<double>(residual),
                             at<std::int64_t>(iterations), at<std::int32_t>(status), at<double>(history)};
           }),
           py::arg("f"), py::arg("g"), py::arg("sharp"), py::arg("regularized"), py::arg("mass"), py::arg("residual"),
           py::arg("iterations"), py::arg("status"), py::arg("history"));

  py::class_<Adjoint>(module, "Adjoint", "Upstream gradients in, gradients out; see csrc/problem.h.")
      .def(py::init([](int mode, Address f, Address g, Address grad_sharp, Address grad_regularized, Address grad_f,
                       Address grad_g, Address grad_cost, Address grad_a, Address grad_b, Address residual,
                       Address history, Address iterations, std::int64_t max_iter, int threads) {
             return Adjoint{static_cast<wbm::Gradient>(mode), at<const double>(f), at<const double>(g),
                            at<const double>(grad_sharp), at<const double>(grad_regularized),
                            at<const double>(grad_f), at<const double>(grad_g), at<void>(grad_cost),
                            at<double>(grad_a), at<double>(grad_b), at<double>(residual), at<const double>(history),
                            at<const std::int64_t>(iterations), max_iter, threads};
           }),
           py::arg("mode"), py::arg("f"), py::arg("g"), py::arg("grad_sharp"), py::arg("grad_regularized"),
           py::arg("grad_f"), py::arg("grad_g"), py::arg("grad_cost"), py::arg("grad_a"), py::arg("grad_b"),
           py::arg("residual"), py::arg("history"), py::arg("iterations"), py::arg("max_iter"), py::arg("threads"));
}

// Whether Python has a signal to deliver (Ctrl-C); its handler runs here, and what it raises is kept for later.
bool signal_pending() {
  py::gil_scoped_acquire lock;
  return PyErr_CheckSignals() != 0 || PyErr_Occurred();
}

void forward_interruptibly(const Problem& problem, Options options, const Solution& solution) {
  wbm::Interrupt interrupt(signal_pending);
  options.interrupt = &interrupt;
  {
    py::gil_scoped_release release;
    wbm::cpu::forward(problem, options, solution);
  }
  if (PyErr_Occurred()) throw py::error_already_set();
}

void bind_cpu(py::module_& module) {
  const auto release = py::call_guard<py::gil_scoped_release>();
  module.def("cpu_forward", &forward_interruptibly, py::arg("problem"), py::arg("options"), py::arg("solution"));
  module.def("cpu_backward", &wbm::cpu::backward, release, py::arg("problem"), py::arg("adjoint"));
  module.def(
      "cpu_mean_cost",
      [](const Problem& problem, Address mean, int threads) { wbm::cpu::mean_cost(problem, at<double>(mean), threads); },
      release, py::arg("problem"), py::arg("mean"), py::arg("threads"));
  module.def("instruction_set", &wbm::instruction_set, "The set of CPU kernels in use: baseline, avx2 or avx512.");
}

void bind_cuda(py::module_& module) {
#ifdef WBM_WITH_CUDA
  module.attr("cuda_architectures") = WBM_CUDA_ARCHITECTURES;
  module.def("cuda_device_count", &wbm::cuda::device_count, "Devices the driver reports; 0 without a driver.");
  module.def("cuda_workspace_bytes", &wbm::cuda::workspace_bytes, py::arg("problem"));
  module.def(
      "cuda_forward",
      [](const Problem& problem, const Options& options, const Solution& solution, Address workspace, Address stream) {
        wbm::cuda::forward(problem, options, solution, at<void>(workspace), at<void>(stream));
      },
      py::call_guard<py::gil_scoped_release>(), py::arg("problem"), py::arg("options"), py::arg("solution"),
      py::arg("workspace"), py::arg("stream"));
#else
  module.attr("cuda_architectures") = "";
  module.def("cuda_device_count", [] { return 0; });
#endif
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled core of wbm_ext: entropic optimal transport on a given cost matrix.";
  module.attr("compiler") = WBM_COMPILER;
  bind_structs(module);
  bind_cpu(module);
  bind_cuda(module);
}
