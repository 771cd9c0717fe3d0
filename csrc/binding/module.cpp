// pybind11 only: addresses in, nothing of torch. Arguments are checked in Python (wbm_ext/solver/arguments.py); here the
// addresses are trusted. The interpreter lock is released while a solve runs.
//
// The CPU is entered in three ways: with the structs of problem.h (everything float64); for the inner loop of a training step
// with numbers only (cpu_solve, cpu_gradient), where what is missing or in float32 is completed (completed.h); and, for a whole
// loss of a batch, by losses.cpp.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "binding/problem_in.h"
#include "cpu/runtime/interrupt.h"
#include "cpu/problem/saved_plan.h"
#include "cpu/kernels/kernels.h"
#include "cpu/loss/points.h"
#include "cpu/solver.h"
#include "binding/losses.h"
#ifdef WBM_WITH_CUDA
#include "cuda/solver.h"
#endif

namespace py = pybind11;
using wbm::Address;
using wbm::Adjoint;
using wbm::at;
using wbm::Completed;
using wbm::Input;
using wbm::Numbers;
using wbm::Options;
using wbm::Output;
using wbm::Problem;
using wbm::Solution;

namespace {

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
      .def_property(
          "bits16", [](const Problem& p) { return static_cast<int>(p.bits16); },
          [](Problem& p, int value) { p.bits16 = static_cast<wbm::Bits16>(value); })
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

// What the solves of a batch have kept for their backward, one pointer a problem.
class SavedPlans {
 public:
  explicit SavedPlans(std::int64_t batch) : saved(batch, nullptr) {}
  SavedPlans(const SavedPlans&) = delete;
  SavedPlans& operator=(const SavedPlans&) = delete;
  ~SavedPlans() {
    for (const wbm::SavedPlan* k : saved) delete k;
  }

