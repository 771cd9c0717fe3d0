// The CPU solver without Python and torch, for sanitizers and for machines that have neither: small problems of every kind
// through forward and backward, each answer held against the definitions in problem.h. One line a case; exits 1 on a failure.
//
// `driver threads` leaves out the cases that run on one thread.
//
// Matrices are allocated to the last entry that a layout may read and no further, so that a read beyond it is an error
// that AddressSanitizer sees.
#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "cpu/kernels/kernels.h"
#include "cpu/solver.h"

namespace {

using namespace wbm;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// splitmix64: the same numbers on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(n)); }

 private:
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  std::uint64_t state_;
};

// Bits of Case::features.
enum Feature : int {
  kMask = 1,        // pairs forbidden by a mask
  kForbidden = 2,   // pairs forbidden by +inf
  kZeros = 4,       // zero masses on both sides
  kRowStride = 8,   // rows further apart than their length
  kExpanded = 16,   // one matrix for all problems (stride 0)
  kSmall = 32,      // epsilon a hundredth of the mean cost
  kPlain = 64,      // plain iterations
  kScaling = 128,   // the scalings' criterion
  kWarm = 256,      // started from some g
  kAlone = 512,     // a soft row and column whose pairs are all forbidden
  kFixed = 1024,    // tol = 0
};

const char* feature_name(int bit) {
  static const char* names[] = {"mask",  "forbidden", "zeros", "row stride", "expanded", "small epsilon",
                                "plain", "scaling",   "warm",  "alone",   "fixed"};
  int k = 0;
  while (bit >> (k + 1)) ++k;
  return names[k];
}

struct Case {
  std::int64_t batch, n, m;
  int hard;  // bit 0: rows, bit 1: columns
  Reference reference;
  bool float64;
  int features;
  int threads;

  bool has(Feature feature) const { return features & feature; }

  std::string name() const {
    static const char* kinds[] = {"unbalanced", "hard rows", "hard columns", "balanced"};
    char text[160];
    std::snprintf(text, sizeof text, "%lldx%lldx%lld %s %s %s, threads %d", static_cast<long long>(batch),
                  static_cast<long long>(n), static_cast<long long>(m), kinds[hard],
                  reference == Reference::entropy ? "entropy" : "product", float64 ? "float64" : "float32", threads);
    std::string out = text;
    for (int bit = 1; bit <= kFixed; bit <<= 1)
      if (features & bit) out += std::string(", ") + feature_name(bit);
    return out;
  }
};

// Everything a problem points to.
struct Data {
  Case kind;
  std::unique_ptr<float[]> cost32;
  std::unique_ptr<double[]> cost64;
  std::unique_ptr<std::uint8_t[]> mask;
  std::vector<double> a, b, epsilon, kappa, init;
  Problem problem;

  double cost(std::int64_t p, std::int64_t i, std::int64_t j) const {
    const std::int64_t at = p * problem.cost_stride_problem + i * problem.cost_stride_row + j;
    return kind.float64 ? cost64[at] : static_cast<double>(cost32[at]);
  }
  bool allowed(std::int64_t p, std::int64_t i, std::int64_t j) const {
    return (!mask || mask[p * problem.mask_stride_problem + i * problem.mask_stride_row + j]) && cost(p, i, j) < kInfinity;
  }
};

