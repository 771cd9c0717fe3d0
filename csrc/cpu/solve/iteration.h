// The iterations of one problem: stabilised scaling, the log domain where scalings leave their range, and Newton steps from
// annealed potentials where plain iterations crawl. Internal to forward.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "cpu/solve/anneal.h"
#include "cpu/runtime/interrupt.h"
#include "cpu/kernels/kernels.h"
#include "cpu/problem/fixed_point.h"
#include "cpu/solve/relaxation.h"
#include "cpu/problem/report.h"
#include "cpu/solve/scaling.h"
#include "cpu/runtime/team.h"
#include "cpu/problem/view.h"

namespace wbm::cpu {

constexpr std::int64_t kColumnBlock = 512;  // doubles of running maxima and sums that stay in the first-level cache

template <typename T>
class Iteration {
 public:
  Iteration(View<T>& view, const Options& options, Team& team, double* f, double* g)
      : view_(view), options_(options), kernels_(row_kernels<T>()), team_(team), f_(f), g_(g),
        row_max_(view.n), row_sum_(view.n), column_max_(view.m), column_sum_(view.m) {
    std::fill(f_, f_ + view_.n, 0.0);
  }

  enum class End { met, stagnated, limit };

  // Runs until the residual is at most `target`, or max_iter iterations are done; may be called again with a smaller one.
  End run(double target, double* history) {
    if (done_ == 0) record(history);
    const End end = iterate(target, history);
    if (scaled_) leave_scaling();
    return end;
  }

  // The costs and the residual of (f, g): from the stored kernel where its plan is as good as theirs, else from D.
  void report(const Solution& out, std::int64_t p) {
    double error = 0.0;
    const bool keeps = out.saved != nullptr;
    stored_ = scaled_ && done_ > 0 && scaling_->sums(sums_, error, keeps ? f_ : nullptr, g_);
    if (stored_) wbm::report(view_, sums_, f_, g_, out, p);
    const double margin = options_.tol > 0.0 ? options_.tol - out.residual[p] : 1e-6;
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
    return scaling_->save_plan(std::move(sums_), options_.tol);
  }

  // From now on sums are float64: the potentials delivered missed a target that the float32 sums had met.
  void refine() {
    if (!precise_) {
      scaling_.reset();
      best_ = kInf;
    }
    precise_ = true;
    scaled_ = false;
  }

  std::int64_t done() const { return done_; }

 private:
  static constexpr double kLeastShare = 1e-60;

  // Iterations on the stored kernel where its scalings are in range, else in the log domain.
  End iterate(double target, double* history) {
    const bool test = options_.tol > 0.0, marginal = options_.criterion == Criterion::marginal;
    const bool translates = test && options_.method == Method::accelerated;
    const bool may_scale = marginal && !history;
    if (done_ == 0 && may_scale && !options_.init_g && options_.max_iter > 1) start_cold();
    for (;;) {
      if (done_ >= options_.max_iter || raised(options_.interrupt)) return End::limit;
      double residual = kInf;
      if (scaled_) {
        const Scaling::Outcome outcome = 
            scaling_->iterate(test ? stored_target(target) : -1.0, relaxation_.omega(), translates, residual);
        if (outcome == Scaling::Outcome::met) return End::met;
        if (!precise_ && (std::isnan(residual) || (test && stagnates(residual)))) {
          if (done_ > 0) leave_scaling();
          refine();  // float32 sums overflow, or cannot come closer
          continue;
        }
        if (precise_ && test && stagnates(residual)) return End::stagnated;
        if (outcome == Scaling::Outcome::accepted) {
          ++done_;
          wait_ = pause_ = 0;
          gained_ = true;
          if (translates && view_.both_hard() && std::isfinite(residual)) relaxation_.observe(residual);
          if (translates && crawls(residual, target)) {
            const End end = accelerate(target);
            if (end != End::stagnated) return end;
          }
          continue;
        }
        scaled_ = false;
        if (std::exchange(gained_, false) && view_.both_hard()) {  // the scalings have only left their range
          leave_scaling();
          absorb();
          if (scaled_) continue;
        }
        // Nothing was gained since the last absorption: wait longer and longer before the next one.
        pause_ = std::min<std::int64_t>(2 * pause_ + 1, 64);
        wait_ = pause_;
        if (done_ > 0) leave_scaling();  // else g is still 0
      }
      row_log_sums();
      if (test && marginal && done_ > 0) {
        // The log sums of this f update give the row sums of the previous plan: its residual costs nothing.
        residual = previous_residual();
        if (residual <= target) return End::met;
        if (stagnates(residual)) return End::stagnated;
      }
      old_f_.assign(f_, f_ + view_.n);
      for (std::int64_t i = 0; i < view_.n; ++i) f_[i] = view_.rows.update(i, row_max_[i], row_sum_[i], view_.epsilon);
      old_g_.assign(g_, g_ + view_.m);
      update_columns();
      columns_ = ColumnError::exact();
      ++done_;
      if (test && !marginal && scalings_rest()) {
        record(history);
        return End::met;
      }
      if (translates) translate();
      record(history);
      if (may_scale && done_ < options_.max_iter && --wait_ < 0 && (done_ == 1 || calm())) absorb();
    }
  }

