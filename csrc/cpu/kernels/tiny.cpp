// Eight tiny problems side by side. Compiled once per instruction set with -DWBM_ISA=<name>; see kernels.h.
//
// The formulae are those of solve/scaling.h, gradient/implicit.cpp and gradient/unrolled.cpp for hard marginals.
#include "cpu/kernels/tiny.h"
#include "cpu/kernels/simd.h"

namespace wbm::WBM_ISA {
namespace {

constexpr std::int64_t kEntries = kTinySide * kTinySide;
static_assert(kTinyLanes == kLanes);

inline Vec lane(const double* x, std::int64_t k) { return load(x + k * kLanes); }
inline void set(double* x, std::int64_t k, Vec value) { store(x + k * kLanes, value); }
inline Vec least(Vec x, Vec y) { return x < y ? x : y; }
inline Vec size_of(Vec x) { return max(x, -x); }
inline bool all(Bits x) { return !any(~x); }

inline Vec total(const double* x, std::int64_t count) {
  Vec sum = splat(0.0);
  for (std::int64_t k = 0; k < count; ++k) sum += lane(x, k);
  return sum;
}

// sum_k x_k y_k
inline Vec dot(const double* x, const double* y, std::int64_t count) {
  Vec sum = splat(0.0);
  for (std::int64_t k = 0; k < count; ++k) sum += lane(x, k) * lane(y, k);
  return sum;
}

// (K x)_i
inline Vec row_sum(const double* k, const double* x, std::int64_t i, std::int64_t m) { return dot(k + i * m * kLanes, x, m); }

// (K' x)_j
inline Vec column_sum(const double* k, const double* x, std::int64_t j, std::int64_t n, std::int64_t m) {
  Vec sum = splat(0.0);
  for (std::int64_t i = 0; i < n; ++i) sum += lane(k, i * m + j) * lane(x, i);
  return sum;
}

// Masses that are normal numbers, not too far apart in total.
bool masses(const TinyProblems& p, const TinyScaling& s) {
  Bits well = (Bits)splat(0.0) == 0;
  for (std::int64_t i = 0; i < p.n; ++i) well &= (lane(p.a, i) > 1e-60) & (lane(p.a, i) < 1e60);
  for (std::int64_t j = 0; j < p.m; ++j) well &= (lane(p.b, j) > 1e-60) & (lane(p.b, j) < 1e60);
  const Vec a = total(p.a, p.n), b = total(p.b, p.m);
  well &= size_of(a - b) <= 1e-3 * max(a, b);
  const Vec scale = a == b ? splat(1.0) : a / b, epsilon = lane(p.epsilon, 0);
  well &= (epsilon > 0.0) & (epsilon < kInfinity);
  set(s.b_scale, 0, scale);
  for (std::int64_t j = 0; j < p.m; ++j) set(s.b, j, lane(p.b, j) * scale);
  return all(well);
}

// f^_i = min_j D_ij and g^_j = min_i (D_ij - f^_i) put a 1 into every row and column of K; v = exp(-g^ / eps) is g = 0.
bool build(const TinyProblems& p, const TinyScaling& s) {
  const std::int64_t n = p.n, m = p.m;
  const Vec inverse = 1.0 / lane(p.epsilon, 0);
  Vec reach = splat(0.0), finite = splat(0.0);
  for (std::int64_t i = 0; i < n; ++i) {
    Vec top = splat(kInfinity);
    for (std::int64_t j = 0; j < m; ++j) {
      const Vec d = lane(p.d, i * m + j) * inverse;
      finite += d - d;
      top = least(top, d);
    }
    set(s.row, i, top);
    reach = max(reach, size_of(top));
  }
  for (std::int64_t j = 0; j < m; ++j) {
    Vec top = splat(kInfinity);
    for (std::int64_t i = 0; i < n; ++i) top = least(top, lane(p.d, i * m + j) * inverse - lane(s.row, i));
    set(s.column, j, top);
    set(s.v, j, exp(-top));
    reach = max(reach, size_of(top) * 1e4);
  }
  if (!all((finite == 0.0) & (reach < 3e6))) return false;
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < m; ++j)
      set(s.k, i * m + j, exp((lane(s.row, i) + lane(s.column, j)) - lane(p.d, i * m + j) * inverse));
  return true;
}

int iterate(const TinyProblems& p, std::int64_t iterations, const TinyScaling& s) {
  if (!masses(p, s) || !build(p, s)) return 0;
  const double* v = s.v;
  for (std::int64_t l = 1; l <= iterations; ++l) {
    double *u = s.u + l * p.n * kLanes, *next = s.v + l * p.m * kLanes;
    for (std::int64_t i = 0; i < p.n; ++i) set(u, i, lane(p.a, i) / row_sum(s.k, v, i, p.m));
    for (std::int64_t j = 0; j < p.m; ++j) set(next, j, lane(s.b, j) / column_sum(s.k, u, j, p.n, p.m));
    v = next;
  }
  // An entry of K that has flushed to zero counts for nothing while the scalings stay near the masses.
  const double* u = s.u + iterations * p.n * kLanes;
  Bits well = (Bits)splat(0.0) == 0;
  const auto near = [&](Vec scaling, Vec mass) { well &= (scaling < 1e90 * mass) & (scaling > 1e-90 * mass); };
  for (std::int64_t i = 0; i < p.n; ++i) near(lane(u, i), lane(p.a, i));
  for (std::int64_t j = 0; j < p.m; ++j) near(lane(v, j), lane(s.b, j));
  return all(well);
}

// x_i = sum of what `side` carries times (potential_i - shift log mass_i); error: |x - mass|_1
inline Vec dual(const double* x, const double* potential, const double* mass, std::int64_t count, Vec shift, bool product) {
  Vec sum = splat(0.0);
  for (std::int64_t i = 0; i < count; ++i)
    sum += lane(x, i) * (product ? lane(potential, i) - shift * log(lane(mass, i)) : lane(potential, i));
  return sum;
}

int report(const TinyProblems& p, std::int64_t iterations, const TinyScaling& s, const TinyReport& out) {
  const std::int64_t n = p.n, m = p.m;
  const double *u = s.u + iterations * n * kLanes, *v = s.v + iterations * m * kLanes;
  const Vec epsilon = lane(p.epsilon, 0);
  alignas(64) double r[kTinySide * kLanes], c[kTinySide * kLanes];
  for (std::int64_t i = 0; i < n; ++i) set(out.f, i, epsilon * (lane(s.row, i) + log(lane(u, i))));
  for (std::int64_t j = 0; j < m; ++j) {
    set(out.g, j, epsilon * (lane(s.column, j) + log(lane(v, j))));
    set(c, j, splat(0.0));
  }
  Vec sharp = splat(0.0), mass = splat(0.0), error = splat(0.0);
  for (std::int64_t i = 0; i < n; ++i) {
    Vec sum = splat(0.0);
    for (std::int64_t j = 0; j < m; ++j) {
      const Vec x = lane(u, i) * lane(s.k, i * m + j) * lane(v, j);
      sum += x;
      sharp += x * lane(p.d, i * m + j);
      set(c, j, lane(c, j) + x);
    }
    set(r, i, sum);
    mass += sum;
    error += size_of(sum - lane(p.a, i));
  }
  for (std::int64_t j = 0; j < m; ++j) error += size_of(lane(c, j) - lane(s.b, j));
  const Vec rows = total(p.a, n), columns = total(s.b, m);
  Vec regularized = dual(r, out.f, p.a, n, epsilon, p.product) + dual(c, out.g, s.b, m, epsilon, p.product) - epsilon * mass;
  if (p.product) regularized += epsilon * rows * columns;
  set(out.sharp, 0, sharp);
  set(out.regularized, 0, regularized);
  set(out.mass, 0, mass);
  set(out.residual, 0, error / max(mass, 0.5 * (rows + columns)));
  const Vec t = 0.5 * (dot(s.b, out.g, m) / columns - dot(p.a, out.f, n) / rows);
  for (std::int64_t i = 0; i < n; ++i) set(out.f, i, lane(out.f, i) + t);
  for (std::int64_t j = 0; j < m; ++j) set(out.g, j, lane(out.g, j) - t);
  const Vec finite = (sharp - sharp) + (regularized - regularized) + (error - error);
  return all(finite == 0.0);
}

// --- gradients ----------------------------------------------------------------------------------------------------------

// q pulled back through the gauge, and the gauge's own part of the gradient in the masses; see gradient.h.
inline void pull_back_gauge(const double* mass, const double* potential, std::int64_t count, Vec gauge, double* q, double* d) {
  const Vec sum = total(mass, count), mean = dot(mass, potential, count) / sum;
  for (std::int64_t i = 0; i < count; ++i) {
    set(q, i, lane(q, i) - 0.5 * gauge * lane(mass, i) / sum);
    set(d, i, -0.5 * gauge * (lane(potential, i) - mean) / sum);
  }
}

// Only directions that keep the total mean anything: sum a da = 0.
inline void centre(const double* mass, std::int64_t count, Vec scale, double* d) {
  const Vec mean = dot(mass, d, count) / total(mass, count);
  for (std::int64_t i = 0; i < count; ++i) set(d, i, (lane(d, i) - mean) * scale);
}

// The upstream gradients with the gauge pulled back.
struct Upstream {
  alignas(64) double f[kTinySide * kLanes], g[kTinySide * kLanes];