Data make(const Case& kind, std::uint64_t seed) {
  Random random(seed);
  Data data;
  data.kind = kind;
  const std::int64_t batch = kind.batch, n = kind.n, m = kind.m;
  Problem& problem = data.problem;
  problem.batch = batch;
  problem.n = n;
  problem.m = m;
  problem.float64 = kind.float64;
  problem.reference = kind.reference;
  problem.cost_stride_row = kind.has(kRowStride) ? m + 3 : m;
  problem.cost_stride_problem = kind.has(kExpanded) ? 0 : n * problem.cost_stride_row + (kind.has(kRowStride) ? 5 : 0);
  const std::int64_t count =
      (std::max<std::int64_t>(batch, 1) - 1) * problem.cost_stride_problem + (n - 1) * problem.cost_stride_row + m;
  (kind.float64 ? (void)data.cost64.reset(new double[count]) : (void)data.cost32.reset(new float[count]));
  const auto set = [&](std::int64_t at, double x) {
    if (kind.float64)
      data.cost64[at] = x;
    else
      data.cost32[at] = static_cast<float>(x);
  };
  for (std::int64_t at = 0; at < count; ++at) set(at, kNan);  // what lies between the rows must not be read
  const std::int64_t matrices = kind.has(kExpanded) ? 1 : batch;
  for (std::int64_t p = 0; p < matrices; ++p)
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < m; ++j) {
        const double x = static_cast<double>(i) / static_cast<double>(n) - static_cast<double>(j) / static_cast<double>(m);
        const std::int64_t at = p * problem.cost_stride_problem + i * problem.cost_stride_row + j;
        // the diagonal band stays admissible, so that hard marginals can be met
        const bool spare = kind.has(kForbidden) && std::fabs(x) > 0.5 && random.uniform() < 0.5;
        set(at, spare ? kInfinity : x * x + 0.5 * random.uniform());
      }
  if (kind.has(kMask)) {
    problem.mask_stride_row = m + 1;
    problem.mask_stride_problem = kind.has(kExpanded) ? 0 : n * problem.mask_stride_row;
    const std::int64_t size = (batch - 1) * problem.mask_stride_problem + (n - 1) * problem.mask_stride_row + m;
    data.mask.reset(new std::uint8_t[size]);
    for (std::int64_t k = 0; k < size; ++k) data.mask[k] = 0;
    for (std::int64_t p = 0; p < matrices; ++p)
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < m; ++j) {
          const double x = static_cast<double>(i) / static_cast<double>(n) - static_cast<double>(j) / static_cast<double>(m);
          const bool keep = std::fabs(x) <= 0.5 || random.uniform() < 0.5;
          data.mask[p * problem.mask_stride_problem + i * problem.mask_stride_row + j] = keep;
          // D is not looked at where the mask is off
          if (!keep) set(p * problem.cost_stride_problem + i * problem.cost_stride_row + j, kNan);
        }
  }
  if (kind.has(kAlone)) {
    for (std::int64_t p = 0; p < matrices; ++p) {
      const std::int64_t base = p * problem.cost_stride_problem;
      if (!(kind.hard & 1))
        for (std::int64_t j = 0; j < m; ++j) set(base + n / 2 * problem.cost_stride_row + j, kInfinity);
      if (!(kind.hard & 2))
        for (std::int64_t i = 0; i < n; ++i) set(base + i * problem.cost_stride_row + m / 2, kInfinity);
    }
  }
  const auto masses = [&](std::int64_t size, std::vector<double>& out) {
    out.resize(batch * size);
    for (std::int64_t k = 0; k < batch * size; ++k) {
      out[k] = 0.1 + random.uniform();
      if (kind.has(kZeros) && k % size % 4 == 1) out[k] = 0.0;
    }
  };
  masses(n, data.a);
  masses(m, data.b);
  for (std::int64_t p = 0; p < batch; ++p) {
    double total_a = 0.0, total_b = 0.0;
    for (std::int64_t i = 0; i < n; ++i) total_a += data.a[p * n + i];
    for (std::int64_t j = 0; j < m; ++j) total_b += data.b[p * m + j];
    if (kind.hard == 3)
      for (std::int64_t j = 0; j < m; ++j) data.b[p * m + j] *= total_a / total_b;
    data.epsilon.push_back((kind.has(kSmall) ? 0.005 : 0.1) * (1.0 + 0.5 * random.uniform()));
    data.kappa.push_back(kind.hard & 1 ? kInfinity : 0.3 + random.uniform());
    data.kappa.push_back(kind.hard & 2 ? kInfinity : 0.3 + random.uniform());
  }
  for (std::int64_t k = 0; k < batch * m; ++k) data.init.push_back(k % 5 == 3 ? -kInfinity : random.uniform());
  problem.cost = kind.float64 ? static_cast<const void*>(data.cost64.get()) : data.cost32.get();
  problem.mask = data.mask.get();
  problem.a = data.a.data();
  problem.b = data.b.data();
  problem.epsilon = data.epsilon.data();
  problem.kappa = data.kappa.data();
  return data;
}

struct Answer {
  std::vector<double> f, g, sharp, regularized, mass, residual, history;
  std::vector<std::int64_t> iterations;
  std::vector<std::int32_t> status;

  Answer(const Problem& p, std::int64_t recorded)
      : f(p.batch * p.n, kNan), g(p.batch * p.m, kNan), sharp(p.batch, kNan), regularized(p.batch, kNan),
        mass(p.batch, kNan), residual(p.batch, kNan), history(p.batch * recorded * (p.n + p.m), kNan),
        iterations(p.batch, -1), status(p.batch, -1) {}