  std::vector<wbm::SavedPlan*> saved;
};

// Solves, and answers whether every problem converged, and what is kept for the backward (`keep`, else None). `sharp` and
// `regularized` have the type of D (0: not wanted); `epsilon` takes what was used. f, g, epsilon, mass, residual: float64;
// iterations: int64; status: int32.
std::tuple<bool, std::unique_ptr<SavedPlans>> solve_numbers(
    const Numbers& numbers, const std::tuple<int, int, double, std::int64_t, Address, int>& how,
    const std::tuple<Address, Address, Address, Address, Address, Address, Address, Address, Address, Address>& where,
    bool keep) {
  wbm::Interrupt interrupt(signal_pending);
  bool converged = true;
  std::unique_ptr<SavedPlans> saved;
  {
    py::gil_scoped_release release;
    const auto [method, criterion, tol, max_iter, init_g, threads] = how;
    const auto [sharp, regularized, f, g, epsilon, mass, residual, iterations, status, history] = where;
    const Completed completed(numbers, threads);
    const Problem& problem = completed.problem;
    std::copy(problem.epsilon, problem.epsilon + problem.batch, at<double>(epsilon));
    const Output sharp_out(sharp, problem.batch, problem.float64), regularized_out(regularized, problem.batch, problem.float64);
    Options options;
    options.method = static_cast<wbm::Method>(method);
    options.criterion = static_cast<wbm::Criterion>(criterion);
    options.tol = tol;
    options.max_iter = max_iter;
    options.init_g = at<const double>(init_g);
    options.threads = threads;
    options.interrupt = &interrupt;
    Solution solution;
    solution.f = at<double>(f);
    solution.g = at<double>(g);
    solution.sharp = sharp_out.data;
    solution.regularized = regularized_out.data;
    solution.mass = at<double>(mass);
    solution.residual = at<double>(residual);
    solution.iterations = at<std::int64_t>(iterations);
    solution.status = at<std::int32_t>(status);
    solution.history = at<double>(history);
    if (keep) {
      saved = std::make_unique<SavedPlans>(problem.batch);
      solution.saved = saved->saved.data();
    }
    wbm::cpu::forward(problem, options, solution);
    sharp_out.flush();
    regularized_out.flush();
    for (std::int64_t p = 0; p < problem.batch; ++p)
      converged = converged && (solution.status[p] & wbm::kConverged) && !(solution.status[p] & wbm::kRefused);
  }
  if (PyErr_Occurred()) throw py::error_already_set();
  return {converged, std::move(saved)};
}

// Gradients, and the largest residual of the linear systems. Upstream: sharp and regularized in the type of D, f and g float64,
// 0 where there is none. Out: D's in the type of D, a's and b's in that of the masses (0: not wanted), residual float64.
double gradient_numbers(const Numbers& numbers, const std::tuple<int, std::int64_t, Address, Address, int>& how,
                        const std::tuple<Address, Address, Address, Address, Address, Address>& from,
                        const std::tuple<Address, Address, Address, Address>& where, const SavedPlans* saved) {
  py::gil_scoped_release release;
  const auto [mode, max_iter, iterations, history, threads] = how;
  const auto [f, g, grad_sharp, grad_regularized, grad_f, grad_g] = from;
  const auto [grad_cost, grad_a, grad_b, residual] = where;
  const Completed completed(numbers, threads);
  const Problem& problem = completed.problem;
  const bool masses_float64 = std::get<17>(numbers);
  const std::int64_t batch = problem.batch;
  const Input sharp(grad_sharp, batch, problem.float64), regularized(grad_regularized, batch, problem.float64),
      q_f(grad_f, batch * problem.n, true), q_g(grad_g, batch * problem.m, true);
  const Output d_a(grad_a, batch * problem.n, masses_float64), d_b(grad_b, batch * problem.m, masses_float64);
  Adjoint adjoint;
  adjoint.mode = static_cast<wbm::Gradient>(mode);
  adjoint.f = at<const double>(f);
  adjoint.g = at<const double>(g);
  adjoint.grad_sharp = sharp.data;
  adjoint.grad_regularized = regularized.data;
  adjoint.grad_f = q_f.data;
  adjoint.grad_g = q_g.data;
  adjoint.grad_cost = at<void>(grad_cost);
  adjoint.grad_a = d_a.data;
  adjoint.grad_b = d_b.data;
  adjoint.residual = at<double>(residual);
  adjoint.history = at<const double>(history);
  adjoint.iterations = at<const std::int64_t>(iterations);
  adjoint.max_iter = max_iter;
  adjoint.threads = threads;
  if (saved) adjoint.saved = saved->saved.data();
  wbm::cpu::backward(problem, adjoint);
  d_a.flush();
  d_b.flush();
  double largest = 0.0;
  for (std::int64_t p = 0; p < batch; ++p) largest = std::fmax(largest, adjoint.residual[p]);  // NaN (refused) is passed over
  return largest;
}

void bind_cpu(py::module_& module) {
  const auto release = py::call_guard<py::gil_scoped_release>();
  module.def("cpu_forward", &forward_interruptibly, py::arg("problem"), py::arg("options"), py::arg("solution"));
  module.def("cpu_backward", &wbm::cpu::backward, release, py::arg("problem"), py::arg("adjoint"));
  py::class_<SavedPlans>(module, "SavedPlans", "What solves have saved for their backward; see csrc/cpu/problem/saved_plan.h.");
  module.def("cpu_solve", &solve_numbers, py::arg("numbers"), py::arg("how"), py::arg("where"), py::arg("keep"));
  module.def("cpu_gradient", &gradient_numbers, py::arg("numbers"), py::arg("how"), py::arg("from"), py::arg("where"),
             py::arg("saved").none(true));
  module.def(
      "cpu_mean",
      [](const Numbers& numbers, Address mean, int threads) {
        const Completed completed(numbers, threads);
        wbm::cpu::mean_cost(completed.problem, at<double>(mean), threads);
      },
      release, py::arg("numbers"), py::arg("mean"), py::arg("threads"));
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
  module.def(
      "cuda_backward_workspace_bytes",
      [](const Problem& problem, int mode) {
        return wbm::cuda::backward_workspace_bytes(problem, static_cast<wbm::Gradient>(mode));
      },
      py::arg("problem"), py::arg("mode"));
  module.def(
      "cuda_backward",
      [](const Problem& problem, const Adjoint& adjoint, Address workspace, Address stream) {
        wbm::cuda::backward(problem, adjoint, at<void>(workspace), at<void>(stream));
      },
      py::call_guard<py::gil_scoped_release>(), py::arg("problem"), py::arg("adjoint"), py::arg("workspace"),
      py::arg("stream"));
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
  wbm::bind_losses(module, &signal_pending);
  bind_cuda(module);
}