  Upstream(const TinyProblems& p, const double* b, const TinyAdjoint& to) {
    Vec gauge = splat(0.0);
    for (std::int64_t i = 0; i < p.n; ++i) set(f, i, lane(to.grad_f, i)), gauge += lane(f, i);
    for (std::int64_t j = 0; j < p.m; ++j) set(g, j, lane(to.grad_g, j)), gauge -= lane(g, j);
    pull_back_gauge(p.a, to.f, p.n, gauge, f, to.grad_a);
    pull_back_gauge(b, to.g, p.m, -gauge, g, to.grad_b);
  }
};

// (diag(r) P; P' diag(c)) (x; y) = (h1; h2) for the y with y_0 = 0, by elimination of S = diag(c) - P' diag(1/r) P: its
// off-diagonal entries are -w_jl <= 0 and its rows sum to zero, so that nothing is subtracted (Grassmann, Taksar, Heyman).
void solve(const double* plan, const double* r, const double* h1, const double* h2, std::int64_t n, std::int64_t m, double* x,
           double* y) {
  alignas(64) double w[kEntries * kLanes], pivot[kTinySide * kLanes], right[kTinySide * kLanes];
  for (std::int64_t j = 0; j < m; ++j) {
    Vec h = lane(h2, j);
    for (std::int64_t i = 0; i < n; ++i) h -= lane(plan, i * m + j) * (lane(h1, i) / lane(r, i));
    set(right, j, h);
    for (std::int64_t l = 0; l <= j; ++l) {
      Vec sum = splat(0.0);
      for (std::int64_t i = 0; i < n; ++i) sum += lane(plan, i * m + j) * (lane(plan, i * m + l) / lane(r, i));
      set(w, j * m + l, sum);
      set(w, l * m + j, sum);
    }
  }
  for (std::int64_t k = m - 1; k > 0; --k) {
    Vec sum = splat(0.0);
    for (std::int64_t l = 0; l < k; ++l) sum += lane(w, k * m + l);
    set(pivot, k, sum);
    for (std::int64_t j = 0; j < k; ++j) {
      const Vec factor = lane(w, k * m + j) / sum;
      for (std::int64_t l = 0; l < k; ++l) set(w, j * m + l, lane(w, j * m + l) + factor * lane(w, k * m + l));
      set(right, j, lane(right, j) + factor * lane(right, k));
    }
  }
  set(y, 0, splat(0.0));
  for (std::int64_t k = 1; k < m; ++k) {
    Vec sum = lane(right, k);
    for (std::int64_t l = 0; l < k; ++l) sum += lane(w, k * m + l) * lane(y, l);
    set(y, k, sum / lane(pivot, k));
  }
  for (std::int64_t i = 0; i < n; ++i) set(x, i, (lane(h1, i) - row_sum(plan, y, i, m)) / lane(r, i));
}

// |h2 - c y - P' x| over the size of what cancels there, both in the norm of 1/c.
Vec defect(const double* plan, const double* r, const double* c, const double* h1, const double* h2, const double* x,
           const double* y, std::int64_t n, std::int64_t m) {
  Vec left = splat(0.0), terms = splat(0.0);
  for (std::int64_t j = 0; j < m; ++j) {
    Vec out = lane(h2, j) - lane(c, j) * lane(y, j), other = splat(0.0);
    for (std::int64_t i = 0; i < n; ++i) {
      out -= lane(plan, i * m + j) * lane(x, i);
      other += lane(plan, i * m + j) * (lane(h1, i) / lane(r, i));
    }
    left += out * out / lane(c, j);
    terms += (lane(h2, j) * lane(h2, j) + other * other) / lane(c, j);
  }
  Vec ratio = splat(0.0);
  for (int l = 0; l < kLanes; ++l) ratio[l] = terms[l] > 0.0 ? __builtin_sqrt(left[l] / terms[l]) : 0.0;
  return ratio;
}

// dL/dmass of one side; see mass_gradient in gradient.h.
inline void mass_gradient(const TinyProblems& p, const TinyAdjoint& to, const double* mass, const double* potential,
                          const double* sums, const double* x, std::int64_t count, Vec other_total, double* d) {
  const Vec epsilon = lane(p.epsilon, 0), sharp = lane(to.sharp, 0), regularized = lane(to.regularized, 0);
  for (std::int64_t i = 0; i < count; ++i) {
    const Vec share = lane(sums, i) / lane(mass, i);
    Vec w = lane(potential, i);
    if (p.product) w -= epsilon * (log(lane(mass, i)) + share - other_total);
    set(d, i, lane(d, i) + share * (sharp * lane(potential, i) + epsilon * lane(x, i)) + regularized * w);
  }
}

int implicit(const TinyProblems& p, const TinyAdjoint& to) {
  const std::int64_t n = p.n, m = p.m;
  alignas(64) double plan[kEntries * kLanes], e[kEntries * kLanes], b[kTinySide * kLanes], r[kTinySide * kLanes],
      c[kTinySide * kLanes], x[kTinySide * kLanes], y[kTinySide * kLanes], row[kTinySide * kLanes], column[kTinySide * kLanes],
      h1[kTinySide * kLanes], h2[kTinySide * kLanes], b_scale[kLanes];
  if (!masses(p, {nullptr, nullptr, nullptr, b, b_scale, nullptr, nullptr})) return 0;
  const Vec inverse = 1.0 / lane(p.epsilon, 0), sharp = lane(to.sharp, 0), regularized = lane(to.regularized, 0);
  const Upstream up(p, b, to);
  for (std::int64_t j = 0; j < m; ++j) {
    set(c, j, splat(0.0));
    set(h2, j, splat(0.0));
    set(column, j, lane(to.g, j) * inverse);
  }
  Bits well = (Bits)splat(0.0) == 0;
  for (std::int64_t i = 0; i < n; ++i) {
    set(row, i, lane(to.f, i) * inverse);
    Vec sum = splat(0.0), entropy = splat(0.0);
    for (std::int64_t j = 0; j < m; ++j) {
      const Vec exponent = (lane(row, i) + lane(column, j)) - lane(p.d, i * m + j) * inverse, entry = exp(exponent);
      well &= size_of(exponent) < 1e6;  // larger ones are lost in the rounding of their terms, or no numbers
      set(e, i * m + j, exponent);
      set(plan, i * m + j, entry);
      sum += entry;
      entropy += entry * exponent;
      set(c, j, lane(c, j) + entry);
      set(h2, j, lane(h2, j) + entry * exponent);
    }
    set(r, i, sum);
    set(h1, i, lane(up.f, i) - sharp * entropy);
    well &= (sum > 1e-30 * lane(p.a, i)) & (sum < 1e30 * lane(p.a, i));
  }
  for (std::int64_t j = 0; j < m; ++j) {
    set(h2, j, lane(up.g, j) - sharp * lane(h2, j));
    well &= (lane(c, j) > 1e-30 * lane(b, j)) & (lane(c, j) < 1e30 * lane(b, j));
  }
  if (!all(well)) return 0;
  solve(plan, r, h1, h2, n, m, x, y);
  set(to.residual, 0, defect(plan, r, c, h1, h2, x, y, n, m));
  // Any x + t, y - t will do: the weighted mean of the shorter side becomes 0, as in linear_system.cpp.
  const Vec t = m <= n ? dot(c, y, m) / total(c, m) : -dot(r, x, n) / total(r, n);
  for (std::int64_t i = 0; i < n; ++i) set(x, i, lane(x, i) + t);
  for (std::int64_t j = 0; j < m; ++j) set(y, j, lane(y, j) - t);
  mass_gradient(p, to, p.a, to.f, r, x, n, total(b, m), to.grad_a);
  mass_gradient(p, to, b, to.g, c, y, m, total(p.a, n), to.grad_b);
  Vec finite = splat(0.0);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < m; ++j) {
      const Vec d = lane(plan, i * m + j) * (sharp * (lane(e, i * m + j) + 1.0) + regularized + lane(x, i) + lane(y, j));
      finite += d - d;
      set(to.grad_cost, i * m + j, d);
    }
  centre(p.a, n, splat(1.0), to.grad_a);
  centre(b, m, lane(b_scale, 0), to.grad_b);
  return all(finite == 0.0);
}

