// Transport discrepancies of the two groups of a batch, as one piece of work each: masses, cost, solve; then the gradients in
// propensities, points and outcomes, for which dL/dD is contracted with the points and given to nobody.
#pragma once

#include <cstdint>
#include <memory>

#include "cpu/loss/points.h"
#include "problem.h"

namespace wbm::cpu {

// The solve of a loss. epsilon NaN: 0.05 times the mean of D. `gradient` is implicit or frozen.
struct LossSolve {
  Method method = Method::accelerated;
  double tol = 1e-6;
  std::int64_t max_iter = 1000;
  double epsilon = 0.0, kappa[2] = {0.0, 0.0};  // kappa of rows and columns
  Reference reference = Reference::entropy;
  Gradient gradient = Gradient::implicit;
  int threads = 1;
  Interrupt* interrupt = nullptr;
  bool differentiable = false;  // a gradient will be taken
};

// Diagnostics of a loss. Where `done` is false nothing else is known: an empty group, an invalid propensity, points that
// coincide, a solve that was refused or did not converge. The caller then takes the operations of torch, which say why.
struct LossReport {
  bool done = false;
  std::int64_t rows = 0;                     // treated samples
  double ess_rows = 0.0, ess_columns = 0.0;  // effective sample sizes, of a balance_loss
  double mass = 0.0, residual = 0.0;         // of the plan
};

// All points and outcomes have the type that `float64` names, and so have their gradients. `value` takes <D, P>.

// <D, P> of treated samples with masses by 1/q and the others with masses by 1/(1-q), D_ij = |phi_i - phi_j|^2.
struct BalanceInput {
  const void* q = nullptr;             // (size)
  const std::uint8_t* treated = nullptr;
  std::int64_t size = 0;
  Points phi;                          // phi.count = size
  std::int64_t k = 0;
  Weighting how;                       // `other` is not read
  bool all = false;                    // the columns are all samples, at uniform mass
  bool scaled = false;                 // D is divided by its mean
};

class BalanceLoss {
 public:
  virtual ~BalanceLoss() = default;

  // d_q (size) and d_phi (size, k), nullptr where not wanted, from dL/dvalue; q and phi (rows `stride` apart) as they were.
  // Returns the relative residual of the linear system.
  virtual double gradient(const void* q, const void* phi, std::int64_t stride, const void* upstream, void* d_q,
                          void* d_phi, Interrupt* interrupt) const = 0;
};

std::unique_ptr<BalanceLoss> balance_loss(const BalanceInput& input, const LossSolve& solve, void* value, LossReport& report);

// Outcomes (size, d) of one kind; element (i, c) at data[i * row + c * column].
struct Columns {
  const void* data = nullptr;
  std::int64_t row = 0, column = 0;
};

// <D, P> of uniform masses, with i treated, j not, y the factual outcomes, z the predicted ones of the other arm:
//     D_ij = scale |r_i - r_j|^2 + gamma [ |z_i - y_j|^2 + |z_j - y_i|^2 ]
struct OutcomeInput {
  Points r;                               // r.count = size
  std::int64_t k = 0, d = 0;              // d = 0: no outcomes
  const std::uint8_t* treated = nullptr;
  Columns factual, other;                 // y and z
  bool float64 = false;
  double scale = 1.0, gamma = 0.0;
};

class OutcomeLoss {
 public:
  virtual ~OutcomeLoss() = default;

  // d_r (size, k) and d_other (size, d) at element strides of its own, each where given.
  virtual double gradient(const void* upstream, void* d_r, void* d_other, std::int64_t row, std::int64_t column,
                          Interrupt* interrupt) const = 0;
};

std::unique_ptr<OutcomeLoss> outcome_loss(const OutcomeInput& input, const LossSolve& solve, void* value, LossReport& report);

}  // namespace wbm::cpu
