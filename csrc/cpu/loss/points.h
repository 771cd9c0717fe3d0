// What a balancing loss needs before its solve: masses from propensities, and squared distances between the two groups.
#pragma once

#include <cstdint>

namespace wbm::cpu {

// Rows of a matrix (unit stride along a row): those that `index` names, or the first `count` where it is nullptr.
struct Points {
  const void* data = nullptr;
  std::int64_t stride = 0;
  const std::int64_t* index = nullptr;
  std::int64_t count = 0;
};

// out_ij = factor |x_i - y_j|^2 in the type of the points, to a few roundings of each entry wherever the points lie:
//
//     |x_i - c|^2 + |y_j - c|^2 - 2 <x_i - c, y_j - c>,  c the mean of y,
//
// where that loses no digits, and sum_c (x_ic - y_jc)^2 in the tiles where it would. `scaled`: divided by its mean in the
// place of the factor, (1/n) sum |x_i - c|^2 + (1/m) sum |y_j - c|^2 (the mean of the products vanishes). Returns that mean,
// which has no factor. O(n m k).
double squared_distances(const Points& x, const Points& y, std::int64_t k, bool float64, bool scaled, double factor, void* out,
                         int threads);

// The gradient of sum_ij w_ij |x_i - y_j|^2 times factor / 2, as rows of k entries, nullptr where not wanted:
//     d_x_i = factor sum_j w_ij (x_i - y_j),   d_y_j = factor sum_i w_ij (y_j - x_i),   w (n, m) contiguous
void distances_gradient(const void* w, const Points& x, const Points& y, std::int64_t k, bool float64, double factor, void* d_x,
                        void* d_y, int threads);

// Inverse propensity masses: softmax(w) over a group, with q the propensity of the treatment that the samples had,
//
//     w = -log q (self-normalised),  1/q (softmax),     q clipped to [low, high].
//
// `logits`: the input is z with q = 1 / (1 + exp(-z)), and the bounds are those of z. `other`: the samples had not been
// treated, and q (z) stands for 1 - q (-z) of the input.
struct Weighting {
  bool float64 = false, logits = false, softmax = false, other = false;
  double low = 0.0, high = 1.0;  // of the input
};

struct WeightReport {
  double ess = 0.0;           // (sum a)^2 / sum a^2
  std::int64_t clipped = 0;
  std::int64_t invalid = -1;  // sample whose propensity is NaN or outside [0, 1]; nothing is computed then
};

// mass (count, type of q) <- softmax(w) of the samples `index` (count)
WeightReport inverse_masses(const void* q, const std::int64_t* index, std::int64_t count, const Weighting& how, void* mass);

// d_q[index] <- dL/dq from d_mass = dL/dmass; what was clipped gets 0
void inverse_masses_gradient(const void* q, const std::int64_t* index, std::int64_t count, const Weighting& how,
                             const void* mass, const void* d_mass, void* d_q);

// index <- the samples with 1, ascending, then those with 0; returns how many there are of the first.
std::int64_t partition(const std::uint8_t* treated, std::int64_t size, std::int64_t* index);

}  // namespace wbm::cpu
