// pybind11 only: addresses in, nothing of torch. Arguments are checked in Python (wbm_ext/solver/checks.py); here the
// addresses are trusted. The interpreter lock is released while a solve runs.
//
// A solve and its gradient cross as the records of problem_in.h, the same for the CPU and for a device; a whole loss of a batch
// by losses.cpp.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "binding/clouds.h"
#include "binding/interruptible.h"
#include "binding/losses.h"
#include "binding/problem_in.h"
#include "cpu/kernels/kernels.h"
#include "cpu/problem/saved_plan.h"
#include "cpu/solver.h"
#ifdef WBM_WITH_CUDA
#include "cuda/solver.h"
#endif

namespace py = pybind11;
using namespace pybind11::literals;
using wbm::Address;
using wbm::Adjoint;
using wbm::at;
using wbm::CompletedProblem;
using wbm::GradientInputs;
using wbm::GradientOptions;
using wbm::GradientOutputs;
using wbm::OptionsRecord;
using wbm::ProblemFields;
using wbm::ProblemRecord;
using wbm::SavedPlan;
using wbm::Solution;
using wbm::SolutionRecord;

namespace {

// The integers of problem.h by the names that Python has for them.
void bind_codes(py::module_& module) {
  const auto code = [](auto value) { return static_cast<int>(value); };
  module.attr("codes") = py::dict(
      "reference"_a = py::dict("entropy"_a = code(wbm::Reference::entropy), "product"_a = code(wbm::Reference::product)),
      "criterion"_a = py::dict("marginal"_a = code(wbm::Criterion::marginal), "scaling"_a = code(wbm::Criterion::scaling)),
      "method"_a = py::dict("sinkhorn"_a = code(wbm::Method::sinkhorn), "auto"_a = code(wbm::Method::accelerated)),
      "gradient"_a = py::dict("implicit"_a = code(wbm::Gradient::implicit), "frozen"_a = code(wbm::Gradient::frozen),
                              "unrolled"_a = code(wbm::Gradient::unrolled)),
      "bits16"_a = py::dict("float16"_a = code(wbm::Bits16::float16), "bfloat16"_a = code(wbm::Bits16::bfloat16)),
      "status"_a = py::dict(
          "CONVERGED"_a = code(wbm::kConverged), "ITERATION_LIMIT"_a = code(wbm::kIterationLimit),
          "STAGNATED"_a = code(wbm::kStagnated), "OVERFLOW"_a = code(wbm::kOverflow), "RESCALED"_a = code(wbm::kRescaled),
          "NAN_COST"_a = code(wbm::kNanCost), "INVALID_MASS"_a = code(wbm::kInvalidMass),
          "UNEQUAL_MASSES"_a = code(wbm::kUnequalMasses), "ISOLATED"_a = code(wbm::kIsolated),
          "INVALID_STRENGTH"_a = code(wbm::kInvalidStrength), "INVALID_INIT"_a = code(wbm::kInvalidInit)));
}

// The plans that the solves of a batch have saved for their backward, one pointer a problem.
class SavedPlans {
 public:
  explicit SavedPlans(std::int64_t batch) : saved(batch, nullptr) {}
  SavedPlans(const SavedPlans&) = delete;
  SavedPlans& operator=(const SavedPlans&) = delete;
  ~SavedPlans() {
    for (const SavedPlan* plan : saved) delete plan;
  }