// With w_ij = u_i K_ij v_j / b_j, dg_j = -sum_i w_ij (df_i - dD_ij) + eps d log b_j; rows alike. dL/dD gathers in M with
// dL/dD = K * M, entry by entry: each half of an iteration adds u_i (v_j dL/dg_j / b_j), an outer product.
void unrolled(const TinyProblems& p, std::int64_t iterations, const TinyScaling& s, const TinyAdjoint& to) {
  const std::int64_t n = p.n, m = p.m;
  alignas(64) double outer[kEntries * kLanes], r[kTinySide * kLanes], c[kTinySide * kLanes], x[kTinySide * kLanes],
      y[kTinySide * kLanes];
  const Vec epsilon = lane(p.epsilon, 0), inverse = 1.0 / epsilon, sharp = lane(to.sharp, 0),
            regularized = lane(to.regularized, 0);
  Upstream up(p, s.b, to);
  const double *u = s.u + iterations * n * kLanes, *v = s.v + iterations * m * kLanes;
  // The last plan: dL/dP = G = sharp D + regularized (alpha_i + beta_j), dP = P (df + dg - dD) / eps.
  const auto slope = [&](const double* potential, const double* mass, std::int64_t i) {
    return p.product ? lane(potential, i) - epsilon * log(lane(mass, i)) : lane(potential, i);
  };
  for (std::int64_t j = 0; j < m; ++j) set(y, j, slope(to.g, s.b, j)), set(c, j, splat(0.0));
  for (std::int64_t i = 0; i < n; ++i) {
    const Vec alpha = slope(to.f, p.a, i);
    Vec sum = splat(0.0), flow = splat(0.0);
    for (std::int64_t j = 0; j < m; ++j) {
      const Vec scaled = lane(u, i) * lane(v, j), entry = scaled * lane(s.k, i * m + j);
      const Vec g = (sharp * lane(p.d, i * m + j) + regularized * (alpha + lane(y, j))) * inverse;
      sum += entry;
      flow += entry * g;
      set(c, j, lane(c, j) + entry);
      set(up.g, j, lane(up.g, j) + entry * g);
      set(outer, i * m + j, scaled * (sharp + regularized - g));
    }
    set(r, i, sum);
    set(up.f, i, lane(up.f, i) + flow);
  }
  if (p.product) {
    const auto explicit_masses = [&](const double* sums, const double* mass, std::int64_t count, Vec other_total, double* d) {
      for (std::int64_t i = 0; i < count; ++i)
        set(d, i, lane(d, i) - regularized * epsilon * (lane(sums, i) / lane(mass, i) - other_total));
    };
    explicit_masses(r, p.a, n, total(s.b, m), to.grad_a);
    explicit_masses(c, s.b, m, total(p.a, n), to.grad_b);
  }
  const auto add_outer = [&](const double* rows, const double* columns) {
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < m; ++j)
        set(outer, i * m + j, lane(outer, i * m + j) + lane(rows, i) * lane(columns, j));
  };
  for (std::int64_t l = iterations; l >= 1; --l) {
    u = s.u + l * n * kLanes;
    v = s.v + l * m * kLanes;
    for (std::int64_t j = 0; j < m; ++j) {
      const Vec flow = lane(up.g, j) / lane(s.b, j);
      set(to.grad_b, j, lane(to.grad_b, j) + epsilon * flow);
      set(y, j, lane(v, j) * flow);
    }
    add_outer(u, y);
    const double* before = s.v + (l - 1) * m * kLanes;
    for (std::int64_t i = 0; i < n; ++i) {
      const Vec flow = (lane(up.f, i) - lane(u, i) * row_sum(s.k, y, i, m)) / lane(p.a, i);
      set(to.grad_a, i, lane(to.grad_a, i) + epsilon * flow);
      set(x, i, lane(u, i) * flow);
      set(up.f, i, splat(0.0));
    }
    add_outer(x, before);
    for (std::int64_t j = 0; j < m; ++j) set(up.g, j, -lane(before, j) * column_sum(s.k, x, j, n, m));
  }
  for (std::int64_t k = 0; k < n * m; ++k) set(to.grad_cost, k, lane(outer, k) * lane(s.k, k));
  centre(p.a, n, splat(1.0), to.grad_a);
  centre(s.b, m, lane(s.b_scale, 0), to.grad_b);
  set(to.residual, 0, splat(0.0));
}

}  // namespace

extern const TinyKernels tiny_kernels;
const TinyKernels tiny_kernels = {iterate, report, implicit, unrolled};

}  // namespace wbm::WBM_ISA