  // Float32 sums stop a little lower, so that their report is good enough and D need not be read again.
  double stored_target(double target) const { return !precise_ && target > 4e-7 ? target - 2e-7 : target; }

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
    if (scaling_) return true;
    const bool single = std::is_same_v<T, float> && !precise_ && (options_.tol == 0.0 || options_.tol >= 2e-7);
    scaling_ = single ? make_scaling<T, float>(view_, team_) : make_scaling<T, double>(view_, team_);
    return scaling_ != nullptr;
  }

  // Whether the plain iterations left, by the rate of the last ones, cost more than Newton steps would. Asked once.
  bool crawls(double residual, double target) {
    constexpr std::int64_t kPatience = 20, kWindow = 8;
    if (accelerated_ || view_.m > 6144 || view_.n > 6144) return false;
    if (since_first_++ % kWindow) return false;
    const double before = anchor_;
    anchor_ = residual;
    if (since_first_ <= kPatience || !(residual > target)) return false;
    const double rate = std::log(residual / before) / kWindow;  // a step's change of log residual
    const double left = rate < 0.0 ? std::log(target / residual) / rate : kInf;
    return left > 100.0 + static_cast<double>(view_.m) / 8.0;
  }

  // Newton steps from annealed potentials (or from the present ones, after a warm start). `stagnated`: it did not get
  // there, and plain iterations go on from the better of the two.
  End accelerate(double target) {
    accelerated_ = true;
    leave_scaling();
    const std::vector<double> plain_f(f_, f_ + view_.n), plain_g(g_, g_ + view_.m);
    precise_ = true;
    scaled_ = false;
    scaling_.reset();
    best_ = kInf;
    std::int64_t spent = 0;
    if (!options_.init_g && view_.epsilon < 0.8 * warmest(view_)) {
      const bool annealed = anneal(view_, team_, f_, g_, options_.max_iter - done_, spent);
      done_ += std::min(spent, options_.max_iter - done_);
      columns_ = ColumnError();
      if (!annealed) restore(plain_f, plain_g);
    }
    double residual = kInf;
    for (int attempt = 0; attempt < 4 && done_ < options_.max_iter && !raised(options_.interrupt); ++attempt) {
      const double before = residual;
      absorb();
      if (!scaled_) break;
      const bool met = scaling_->newton(target, options_.max_iter - done_, spent, residual);
      done_ += std::min(spent, options_.max_iter - done_);
      leave_scaling();
      if (met) return End::met;
      if (!(residual < 0.5 * before)) break;
    }
    if (!scaled_ || !(residual < anchor_)) restore(plain_f, plain_g);
    return done_ >= options_.max_iter ? End::limit : End::stagnated;
  }

  void restore(const std::vector<double>& f, const std::vector<double>& g) {
    std::copy(f.begin(), f.end(), f_);
    std::copy(g.begin(), g.end(), g_);
    columns_ = ColumnError();  // the next row update would pair them with exact rows
    scaled_ = false;
  }

  // f, g and what is known of their columns, from the scaling.
  void leave_scaling() { columns_ = scaling_->read(f_, g_); }

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

  void start_cold() {
    for (std::int64_t i = 0; i < view_.n; ++i)  // the scaling knows the active rows only
      if (!view_.rows.active[i]) f_[i] = view_.rows.update(i, 0.0, 1.0, view_.epsilon);
    scaled_ = has_scaling() && scaling_->absorb_cold();
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

  // True when the residual has stopped falling at the rounding level of the sums or exponents.
  bool stagnates(double residual) {
    since_best_ = residual < best_ ? 0 : since_best_ + 1;
    best_ = std::fmin(best_, residual);
    return since_best_ >= 20 && (best_ <= rounding_level(view_, f_, g_) || (scaled_ && !precise_ && best_ <= 1e-5));
  }

  void row_log_sums() {
    team_.split(view_.n, [this](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        if (!view_.rows.active[i]) continue;
        const LogSum s = kernels_.log_sum(view_.row(i), view_.mask_row(i), g_, view_.inverse_epsilon, view_.m);
        row_max_[i] = s.max;
        row_sum_[i] = s.sum;
      }
    });
  }