  Solution solution() {
    return {f.data(),        g.data(),          sharp.data(),  regularized.data(),
            mass.data(),     residual.data(),   iterations.data(), status.data(),
            history.empty() ? nullptr : history.data()};
  }
};

struct Gradients {
  std::vector<float> cost32;
  std::vector<double> cost64, a, b, residual;
  double cost(std::int64_t k) const { return cost32.empty() ? cost64[k] : static_cast<double>(cost32[k]); }
};

int failures = 0;

void expect(bool fine, const std::string& where, const char* what, double value = 0.0) {
  if (fine) return;
  ++failures;
  std::printf("FAILED  %s: %s (%.3g)\n", where.c_str(), what, value);
}

Gradients differentiate(const Data& data, const Answer& answer, Gradient mode, std::int64_t max_iter, bool potentials) {
  const Problem& problem = data.problem;
  const std::int64_t batch = problem.batch, n = problem.n, m = problem.m;
  Random random(7);
  std::vector<double> sharp(batch), regularized(batch), q_f(batch * n), q_g(batch * m);
  for (std::int64_t p = 0; p < batch; ++p) sharp[p] = 1.0 + 0.1 * p, regularized[p] = 0.5 - 0.1 * p;
  if (potentials) {
    for (double& q : q_f) q = random.uniform() - 0.5;
    for (double& q : q_g) q = random.uniform() - 0.5;
  }
  Gradients out;
  data.kind.float64 ? out.cost64.assign(batch * n * m, kNan) : out.cost32.assign(batch * n * m, static_cast<float>(kNan));
  out.a.assign(batch * n, kNan);
  out.b.assign(batch * m, kNan);
  out.residual.assign(batch, kNan);
  Adjoint adjoint;
  adjoint.mode = mode;
  adjoint.f = answer.f.data();
  adjoint.g = answer.g.data();
  adjoint.grad_sharp = sharp.data();
  adjoint.grad_regularized = regularized.data();
  adjoint.grad_f = q_f.data();
  adjoint.grad_g = q_g.data();
  adjoint.grad_cost = data.kind.float64 ? static_cast<void*>(out.cost64.data()) : out.cost32.data();
  adjoint.grad_a = out.a.data();
  adjoint.grad_b = out.b.data();
  adjoint.residual = out.residual.data();
  adjoint.history = answer.history.empty() ? nullptr : answer.history.data();
  adjoint.iterations = answer.iterations.data();
  adjoint.max_iter = max_iter;
  adjoint.threads = data.kind.threads;
  cpu::backward(problem, adjoint);
  return out;
}

