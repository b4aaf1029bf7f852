/*!
 * The arithmetic of the convolutions on a CPU. Every one of them, forward and backward, is a matrix
 * product whose one side is a list of contiguous runs of pixels: shifted views of padded channels,
 * or channels in permuted order. Passing the runs as pointers makes permutations free.
 */
#ifndef IGC_OPERATOR_IGCONV_ROWS_H_
#define IGC_OPERATOR_IGCONV_ROWS_H_

#include <cstdint>

namespace igc {

/*! out[r][t] = sum over k of weights[r * row_step + offsets[k]] * in[k][t],  0 <= t < length */
template <typename Item>
struct Combination {
  int64_t rows, terms, length;
  const Item* weights;
  int64_t row_step;
  const int64_t* offsets;  // one per term
  const Item* const* in;   // one per term
  Item* const* out;        // one per row; they overlap neither each other nor an input
};

/*! sums[r * row_step + k] += sum over t of left[r][t] * right[k][t],  0 <= t < length */
template <typename Item>
struct Products {
  int64_t rows, terms, length;
  const Item* const* left;   // one per row
  const Item* const* right;  // one per term
  Item* sums;
  int64_t row_step;
};

// Rows done at once: their sums stay in registers. More rows are allowed.
constexpr int64_t kRows = 4;

// The order of summation is that of the terms, and depends on nothing else.
void combine(const Combination<float>& work);
void combine(const Combination<double>& work);

// The order of summation depends on `length` only.
void add_products(const Products<float>& work);
void add_products(const Products<double>& work);

}  // namespace igc

#endif  // IGC_OPERATOR_IGCONV_ROWS_H_