  // g_j = s2 log b_j - lambda2 log sum_i exp((f_i - D_ij) / eps): the maxima first, then the sums, by column blocks.
  void update_columns() {
    const std::int64_t blocks = (view_.m + kColumnBlock - 1) / kColumnBlock, threads = team_.size();
    const std::int64_t width = blocks < threads ? (view_.m / threads + 8) / 8 * 8 : kColumnBlock;
    team_.split((view_.m + width - 1) / width, [this, width](std::int64_t first, std::int64_t last) {
      for (std::int64_t block = first; block < last; ++block)
        update_columns(block * width, std::min((block + 1) * width, view_.m));
    });
  }

  void update_columns(std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = begin; j < end; ++j) column_max_[j] = -kInf, column_sum_[j] = 0.0;
    for (std::int64_t i = 0; i < view_.n; ++i)
      if (view_.rows.active[i])
        kernels_.column_max(view_.row(i), view_.mask_row(i), f_[i], column_max_.data(), begin, end);
    for (std::int64_t i = 0; i < view_.n; ++i)
      if (view_.rows.active[i])
        kernels_.column_sum(view_.row(i), view_.mask_row(i), f_[i], column_max_.data(), column_sum_.data(),
                            view_.inverse_epsilon, begin, end);
    for (std::int64_t j = begin; j < end; ++j)
      g_[j] = view_.columns.update(j, column_max_[j], column_sum_[j], view_.epsilon);
  }

  // Residual of (f, g) as they stand, from the row log sums over g and what is known of the columns.
  double previous_residual() const {
    double error = 0.0, mass = 0.0;
    for (std::int64_t i = 0; i < view_.n; ++i) {
      if (!view_.rows.active[i]) continue;
      const double r = std::exp((f_[i] + row_max_[i]) * view_.inverse_epsilon) * row_sum_[i];
      error += std::fabs(r - view_.rows.target(i, f_[i]));
      mass += r;
    }
    return residual(view_, error, columns_, mass);
  }

  // |u - u'|^2 + |v - v'|^2 < tol with u = exp(f / eps), v = exp(g / eps); an overflow counts as not met.
  bool scalings_rest() const {
    double change = 0.0;
    for (std::int64_t i = 0; i < view_.n; ++i) change += square(scaling(f_[i]) - scaling(old_f_[i]));
    for (std::int64_t j = 0; j < view_.m; ++j) change += square(scaling(g_[j]) - scaling(old_g_[j]));
    return change < options_.tol;  // false where change is NaN
  }

  double scaling(double potential) const { return std::exp(potential * view_.inverse_epsilon); }
  static double square(double x) { return x * x; }

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

  void record(double* history) const {
    if (!history) return;
    double* slot = history + done_ * (view_.n + view_.m);
    std::copy(g_, g_ + view_.m, std::copy(f_, f_ + view_.n, slot));
  }

  View<T>& view_;
  const Options& options_;
  const RowKernels<T>& kernels_;
  Team& team_;
  double *f_, *g_;
  std::vector<double> old_f_, old_g_, row_max_, row_sum_, column_max_, column_sum_;
  ColumnError columns_;  // of (f, g)
  double best_ = kInf;
  std::int64_t done_ = 0, pause_ = 0, wait_ = 0;
  int since_best_ = 0;
  Relaxation relaxation_;
  bool accelerated_ = false;                        // Newton has had its turn
  std::int64_t since_first_ = 0;                    // scaled iterations
  double anchor_ = kInf;                            // residual kWindow iterations ago
  std::unique_ptr<Scaling> scaling_;
  bool scaled_ = false;                             // the state is scaling_'s, not f_, g_
  bool gained_ = false;                             // an iteration was accepted since the last absorption
  bool stored_ = false;                             // the last report is of scaling_'s plan, with these sums
  PlanSums sums_;
  bool precise_ = std::is_same_v<T, double>;        // sums in float64
};

}  // namespace wbm::cpu
