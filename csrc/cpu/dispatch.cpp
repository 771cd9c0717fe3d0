// Chooses the widest set of kernels that this machine runs. WBM_MAX_ISA=baseline|avx2|avx512 holds it down (tests,
// instruction counts).
#include <cstdlib>
#include <string>

#include "cpu/kernels.h"

namespace wbm {

namespace baseline {
extern const Kernels kernels;
}
#ifdef WBM_X86
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
#endif

namespace {

const Kernels& choose() {
#ifdef WBM_X86
  const char* text = std::getenv("WBM_MAX_ISA");
  const std::string limit = text ? text : "avx512";
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  if (has_avx512 && limit == "avx512") return avx512::kernels;
  if (has_avx2 && limit != "baseline") return avx2::kernels;
#endif
  return baseline::kernels;
}

const Kernels& chosen() {
  static const Kernels& kernels = choose();
  return kernels;
}

}  // namespace

template <>
const RowKernels<float>& row_kernels<float>() {
  return chosen().float32;
}

template <>
const RowKernels<double>& row_kernels<double>() {
  return chosen().float64;
}

template <>
const ScalingKernels<float>& scaling_kernels<float>() {
  return chosen().scaling32;
}

template <>
const ScalingKernels<double>& scaling_kernels<double>() {
  return chosen().scaling64;
}

template <>
const BuildKernel<float, float>& build_kernel<float, float>() {
  return chosen().build32from32;
}

template <>
const BuildKernel<float, double>& build_kernel<float, double>() {
  return chosen().build64from32;
}

template <>
const BuildKernel<double, float>& build_kernel<double, float>() {
  return chosen().build32from64;
}

template <>
const BuildKernel<double, double>& build_kernel<double, double>() {
  return chosen().build64from64;
}

PowerKernel power_kernel() { return chosen().power; }
ExpKernel exp_kernel() { return chosen().exp_linear; }

const char* instruction_set() { return chosen().name; }

}  // namespace wbm