// Holds one problem's answer against its definition; returns the largest residual.
double check_answer(const Data& data, const Answer& answer, const Options& options, const std::string& where) {
  const Problem& problem = data.problem;
  const std::int64_t n = problem.n, m = problem.m;
  double worst = 0.0;
  for (std::int64_t p = 0; p < problem.batch; ++p) {
    const std::int32_t status = answer.status[p];
    const bool converged = status & kConverged;
    expect(!(status & kRefused), where, "refused", status);
    expect(converged != static_cast<bool>(status & (kIterationLimit | kStagnated | kOverflow)), where, "no reason", status);
    if (!data.kind.has(kFixed)) expect(converged, where, "did not converge", answer.residual[p]);
    if (data.kind.has(kFixed)) expect(answer.iterations[p] == options.max_iter, where, "iterations", answer.iterations[p]);

    const double epsilon = data.epsilon[p];
    double total_a = 0.0, total_b = 0.0;
    for (std::int64_t i = 0; i < n; ++i) total_a += data.a[p * n + i];
    for (std::int64_t j = 0; j < m; ++j) total_b += data.b[p * m + j];
    const double scale_b = data.kind.hard == 3 ? total_a / total_b : 1.0;
    std::vector<double> rows(n), columns(m);
    std::vector<char> row_free(n), column_free(m);
    double mass = 0.0, sharp = 0.0;
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < m; ++j) {
        if (!(data.a[p * n + i] > 0.0 && data.b[p * m + j] > 0.0 && data.allowed(p, i, j))) continue;
        row_free[i] = column_free[j] = 1;
        const double x = std::exp((answer.f[p * n + i] + answer.g[p * m + j] - data.cost(p, i, j)) / epsilon);
        rows[i] += x;
        columns[j] += x;
        mass += x;
        sharp += x * data.cost(p, i, j);
      }
    double error = 0.0;
    const auto side = [&](const std::vector<double>& sums, const std::vector<char>& free, const double* masses, double scale,
                          const double* potential, double kappa) {
      for (std::size_t k = 0; k < sums.size(); ++k) {
        const double a = masses[k] * scale;
        if (!(a > 0.0)) {
          expect(potential[k] == -kInfinity, where, "potential of a zero mass", potential[k]);
          continue;
        }
        expect(std::isfinite(potential[k]), where, "potential", potential[k]);
        const double dual = potential[k] - (problem.reference == Reference::product ? epsilon * std::log(a) : 0.0);
        const double target = !free[k] ? 0.0 : std::isinf(kappa) ? a : a * std::exp(-dual / kappa);
        error += std::fabs(sums[k] - target);
      }
    };
    side(rows, row_free, &data.a[p * n], 1.0, &answer.f[p * n], data.kappa[2 * p]);
    side(columns, column_free, &data.b[p * m], scale_b, &answer.g[p * m], data.kappa[2 * p + 1]);
    const double residual = error / std::fmax(mass, 0.5 * (total_a + total_b));
    worst = std::fmax(worst, residual);
    // A float32 problem is judged by its float32 kernel: three roundings of an entry.
    const double rounding = data.kind.float64 ? 1e-11 : 3 * 6e-8;
    expect(std::fabs(residual - answer.residual[p]) <= rounding, where, "residual", residual - answer.residual[p]);
    expect(std::fabs(mass - answer.mass[p]) <= rounding * mass, where, "mass", mass - answer.mass[p]);
    expect(std::fabs(sharp - answer.sharp[p]) <= rounding * (mass + sharp), where, "sharp cost", sharp - answer.sharp[p]);
    expect(std::isfinite(answer.regularized[p]), where, "regularised cost", answer.regularized[p]);
    if (converged && options.criterion == Criterion::marginal)
      expect(residual <= options.tol * (1.0 + 1e-6) + 1e-12, where, "residual above tol", residual);
  }
  return worst;
}

void check_finite(const Data& data, const Gradients& grads, const std::string& where) {
  const std::int64_t count = data.problem.batch * data.problem.n * data.problem.m;
  for (std::int64_t k = 0; k < count; ++k) expect(std::isfinite(grads.cost(k)), where, "gradient in D", grads.cost(k));
  for (const double x : grads.a) expect(std::isfinite(x), where, "gradient in a", x);
  for (const double x : grads.b) expect(std::isfinite(x), where, "gradient in b", x);
  for (const double x : grads.residual) expect(std::isfinite(x), where, "adjoint residual", x);
}

// Largest difference of two gradients, relative to the largest entry.
double difference(const Data& data, const Gradients& x, const Gradients& y) {
  double size = 0.0, worst = 0.0;
  const std::int64_t count = data.problem.batch * data.problem.n * data.problem.m;
  for (std::int64_t k = 0; k < count; ++k) {
    size = std::fmax(size, std::fabs(x.cost(k)));
    worst = std::fmax(worst, std::fabs(x.cost(k) - y.cost(k)));
  }
  return size > 0.0 ? worst / size : 0.0;
}

void run(const Case& kind, std::uint64_t seed) {
  const std::string name = kind.name();
  const int before = failures;
  const Data data = make(kind, seed);
  const Problem& problem = data.problem;
  Options options;
  options.method = kind.has(kPlain) ? Method::sinkhorn : Method::accelerated;
  options.criterion = kind.has(kScaling) ? Criterion::scaling : Criterion::marginal;
  options.tol = kind.has(kFixed) ? 0.0 : kind.has(kScaling) ? 1e-12 : kind.float64 ? 1e-10 : 1e-6;
  options.max_iter = kind.has(kFixed) ? 5 : 20000;
  options.init_g = kind.has(kWarm) ? data.init.data() : nullptr;
  options.threads = kind.threads;
  Answer answer(problem, 0);
  cpu::forward(problem, options, answer.solution());
  const double residual = check_answer(data, answer, options, name);
  const Gradients implicit = differentiate(data, answer, Gradient::implicit, 0, true);
  check_finite(data, implicit, name + ", implicit");
  check_finite(data, differentiate(data, answer, Gradient::frozen, 0, false), name + ", frozen");

  // the unrolled gradient of as many iterations as memory holds: the implicit one where they have converged
  double apart = 0.0;
  if (kind.batch > 0 && !kind.has(kScaling)) {
    options.method = Method::sinkhorn;
    options.max_iter = kind.has(kSmall) || kind.has(kFixed) ? 20 : 2000;
    Answer recorded(problem, options.max_iter + 1);
    cpu::forward(problem, options, recorded.solution());
    const Gradients unrolled = differentiate(data, recorded, Gradient::unrolled, options.max_iter, true);
    check_finite(data, unrolled, name + ", unrolled");
    const bool settled = std::all_of(recorded.status.begin(), recorded.status.end(),
                                     [](std::int32_t status) { return status & kConverged; });
    if (settled && !kind.has(kFixed)) {
      apart = difference(data, implicit, unrolled);
      expect(apart <= (kind.float64 ? 1e-5 : 1e-2), name, "unrolled and implicit gradient apart", apart);
    }
  }
  std::int64_t iterations = 0;
  for (const std::int64_t count : answer.iterations) iterations = std::max(iterations, count);
  std::printf("%s  %s: residual %.1e, iterations %lld, gradients apart %.1e\n", failures == before ? "ok    " : "FAILED",
              name.c_str(), residual, static_cast<long long>(iterations), apart);
}

