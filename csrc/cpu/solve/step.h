// What one iteration does: the f update, the g update and the translation, on the stored kernel where its scalings are in
// range, else in the log domain. The step keeps the state, the potentials and what is known of the columns of their plan, in
// whichever of the two forms; when to stop and when to do something else is the policy's (policy.h).
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "cpu/solve/log_domain.h"
#include "cpu/solve/relaxation.h"
#include "cpu/solve/scaling.h"

namespace wbm::cpu {

template <typename T>
class Step {
 public:
  enum class Outcome {
    met,       // the plan as it stood met the target; nothing was done
    advanced,  // one iteration
    settled,   // one iteration, and the scalings are at rest (the scaling criterion)
    changed,   // no iteration: the state has taken another form, in which the next one will
  };

  // `loose`: sums in float32 will do for now.
  Step(View<T>& view, const Options& options, Team& team, bool scales, bool loose, double* f, double* g)
      : view_(view), options_(options), team_(team), log_(view, team), f_(f), g_(g), scales_(scales), precise_(!loose) {
    std::fill(f_, f_ + view_.n, 0.0);
    if (!scales_ || options_.init_g || options_.max_iter <= 1) return;
    for (std::int64_t i = 0; i < view_.n; ++i)  // the scaling knows the active rows only
      if (!view_.rows.active[i]) f_[i] = view_.rows.update(i, 0.0, 1.0, view_.epsilon);
    scaled_ = has_scaling() && scaling_->absorb_cold();
  }

  // `residual` becomes that of the plan before this iteration, infinite where it is not known.
  Outcome iterate(double target, double& residual) {
    residual = kInf;
    if (scaled_) {
      const double least = loose() ? loose_target(target) : target;
      switch (scaling_->iterate(least, relaxation_.omega(), translates(), residual)) {
        case Scaling::Outcome::met:
          if (!loose() || least == loose_target_of_float(target)) return Outcome::met;
          refine();
          absorb();
          return Outcome::changed;
        case Scaling::Outcome::accepted:
          started_ = gained_ = true;
          wait_ = pause_ = 0;
          if (translates() && view_.both_hard() && std::isfinite(residual)) relaxation_.observe(residual);
          return Outcome::advanced;
        case Scaling::Outcome::rejected:
          if (!precise_ && std::isnan(residual)) {  // float32 sums overflow
            refine();
            return Outcome::changed;
          }
          leave_range();
          if (scaled_) return Outcome::changed;
      }
    }
    return iterate_in_the_log_domain(target, residual);
  }

  // Sums are float32: they come to about 1e-7 and no closer.
  bool loose() const { return scaled_ && !precise_; }

  // From now on sums are float64.
  void refine() {
    if (scaled_ && started_) columns_ = scaling_->read(f_, g_);
    if (!precise_) scaling_.reset();
    precise_ = true;
    scaled_ = false;
  }

  // The state as potentials, for whoever reads or moves them.
  void publish() {
    if (scaled_ && started_) columns_ = scaling_->read(f_, g_);
  }
  // The potentials f_, g_ were set from outside: nothing is known of their columns.
  void replaced() {
    columns_ = ColumnError();
    scaled_ = false;
    started_ = true;
  }

  // The stored kernel of the present potentials in float64; nullptr where they do not allow one.
  Scaling* absorbed() {
    refine();
    absorb();
    return scaled_ ? scaling_.get() : nullptr;
  }

  // f becomes the row update of g; returns the dual objective there, up to a constant: what any two states are compared by.
  double raise() {
    log_.sum_rows(g_);
    log_.update_rows(f_);
    replaced();
    const double mass = std::exp(log_targets(view_.rows, f_));
    return dual_value(view_.rows, f_) + dual_value(view_.columns, g_) - view_.epsilon * mass;
  }

  const Scaling* scaling() const { return scaled_ && started_ ? scaling_.get() : nullptr; }
  Scaling* scaling() { return scaled_ && started_ ? scaling_.get() : nullptr; }

 private:
  bool tests() const { return options_.tol > 0.0; }
  bool translates() const { return tests() && options_.method == Method::accelerated; }

  // Where sums in float32 end: a little below the target, so that their report is good enough and D need not be read again;
  // float64 costs get float64 sums before that.
  static double loose_target_of_float(double target) { return target > 4e-7 ? target - 2e-7 : target; }
  static double loose_target(double target) {
    return std::is_same_v<T, float> ? loose_target_of_float(target) : std::fmax(target, 1e-5);
  }

