// The plain structs that cross every boundary: Python hands addresses in, the CPU and CUDA solvers read them.
//
// Entropic optimal transport between masses a (n) and b (m) on a given cost matrix D (n x m):
//
//     P* = argmin_P <D,P> - eps H(P) + kappa1 KL(P1|a) + kappa2 KL(P'1|b),     H(P) = -sum P (log P - 1)   (entropy)
//     or eps KL(P | a b') in the place of -eps H(P)                                                        (product)
//
// kappa = +inf is the hard constraint P1 = a (P'1 = b). The plan is P_ij = exp((f_i + g_j - D_ij) / eps), and with
// lambda = eps kappa / (eps + kappa) (eps where kappa = +inf)
//
//     f_i = s1 log a_i - lambda1 log sum_j exp((g_j - D_ij) / eps),   s1 = lambda1 (entropy), eps (product);  same for g.
//
// Everything of size n or m is float64; only what has the size of D comes in float32 or float64, on a device also in 16 bits,
// with the arithmetic of float32.
#pragma once

#include <cstdint>

namespace wbm {

enum class Reference : int { entropy = 0, product = 1 };
enum class Criterion : int { marginal = 0, scaling = 1 };
enum class Method : int { sinkhorn = 0, accelerated = 1 };
enum class Bits16 : int { none = 0, float16 = 1, bfloat16 = 2 };
enum class Gradient : int { implicit = 0, frozen = 1, unrolled = 2 };

// Per problem, a union of these bits. Bits above kRescaled mean that the input was refused and nothing was solved.
enum Status : std::int32_t {
  kConverged = 1,          // the criterion is met
  kIterationLimit = 2,     // max_iter iterations were run
  kStagnated = 4,          // the residual stopped falling at the rounding level of the exponents
  kOverflow = 8,           // a quantity left the range of float64
  kRescaled = 16,          // b was rescaled to the total of a (masses differ by less than 1e-3 relative)
  kNanCost = 32,           // D holds NaN or -inf where mass may flow
  kInvalidMass = 64,       // a or b holds a negative or non-finite value
  kUnequalMasses = 128,    // both marginals are hard and their totals differ by more than 1e-3 relative
  kIsolated = 256,         // a hard marginal asks for mass where every pair is forbidden
  kInvalidStrength = 512,  // epsilon or kappa is not positive
  kInvalidInit = 1024,     // the initial potential holds NaN or +inf
};
inline constexpr std::int32_t kRefused = ~31;

// Layout: problem p, row i, column j of D stands at cost[p * cost_stride_problem + i * cost_stride_row + j]; the mask alike.
struct Problem {
  std::int64_t batch = 0, n = 0, m = 0;
  bool float64 = false;          // type of cost (and of the gradient in it)
  Bits16 bits16 = Bits16::none;  // CUDA only: that type where it is neither float32 nor float64
  const void* cost = nullptr;
  std::int64_t cost_stride_problem = 0, cost_stride_row = 0;
  const std::uint8_t* mask = nullptr;  // 1 = the pair may carry mass; nullptr = every pair may
  std::int64_t mask_stride_problem = 0, mask_stride_row = 0;
  const double* a = nullptr;        // (batch, n)
  const double* b = nullptr;        // (batch, m)
  const double* epsilon = nullptr;  // (batch)
  const double* kappa = nullptr;    // (batch, 2), +inf = hard
  Reference reference = Reference::entropy;
};

class Interrupt;  // cpu/interrupt.h
class SavedPlan;       // cpu/problem/saved_plan.h

struct Options {
  Method method = Method::accelerated;
  Criterion criterion = Criterion::marginal;
  double tol = 1e-6;                 // 0 = run exactly max_iter iterations
  std::int64_t max_iter = 1000;      // one iteration = the f update, then the g update
  const double* init_g = nullptr;    // (batch, m), nullptr = 0
  int threads = 1;
  Interrupt* interrupt = nullptr;    // CPU only: looked at now and then; raised, the call throws Interrupted
};

// Where the answers go. Gauge of f, g with both marginals hard: <a,f>/sum(a) = <b,g>/sum(b).
struct Solution {
  double* f = nullptr;                // (batch, n); -inf where a = 0, 0 where the row can carry nothing
  double* g = nullptr;                // (batch, m)
  double* sharp = nullptr;            // (batch) <D,P>
  double* regularized = nullptr;      // (batch) the whole objective
  double* mass = nullptr;             // (batch) sum P
  double* residual = nullptr;         // (batch) (|P1 - r*|_1 + |P'1 - c*|_1) / max(mass, (sum a + sum b)/2)
  std::int64_t* iterations = nullptr; // (batch)
  std::int32_t* status = nullptr;     // (batch)
  double* history = nullptr;          // (batch, max_iter + 1, n + m) f, g after every iteration (0: the start), or nullptr;
                                      // on the CPU recording keeps the iterations in the log domain
  SavedPlan** saved = nullptr;              // (batch) CPU only: what the backward may use, the caller's to delete; nullptr where
                                      // there is nothing, and nullptr: not wanted
};

// A cost that D's type can hold.
inline bool representable(double x, bool float64) {
  return float64 ? x - x == 0.0 : x <= 3.4028234663852886e38 && x >= -3.4028234663852886e38;
}

// A loss L(sharp, regularized, f, g): upstream gradients in, gradients in D, a and b out.
struct Adjoint {
  Gradient mode = Gradient::implicit;
  const double* f = nullptr;                 // the solution's potentials
  const double* g = nullptr;
  const double* grad_sharp = nullptr;        // (batch); these four are required
  const double* grad_regularized = nullptr;  // (batch)
  const double* grad_f = nullptr;            // (batch, n)
  const double* grad_g = nullptr;            // (batch, m)
  void* grad_cost = nullptr;                 // (batch, n, m) contiguous, type of cost; nullptr: not wanted (not unrolled)
  double* grad_a = nullptr;                  // (batch, n)
  double* grad_b = nullptr;                  // (batch, m)
  double* residual = nullptr;                // (batch) relative residual of the linear system
  const double* history = nullptr;           // (batch, max_iter + 1, n + m), unrolled only
  const std::int64_t* iterations = nullptr;  // (batch), unrolled only
  std::int64_t max_iter = 0;
  int threads = 1;
  const SavedPlan* const* saved = nullptr;         // (batch) what the solve of the same problem has kept
  Interrupt* interrupt = nullptr;                  // CPU only
};

}  // namespace wbm