  std::vector<SavedPlan*> saved;
};

using Unsolved = std::tuple<std::vector<std::int32_t>, std::vector<double>>;

// Solves. Answers the plans saved for the backward (`save`, else None), and, unless every problem has converged or has no tolerance to meet, the status and
// residual of each. Costs have the type that the problem's record says, the other numbers are float64, iterations int64, status
// int32.
std::tuple<std::unique_ptr<SavedPlans>, std::optional<Unsolved>> cpu_solve(const ProblemRecord& record,
                                                                           const OptionsRecord& options,
                                                                           const SolutionRecord& where, bool save) {
  std::optional<Unsolved> unsolved;
  std::unique_ptr<SavedPlans> saved;
  wbm::interruptibly([&](wbm::Interrupt* interrupt) {
    const auto [sharp, regularized, f, g, mass, residual, iterations, status, history, epsilon] = where;
    const CompletedProblem in(record, std::get<5>(options));
    const wbm::Problem& problem = in.problem;
    const std::int64_t batch = problem.batch;
    if (epsilon) std::copy(problem.epsilon, problem.epsilon + batch, at<double>(epsilon));
    const wbm::Output sharp_out(sharp, batch, in.costs_float64), regularized_out(regularized, batch, in.costs_float64);
    const wbm::Place<double> f_out(f, batch * problem.n), g_out(g, batch * problem.m), mass_out(mass, batch),
        residual_out(residual, batch);
    const wbm::Place<std::int64_t> iterations_out(iterations, batch);
    const wbm::Place<std::int32_t> status_out(status, batch);
    if (save) saved = std::make_unique<SavedPlans>(batch);
    wbm::cpu::forward(problem, wbm::options_of(options, interrupt),
                      {f_out.data, g_out.data, sharp_out.data, regularized_out.data, mass_out.data, residual_out.data,
                       iterations_out.data, status_out.data, at<double>(history), save ? saved->saved.data() : nullptr});
    sharp_out.flush();
    regularized_out.flush();
    const std::int32_t* bits = status_out.data;
    const bool tolerates = std::get<2>(options) > 0.0;  // else a number of iterations was asked for, and is what there is
    for (std::int64_t p = 0; p < batch && !unsolved; ++p)
      if ((tolerates && !(bits[p] & wbm::kConverged)) || (bits[p] & wbm::kRefused))
        unsolved.emplace(std::vector<std::int32_t>(bits, bits + batch),
                         std::vector<double>(residual_out.data, residual_out.data + batch));
  });
  return {std::move(saved), std::move(unsolved)};
}

// Gradients, and the largest residual of the linear systems. Upstream on sharp and regularized, and the gradient in a and b, have
// the types that the problem's record says, that in D the type of D; the rest is float64.
double cpu_gradient(const ProblemRecord& record, const GradientOptions& options, const GradientInputs& from,
                    const GradientOutputs& where, const SavedPlans* saved) {
  double largest = 0.0;
  wbm::interruptibly([&](wbm::Interrupt* interrupt) {
    const auto [mode, max_iter, iterations, history, threads] = options;
    const auto [f, g, grad_sharp, grad_regularized, grad_f, grad_g] = from;
    const auto [grad_cost, grad_a, grad_b, residual] = where;
    const CompletedProblem in(record, threads);
    const wbm::Problem& problem = in.problem;
    const std::int64_t batch = problem.batch;
    const wbm::Input sharp(grad_sharp, batch, in.costs_float64), regularized(grad_regularized, batch, in.costs_float64),
        q_f(grad_f, batch * problem.n, true), q_g(grad_g, batch * problem.m, true);
    const wbm::Output d_a(grad_a, batch * problem.n, in.masses_float64), d_b(grad_b, batch * problem.m, in.masses_float64);
    const Adjoint adjoint{static_cast<wbm::Gradient>(mode), at<const double>(f), at<const double>(g), sharp.data,
                          regularized.data, q_f.data, q_g.data, at<void>(grad_cost), d_a.data, d_b.data, at<double>(residual),
                          at<const double>(history), at<const std::int64_t>(iterations), max_iter, threads,
                          saved ? saved->saved.data() : nullptr, interrupt};
    wbm::cpu::backward(problem, adjoint);
    d_a.flush();
    d_b.flush();
    for (std::int64_t p = 0; p < batch; ++p) largest = std::fmax(largest, adjoint.residual[p]);  // NaN (refused) is passed over
  });
  return largest;
}

void cpu_mean_cost(const ProblemRecord& record, Address mean, int threads) {
  const CompletedProblem in(record, threads);
  wbm::cpu::mean_cost(in.problem, at<double>(mean), threads);
}

#ifdef WBM_WITH_CUDA
// Solves on a stream: every address is one of the device and given, but for history's.
void cuda_solve(const ProblemRecord& record, const OptionsRecord& options, const SolutionRecord& where, Address workspace,
                Address stream) {
  const auto [sharp, regularized, f, g, mass, residual, iterations, status, history, epsilon] = where;
  const Solution solution{at<double>(f),        at<double>(g),          at<double>(sharp),
                          at<double>(regularized), at<double>(mass),    at<double>(residual),
                          at<std::int64_t>(iterations), at<std::int32_t>(status), at<double>(history), nullptr};
  wbm::cuda::forward(ProblemFields(record).problem, wbm::options_of(options, nullptr), solution, at<void>(workspace),
                     at<void>(stream));
}

void cuda_gradient(const ProblemRecord& record, const GradientOptions& options, const GradientInputs& from,
                   const GradientOutputs& where, Address workspace, Address stream) {
  const auto [mode, max_iter, iterations, history, threads] = options;
  const auto [f, g, grad_sharp, grad_regularized, grad_f, grad_g] = from;
  const auto [grad_cost, grad_a, grad_b, residual] = where;
  const Adjoint adjoint{static_cast<wbm::Gradient>(mode), at<const double>(f), at<const double>(g),
                        at<const double>(grad_sharp), at<const double>(grad_regularized), at<const double>(grad_f),
                        at<const double>(grad_g), at<void>(grad_cost), at<double>(grad_a), at<double>(grad_b),
                        at<double>(residual), at<const double>(history), at<const std::int64_t>(iterations), max_iter, threads,
                        nullptr, nullptr};
  wbm::cuda::backward(ProblemFields(record).problem, adjoint, at<void>(workspace), at<void>(stream));
}
#endif

void bind_cpu(py::module_& module) {
  const auto release = py::call_guard<py::gil_scoped_release>();
  py::class_<SavedPlans>(module, "SavedPlans", "What solves have saved for their backward; see csrc/cpu/problem/saved_plan.h.");
  module.def("cpu_solve", &cpu_solve, py::arg("problem"), py::arg("options"), py::arg("solution"), py::arg("save"));
  module.def("cpu_gradient", &cpu_gradient, py::arg("problem"), py::arg("options"), py::arg("inputs"), py::arg("outputs"),
             py::arg("saved").none(true));
  module.def("cpu_mean_cost", &cpu_mean_cost, release, py::arg("problem"), py::arg("mean"), py::arg("threads"));
  module.def("instruction_set", &wbm::instruction_set, "The set of CPU kernels in use: baseline, avx2 or avx512.");
}

void bind_cuda(py::module_& module) {
#ifdef WBM_WITH_CUDA
  const auto release = py::call_guard<py::gil_scoped_release>();
  module.attr("cuda_architectures") = WBM_CUDA_ARCHITECTURES;
  module.def("cuda_device_count", &wbm::cuda::device_count, "Devices the driver reports; 0 without a driver.");
  module.def(
      "cuda_workspace_bytes", [](const ProblemRecord& record) { return wbm::cuda::workspace_bytes(ProblemFields(record).problem); },
      py::arg("problem"));
  module.def("cuda_solve", &cuda_solve, release, py::arg("problem"), py::arg("options"), py::arg("solution"),
             py::arg("workspace"), py::arg("stream"));
  module.def(
      "cuda_gradient_workspace_bytes",
      [](const ProblemRecord& record, int mode) {
        return wbm::cuda::backward_workspace_bytes(ProblemFields(record).problem, static_cast<wbm::Gradient>(mode));
      },
      py::arg("problem"), py::arg("mode"));
  module.def("cuda_gradient", &cuda_gradient, release, py::arg("problem"), py::arg("options"), py::arg("inputs"),
             py::arg("outputs"), py::arg("workspace"), py::arg("stream"));
#else
  module.attr("cuda_architectures") = "";
  module.def("cuda_device_count", [] { return 0; });
#endif
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled core of wbm_ext: entropic optimal transport on a given cost matrix.";
  module.attr("compiler") = WBM_COMPILER;
  bind_codes(module);
  bind_cpu(module);
  wbm::bind_clouds(module);
  wbm::bind_losses(module);
  bind_cuda(module);
}