  Outcome iterate_in_the_log_domain(double target, double& residual) {
    const bool marginal = options_.criterion == Criterion::marginal;
    log_.sum_rows(g_);
    if (tests() && marginal && started_) {
      // The log sums of this f update give the row sums of the previous plan: its residual costs nothing.
      residual = log_.residual(f_, columns_);
      if (residual <= target) return Outcome::met;
    }
    old_f_.assign(f_, f_ + view_.n);
    old_g_.assign(g_, g_ + view_.m);
    log_.update_rows(f_);
    log_.update_columns(f_, g_);
    columns_ = ColumnError::exact();
    const bool first = !std::exchange(started_, true);
    if (tests() && !marginal && scalings_rest()) return Outcome::settled;
    if (translates()) translate();
    if (scales_ && --wait_ < 0 && (first || calm())) absorb();
    return Outcome::advanced;
  }

  // The scalings have left their range: where something was gained since the last absorption they are absorbed anew, else the
  // log domain takes over, for longer and longer.
  void leave_range() {
    publish();
    scaled_ = false;
    if (std::exchange(gained_, false) && view_.both_hard()) absorb();
    if (scaled_) return;
    pause_ = std::min<std::int64_t>(2 * pause_ + 1, 64);
    wait_ = pause_;
  }

  // K holds plan entries over a b: where a soft marginal carries far less than its mass they are as small as that share,
  // and must not flush to zero.
  void absorb() {
    const double share = std::fmin(log_share(view_.rows, f_), log_share(view_.columns, g_));
    if (share < -400.0) return;
    if (share < -18.0 && !precise_) refine();
    if (!has_scaling()) return;
    scaling_->absorb(f_, g_, columns_);
    scaled_ = true;
  }

  // min_i log(r*_i / a_i) = -dual / kappa
  static double log_share(const Side& side, const double* potential) {
    double least = 0.0;
    if (side.hard) return least;
    for (std::int64_t i = 0; i < side.size; ++i)
      if (side.active[i])
        least = std::fmin(least, -(potential[i] - side.dual_shift * side.log_mass[i]) / side.kappa);
    return least;
  }

  bool has_scaling() {
    if (!scaling_) scaling_ = precise_ ? make_scaling<T, double>(view_, team_) : make_scaling<T, float>(view_, team_);
    return scaling_ != nullptr;
  }

  // The last log-domain iteration moved no potential by more than a few epsilon.
  bool calm() const {
    const auto still = [&](const Side& side, const double* now, const std::vector<double>& before) {
      bool ok = true;
      for (std::int64_t i = 0; i < side.size; ++i)
        if (side.active[i]) ok &= std::fabs(now[i] - before[i]) <= Scaling::kCalm * view_.epsilon;
      return ok;
    };
    return still(view_.rows, f_, old_f_) && still(view_.columns, g_, old_g_);
  }

  // |u - u'|^2 + |v - v'|^2 < tol with u = exp(f / eps), v = exp(g / eps); an overflow counts as not met.
  bool scalings_rest() const {
    const auto change = [&](double now, double before) {
      const double d = std::exp(now * view_.inverse_epsilon) - std::exp(before * view_.inverse_epsilon);
      return d * d;
    };
    double sum = 0.0;
    for (std::int64_t i = 0; i < view_.n; ++i) sum += change(f_[i], old_f_[i]);
    for (std::int64_t j = 0; j < view_.m; ++j) sum += change(g_[j], old_g_[j]);
    return sum < options_.tol;  // false where it is NaN
  }

  void translate() {
    const Side &rows = view_.rows, &columns = view_.columns;
    if (rows.hard && columns.hard) return;
    const double t = translation(rows, columns, log_targets(rows, f_), log_targets(columns, g_));
    if (!std::isfinite(t)) return;
    for (std::int64_t i = 0; i < view_.n; ++i)
      if (rows.active[i]) f_[i] += t;
    for (std::int64_t j = 0; j < view_.m; ++j)
      if (columns.active[j]) g_[j] -= t;
    columns_ = columns_.translated(columns, t);
  }

  View<T>& view_;
  const Options& options_;
  Team& team_;
  LogDomain<T> log_;
  double *f_, *g_;
  ColumnError columns_;  // of (f, g)
  std::vector<double> old_f_, old_g_;
  Relaxation relaxation_;
  std::unique_ptr<Scaling> scaling_;
  const bool scales_;     // the stored kernel may be used
  bool scaled_ = false;   // the state is scaling_'s, not f_, g_
  bool precise_;          // sums in float64
  bool started_ = false;  // there has been an iteration
  bool gained_ = false;   // an iteration was accepted since the last absorption
  std::int64_t pause_ = 0, wait_ = 0;
};

}  // namespace wbm::cpu
