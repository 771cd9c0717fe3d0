// Chooses the widest set of kernels that this machine runs. WBM_MAX_ISA=baseline|avx2|avx512 holds it down (tests,
// instruction counts).
#include <cstdlib>
#include <string>

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/cloud.h"
#include "cpu/kernels/small.h"
#include "cpu/kernels/tiny.h"

namespace wbm {

#define WBM_DECLARE(isa)                                  \
  namespace isa {                                         \
  extern const LogKernels log_kernels;                    \
  extern const ScalingTable scaling_kernels;              \
  extern const FactorKernels factor_kernels;              \
  extern const PlanKernels plan_kernels;                  \
  extern const SmallTable small_kernels;                  \
  extern const SmallGradientTable small_gradient_kernels; \
  extern const DistanceKernels distance_kernels;          \
  extern const CloudKernels cloud_kernels;                \
  extern const TinyKernels tiny_kernels;                  \
  }
WBM_DECLARE(baseline)
#ifdef WBM_X86
WBM_DECLARE(avx2)
WBM_DECLARE(avx512)
#endif

namespace {

struct Tables {
  const LogKernels& log;
  const ScalingTable& scaling;
  const FactorKernels& factor;
  const PlanKernels& plan;
  const SmallTable& small;
  const SmallGradientTable& small_gradient;
  const DistanceKernels& distances;
  const CloudKernels& cloud;
  const TinyKernels& tiny;
  const char* name;
};

#define WBM_TABLES(isa)                                                                             \
  Tables{isa::log_kernels,   isa::scaling_kernels,        isa::factor_kernels,   isa::plan_kernels, \
         isa::small_kernels, isa::small_gradient_kernels, isa::distance_kernels, \
         isa::cloud_kernels, isa::tiny_kernels, #isa}

Tables choose() {
#ifdef WBM_X86
  const char* text = std::getenv("WBM_MAX_ISA");
  const std::string limit = text ? text : "avx512";
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  if (has_avx512 && limit == "avx512") return WBM_TABLES(avx512);
  if (has_avx2 && limit != "baseline") return WBM_TABLES(avx2);
#endif
  return WBM_TABLES(baseline);
}

const Tables& chosen() {
  static const Tables tables = choose();
  return tables;
}

}  // namespace

template <>
const RowKernels<float>& row_kernels<float>() {
  return chosen().log.float32;
}
template <>
const RowKernels<double>& row_kernels<double>() {
  return chosen().log.float64;
}
template <>
const ScalingKernels<float>& scaling_kernels<float>() {
  return chosen().scaling.float32;
}
template <>
const ScalingKernels<double>& scaling_kernels<double>() {
  return chosen().scaling.float64;
}
template <>
const BuildKernel<float, float>& build_kernel<float, float>() {
  return chosen().scaling.build32from32;
}
template <>
const BuildKernel<float, double>& build_kernel<float, double>() {
  return chosen().scaling.build64from32;
}
template <>
const BuildKernel<double, float>& build_kernel<double, float>() {
  return chosen().scaling.build32from64;
}
template <>
const BuildKernel<double, double>& build_kernel<double, double>() {
  return chosen().scaling.build64from64;
}
const VectorKernels& vector_kernels() { return chosen().scaling.vectors; }
const MixedKernels& mixed_kernels() { return chosen().scaling.mixed; }
const FactorKernels& factor_kernels() { return chosen().factor; }
const PlanKernels& plan_kernels() { return chosen().plan; }
template <>
const SmallKernels<float>& small_kernels<float>() {
  return chosen().small.float32;
}
template <>
const SmallKernels<double>& small_kernels<double>() {
  return chosen().small.float64;
}
const SmallVectors& small_vectors() { return chosen().small.vectors; }
template <>
const SmallGradientKernels<float>& small_gradient_kernels<float>() {
  return chosen().small_gradient.float32;
}
template <>
const SmallGradientKernels<double>& small_gradient_kernels<double>() {
  return chosen().small_gradient.float64;
}
const SmallGradientVectors& small_gradient_vectors() { return chosen().small_gradient.vectors; }
template <>
const DistanceKernel<float>& distance_kernel<float>() {
  return chosen().distances.float32;
}
template <>
const DistanceKernel<double>& distance_kernel<double>() {
  return chosen().distances.float64;
}
const CloudKernels& cloud_kernels() { return chosen().cloud; }
const TinyKernels& tiny_kernels() { return chosen().tiny; }
const char* instruction_set() { return chosen().name; }

}  // namespace wbm