// Inputs that must be refused, with the reason in the status and NaN in every answer.
void run_refusals() {
  struct Refusal {
    const char* name;
    std::int32_t bit;
    void (*spoil)(Data&);
  };
  const Refusal refusals[] = {
      {"NaN in D", kNanCost, [](Data& d) { d.cost64[8] = kNan; }},
      {"-inf in D", kNanCost, [](Data& d) { d.cost64[8] = -kInfinity; }},
      {"negative mass", kInvalidMass, [](Data& d) { d.a[1] = -1.0; }},
      {"infinite mass", kInvalidMass, [](Data& d) { d.b[1] = kInfinity; }},
      {"unequal masses", kUnequalMasses, [](Data& d) { d.a[1] += 1.0; }},
      {"epsilon 0", kInvalidStrength, [](Data& d) { d.epsilon[0] = 0.0; }},
      {"kappa NaN", kInvalidStrength, [](Data& d) { d.kappa[0] = kNan; }},
      {"isolated row", kIsolated, [](Data& d) { std::fill_n(d.cost64.get(), d.problem.m, kInfinity); }},
      {"init NaN", kInvalidInit, [](Data& d) { d.init[2] = kNan; }},
  };
  for (const Refusal& refusal : refusals) {
    const int before = failures;
    Data data = make({2, 6, 5, 3, Reference::entropy, true, 0, 1}, 3);
    refusal.spoil(data);
    Options options;
    options.init_g = data.init.data();
    Answer answer(data.problem, 0);
    cpu::forward(data.problem, options, answer.solution());
    const std::string name = std::string("refused: ") + refusal.name;
    expect(answer.status[0] & refusal.bit, name, "status", answer.status[0]);
    expect(!(answer.status[0] & kConverged), name, "converged", answer.status[0]);
    expect(std::isnan(answer.sharp[0]) && std::isnan(answer.f[0]), name, "not NaN", answer.sharp[0]);
    expect(answer.status[1] == kConverged, name, "the neighbour's status", answer.status[1]);
    if (refusal.bit != kInvalidInit) {
      const Gradients grads = differentiate(data, answer, Gradient::implicit, 0, false);
      expect(std::isnan(grads.cost(0)) && std::isnan(grads.a[0]), name, "gradient not NaN", grads.cost(0));
      expect(std::isfinite(grads.cost(data.problem.n * data.problem.m)), name, "the neighbour's gradient");
    }
    std::printf("%s  %s\n", failures == before ? "ok    " : "FAILED", name.c_str());
  }
}

