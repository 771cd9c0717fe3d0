// Products of a weight matrix with points, and its margins. Compiled once per instruction set with -DWBM_ISA=<name>; see
// kernels.h.
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace wbm::WBM_ISA {
namespace {

// Rows x two registers of W Z, all terms in registers.
template <typename S, int Rows>
void tile(const S* w, std::int64_t row_step, std::int64_t term_step, std::int64_t terms, const S* z, std::int64_t padded,
          S* out) {
  using Wide = typename WideOf<S>::Type;
  constexpr std::int64_t kWide = sizeof(Wide) / sizeof(S);
  Wide low[Rows] = {}, high[Rows] = {};
  for (std::int64_t t = 0; t < terms; ++t) {
    const Wide a = load_wide(z + t * padded), b = load_wide(z + t * padded + kWide);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const S factor = w[r * row_step + t * term_step];
      low[r] += a * factor;
      high[r] += b * factor;
    }
  }
  for (int r = 0; r < Rows; ++r) {
    store_wide(out + r * padded, low[r]);
    store_wide(out + r * padded + kWide, high[r]);
  }
}

template <typename S>
void products(const S* w, std::int64_t row_step, std::int64_t term_step, std::int64_t rows, std::int64_t terms, const S* z,
              std::int64_t padded, S* out) {
  constexpr std::int64_t kColumns = 2 * sizeof(typename WideOf<S>::Type) / sizeof(S);
  for (std::int64_t c = 0; c < padded; c += kColumns) {
    std::int64_t r = 0;
    for (; r + 8 <= rows; r += 8) tile<S, 8>(w + r * row_step, row_step, term_step, terms, z + c, padded, out + r * padded + c);
    for (; r < rows; ++r) tile<S, 1>(w + r * row_step, row_step, term_step, terms, z + c, padded, out + r * padded + c);
  }
}

template <typename S>
void margins(const S* w, std::int64_t n, std::int64_t m, double* rows, double* columns) {
  const std::int64_t whole = m / kLanes * kLanes;
  for (std::int64_t i = 0; i < n; ++i, w += m) {
    Vec total = splat(0.0);
    for (std::int64_t j = 0; j < whole; j += kLanes) {
      const Vec x = load(w + j);
      total += x;
      store(columns + j, load(columns + j) + x);
    }
    double rest = 0.0;
    for (std::int64_t j = whole; j < m; ++j) {
      const double x = static_cast<double>(w[j]);
      rest += x;
      columns[j] += x;
    }
    rows[i] = sum(total) + rest;
  }
}

}  // namespace

extern const MomentTable moment_kernels;
const MomentTable moment_kernels = {{products<float>, margins<float>}, {products<double>, margins<double>}};

}  // namespace wbm::WBM_ISA
