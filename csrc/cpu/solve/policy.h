// Which step comes next, when a solve ends, and why: everything a solve decides stands in run() and accelerate().
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "cpu/problem/fixed_point.h"
#include "cpu/problem/report.h"
#include "cpu/runtime/interrupt.h"
#include "cpu/solve/anneal.h"
#include "cpu/solve/step.h"

namespace wbm::cpu {

enum class End { met, stagnated, limit };

template <typename T>
class Policy {
 public:
  Policy(View<T>& view, const Options& options, Team& team, double* f, double* g, double* history)
      : view_(view), options_(options), team_(team), f_(f), g_(g), history_(history),
        tests_(options.tol > 0.0),
        accelerates_(tests_ && options.method == Method::accelerated && options.criterion == Criterion::marginal && !history &&
                     std::max(view.n, view.m) <= kLargestNewton),
        levels_(accelerates_ ? std::max<std::int64_t>(annealing_levels(view), 0) : 0),
        step_(view, options, team, options.criterion == Criterion::marginal && !history, loose(), f, g) {
    record();
  }

  // Iterates until the residual is at most `target`: met. Else until it has stopped falling at the rounding level
  // (stagnated), or max_iter passes over the matrix are done (limit). May be called again with a smaller target.
  End run(double target) {
    for (;;) {
      if (done_ >= options_.max_iter || raised(options_.interrupt)) return finish(End::limit);
      double residual;
      const typename Step<T>::Outcome outcome = step_.iterate(tests_ ? target : -1.0, residual);
      if (outcome == Step<T>::Outcome::met) return finish(End::met);
      if (tests_ && stagnates(residual)) {
        if (!step_.loose()) return finish(End::stagnated);
        step_.refine();  // float32 sums cannot come closer
        best_ = kInf;
      }
      if (outcome == Step<T>::Outcome::changed) continue;
      ++done_;
      record();
      if (outcome == Step<T>::Outcome::settled) return finish(End::met);
      if (crawls(residual, target) && accelerate(target)) return finish(End::met);
    }
  }

  // From now on sums are float64: the potentials delivered missed a target that the float32 sums had met.
  void refine() {
    step_.refine();
    best_ = kInf;
  }

  // The costs and the residual of (f, g): from the stored kernel where its plan is as good as theirs, else from D.
  void report(const Solution& out, std::int64_t p) {
    double error = 0.0;
    const Scaling* scaling = step_.scaling();
    stored_ = scaling && scaling->sums(sums_, error, out.saved ? f_ : nullptr, g_);
    if (stored_) wbm::report(view_, sums_, f_, g_, out, p);
    const double margin = tests_ ? options_.tol - out.residual[p] : 1e-6;
    stored_ = stored_ && error <= margin;
    if (!stored_) wbm::report(view_, sum_plan(view_, team_, f_, g_), f_, g_, out, p);
  }

  // The plan reported, if it is the stored one and each row and column of it carries mass that a gradient can divide by.
  std::unique_ptr<SavedPlan> save_plan() {
    if (!stored_ || !view_.both_hard()) return nullptr;  // soft sums may be of any size
    double mass = 0.0;
    for (const double r : sums_.rows) mass += r;
    const auto carries = [&](const std::vector<double>& sums) {
      return std::all_of(sums.begin(), sums.end(), [&](double x) { return x > kLeastShare * mass && x < kInf; });
    };
    if (!carries(sums_.rows) || !carries(sums_.columns)) return nullptr;
    return step_.scaling()->save_plan(std::move(sums_), options_.tol);
  }

  std::int64_t done() const { return done_; }

 private:
  static constexpr double kLeastShare = 1e-60;
  static constexpr std::int64_t kLargestNewton = 16384;  // rows or columns
  static constexpr std::int64_t kNewton = 40;            // passes that Newton steps take from a good start, or so

  // float32 sums do where they can meet the tolerance; for float64 costs, where the plain iterations are a trial.
  bool loose() const {
    if (std::is_same_v<T, float>) return options_.tol == 0.0 || options_.tol >= 2e-7;
    return levels_ > 1 && !options_.init_g;
  }

  End finish(End end) {
    step_.publish();
    return end;
  }