// Two runs, and any number of threads, agree bitwise; helpers, made in one mode of rounding, compute in the caller's.
void run_determinism(int rounding, const char* mode) {
  const int before = failures;
  std::fesetround(rounding);
  for (const bool float64 : {false, true})
    for (const std::int64_t batch : {1, 6}) {
      std::vector<std::vector<double>> answers;
      const std::int64_t n = batch == 1 ? 360 : 150, m = batch == 1 ? 380 : 210;  // one problem shared, or many side by side
      for (const int threads : {1, 2, 3, 2}) {
        const Data data = make({batch, n, m, 0, Reference::entropy, float64, 0, threads}, 11);
        Options options;
        options.threads = threads;
        Answer answer(data.problem, 0);
        cpu::forward(data.problem, options, answer.solution());
        const Gradients grads = differentiate(data, answer, Gradient::implicit, 0, true);
        std::vector<double> all = answer.f;
        for (const auto& part : {answer.g, answer.sharp, answer.regularized, answer.residual, grads.a, grads.b})
          all.insert(all.end(), part.begin(), part.end());
        for (std::int64_t k = 0; k < batch * n * m; ++k) all.push_back(grads.cost(k));
        answers.push_back(all);
      }
      for (const auto& other : answers)
        expect(std::memcmp(other.data(), answers[0].data(), other.size() * sizeof(double)) == 0, "determinism", "bits differ");
    }
  std::fesetround(FE_TONEAREST);
  std::printf("%s  the number of threads changes no bit, %s\n", failures == before ? "ok    " : "FAILED", mode);
}

void run_mean() {
  const int before = failures;
  const Data data = make({3, 9, 7, 0, Reference::entropy, false, kMask | kZeros | kForbidden, 1}, 5);
  std::vector<double> mean(3, kNan);
  cpu::mean_cost(data.problem, mean.data(), 2);
  for (std::int64_t p = 0; p < 3; ++p) {
    double sum = 0.0;
    int count = 0;
    for (std::int64_t i = 0; i < 9; ++i)
      for (std::int64_t j = 0; j < 7; ++j)
        if (data.a[p * 9 + i] > 0.0 && data.b[p * 7 + j] > 0.0 && data.allowed(p, i, j)) sum += data.cost(p, i, j), ++count;
    expect(std::fabs(mean[p] - sum / count) <= 1e-12, "mean cost", "mean", mean[p]);
  }
  std::printf("%s  mean cost\n", failures == before ? "ok    " : "FAILED");
}

}  // namespace

int main(int count, char** arguments) {
  const bool threads_only = count > 1 && std::strcmp(arguments[1], "threads") == 0;
  std::printf("kernels: %s\n", instruction_set());
  std::uint64_t seed = 1;
  int cases = 0;
  const auto next = [&](const Case& kind) {
    ++seed;
    if (threads_only && kind.threads == 1) return;
    run(kind, seed);
    ++cases;
  };
  for (const int hard : {0, 1, 2, 3})
    for (const Reference reference : {Reference::entropy, Reference::product})
      for (const bool float64 : {false, true}) {
        // sizes about the kernels' lane and block counts
        for (const std::int64_t n : {1, 7, 9, 33})
          for (const std::int64_t m : {1, 8, 17}) next({1, n, m, hard, reference, float64, 0, 1});
        const int features_of[] = {kMask,
                                   kForbidden,
                                   kZeros,
                                   kZeros | kMask,
                                   kRowStride,
                                   kRowStride | kMask | kForbidden,
                                   kSmall,
                                   kSmall | kZeros,
                                   kPlain,
                                   kPlain | kZeros | kForbidden,
                                   kScaling,
                                   kWarm,
                                   kWarm | kZeros,
                                   kAlone,
                                   kAlone | kZeros | kMask,
                                   kFixed,
                                   kFixed | kRowStride};
        for (const int features : features_of) next({1, 13, 21, hard, reference, float64, features, 1});
        next({4, 11, 6, hard, reference, float64, kZeros, 1});
        next({3, 12, 19, hard, reference, float64, kExpanded | kMask, 1});
        next({0, 4, 4, hard, reference, float64, 0, 1});
      }
  // two threads share one problem, or the problems of a batch; 129 rows and more are several chunks of running sums
  for (const int hard : {0, 3})
    for (const bool float64 : {false, true}) {
      next({1, 400, 340, hard, Reference::entropy, float64, 0, 2});
      next({1, 370, 390, hard, Reference::product, float64, kMask | kZeros | kRowStride, 2});
      next({1, 360, 380, hard, Reference::entropy, float64, kSmall, 2});
      next({1, 1, 140000, 0, Reference::entropy, float64, kFixed, 2});
      next({1, 140000, 1, 0, Reference::entropy, float64, kFixed, 2});
      next({9, 61, 67, hard, Reference::entropy, float64, kForbidden, 2});
    }
  run_refusals();
  run_determinism(FE_TONEAREST, "rounding to nearest");
  run_determinism(FE_UPWARD, "rounding up");
  run_mean();
  std::printf("%d cases, %d failures\n", cases, failures);
  return failures ? 1 : 0;
}