  // True when the residual has stopped falling at the rounding level of the sums or exponents.
  bool stagnates(double residual) {
    if (!std::isfinite(residual)) return false;
    since_best_ = residual < best_ ? 0 : since_best_ + 1;
    best_ = std::fmin(best_, residual);
    if (since_best_ < 20) return false;
    if (step_.loose() && best_ <= 1e-5) return true;
    step_.publish();
    return best_ <= rounding_level(view_, f_, g_);
  }

  // Whether the plain iterations left, by the rate of the last ones, cost more than Newton steps would. Asked until they once
  // do.
  bool crawls(double residual, double target) {
    constexpr std::int64_t kWindow = 8;
    const std::int64_t patience = view_.n * view_.m < std::int64_t(1) << 14 ? 31 : 15;  // a trial of a small problem is cheap
    if (!accelerates_ || accelerated_) return false;
    if (asked_++ % kWindow) return false;
    const double before = anchor_;
    anchor_ = residual;
    if (asked_ <= patience || !(residual > target)) return false;
    const double rate = std::log(residual / before) / kWindow;  // an iteration's change of log residual
    const double left = rate < 0.0 ? std::log(target / residual) / rate : kInf;
    return left > static_cast<double>(2 * kNewton + 8 * levels_);
  }

  // Newton steps from annealed potentials, or from the present ones after a warm start and where epsilon is large. True when
  // they met the target; else the best of the states passed through, by the dual objective, is where plain iterations go on.
  bool accelerate(double target) {
    accelerated_ = true;
    step_.publish();
    State best = state();
    const bool near = options_.init_g || levels_ == 0;
    if (near && newton(target)) return true;
    if (near) keep_better(best);
    for (const double rough : {0.03, 1e-3}) {  // carefully where a quick way down ends too far off
      if (levels_ == 0 || left() < 12 * levels_ + kNewton || raised(options_.interrupt)) break;
      std::int64_t spent = 0;
      const bool annealed = anneal(view_, team_, f_, g_, left(), rough, spent);
      spend(spent);
      step_.replaced();
      if (annealed && newton(target)) return true;
      keep_better(best);
    }
    std::copy(best.f.begin(), best.f.end(), f_);
    std::copy(best.g.begin(), best.g.end(), g_);
    step_.replaced();
    best_ = kInf;
    return false;
  }

  bool newton(double target) {
    double residual = kInf;
    while (left() > 0 && !raised(options_.interrupt)) {
      const double before = residual;
      Scaling* scaling = step_.absorbed();
      if (!scaling) return false;
      std::int64_t spent = 0;
      bool left_range = false;
      const bool met = scaling->newton(target, left(), spent, residual, left_range);
      spend(spent);
      step_.publish();
      if (met) return true;
      if (!left_range && !(residual < 0.5 * before)) return false;
    }
    return false;
  }

  struct State {
    double dual;
    std::vector<double> f, g;
  };
  State state() {
    const double dual = step_.raise();
    return {dual, std::vector<double>(f_, f_ + view_.n), std::vector<double>(g_, g_ + view_.m)};
  }
  void keep_better(State& best) {
    State now = state();
    if (now.dual > best.dual) best = std::move(now);
  }

  std::int64_t left() const { return options_.max_iter - done_; }
  void spend(std::int64_t passes) { done_ += std::min(passes, left()); }

  void record() const {
    if (!history_) return;
    double* slot = history_ + done_ * (view_.n + view_.m);
    std::copy(g_, g_ + view_.m, std::copy(f_, f_ + view_.n, slot));
  }

  View<T>& view_;
  const Options& options_;
  Team& team_;
  double *f_, *g_, *history_;
  const bool tests_, accelerates_;
  const std::int64_t levels_;  // of annealing, where it may be used
  Step<T> step_;
  std::int64_t done_ = 0;
  double best_ = kInf;           // residual
  int since_best_ = 0;
  bool accelerated_ = false;     // Newton has had its turn
  std::int64_t asked_ = 0;
  double anchor_ = kInf;         // the residual kWindow iterations ago
  bool stored_ = false;          // the last report is of the stored plan, with these sums
  PlanSums sums_;
};

}  // namespace wbm::cpu
