/*! The arithmetic of the convolutions on a CPU, in vectors. */
#include "igconv_rows.h"

#include <cstring>

// The compiler makes one copy of a function per instruction set; the loader picks the best one that
// the processor has.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define IGC_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define IGC_CLONES
#endif
// Into the clones, so that it is compiled for their instruction sets.
#define IGC_INLINE inline __attribute__((always_inline))

namespace igc {
namespace {

constexpr int64_t kVectorBytes = 32;

template <typename Item>
struct VectorOf {
  typedef Item type __attribute__((vector_size(kVectorBytes)));
  static constexpr int64_t lanes = kVectorBytes / static_cast<int64_t>(sizeof(Item));
};

/*! `Rows` rows at `Vectors` vectors of pixels from `t` on. */
template <typename Item, int Rows, int Vectors>
IGC_INLINE void combine_tile(const Combination<Item>& work, const Item* weights, int64_t row,
                             int64_t t) {
  using Vector = typename VectorOf<Item>::type;
  constexpr int64_t lanes = VectorOf<Item>::lanes;
  Vector sums[Rows][Vectors] = {};
  for (int64_t k = 0; k < work.terms; ++k) {
    const Item* in = work.in[k] + t;
    const Item* weight = weights + work.offsets[k];
    Vector pixels[Vectors];
    for (int v = 0; v < Vectors; ++v) {
      std::memcpy(&pixels[v], in + v * lanes, sizeof(Vector));  // an unaligned load
    }
    for (int r = 0; r < Rows; ++r) {
      for (int v = 0; v < Vectors; ++v) sums[r][v] += weight[r * work.row_step] * pixels[v];
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int v = 0; v < Vectors; ++v) {
      std::memcpy(work.out[row + r] + t + v * lanes, &sums[r][v], sizeof(Vector));
    }
  }
}

template <typename Item, int Rows>
IGC_INLINE void combine_rows(const Combination<Item>& work, int64_t row) {
  constexpr int64_t lanes = VectorOf<Item>::lanes;
  constexpr int vectors = Rows <= 2 ? 4 : 2;  // eight sums at once hide the latency
  constexpr int64_t tile = vectors * lanes;
  const Item* weights = work.weights + row * work.row_step;
  int64_t t = 0;
  for (; t + tile <= work.length; t += tile) {
    combine_tile<Item, Rows, vectors>(work, weights, row, t);
  }
  for (; t + lanes <= work.length; t += lanes) {
    combine_tile<Item, Rows, 1>(work, weights, row, t);
  }
  if (t == work.length) return;
  if (work.length >= lanes) {
    // Some pixels once more: cheaper than the rest one by one, and they come out the same.
    combine_tile<Item, Rows, 1>(work, weights, row, work.length - lanes);
    return;
  }
  for (; t < work.length; ++t) {
    Item sums[Rows] = {};
    for (int64_t k = 0; k < work.terms; ++k) {
      const Item* weight = weights + work.offsets[k];
      for (int r = 0; r < Rows; ++r) sums[r] += weight[r * work.row_step] * work.in[k][t];
    }
    for (int r = 0; r < Rows; ++r) work.out[row + r][t] = sums[r];
  }
}

template <typename Item>
IGC_INLINE void combine_all(const Combination<Item>& work) {
  int64_t row = 0;
  for (; row + kRows <= work.rows; row += kRows) combine_rows<Item, kRows>(work, row);
  switch (work.rows - row) {
    case 3: combine_rows<Item, 3>(work, row); break;
    case 2: combine_rows<Item, 2>(work, row); break;
    case 1: combine_rows<Item, 1>(work, row); break;
    default: break;
  }
}

/*! `Rows` x `Terms` sums of products. */
template <typename Item, int Rows, int Terms>
IGC_INLINE void products_tile(const Products<Item>& work, int64_t row, int64_t term) {
  using Vector = typename VectorOf<Item>::type;
  constexpr int64_t lanes = VectorOf<Item>::lanes;
  Vector sums[Rows][Terms] = {};
  int64_t t = 0;
  for (; t + lanes <= work.length; t += lanes) {
    Vector right[Terms];
    for (int k = 0; k < Terms; ++k) {
      std::memcpy(&right[k], work.right[term + k] + t, sizeof(Vector));
    }
    for (int r = 0; r < Rows; ++r) {
      Vector left;
      std::memcpy(&left, work.left[row + r] + t, sizeof(Vector));
      for (int k = 0; k < Terms; ++k) sums[r][k] += left * right[k];
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int k = 0; k < Terms; ++k) {
      Item sum = 0;
      for (int64_t rest = t; rest < work.length; ++rest) {
        sum += work.left[row + r][rest] * work.right[term + k][rest];
      }
      for (int64_t lane = 0; lane < lanes; ++lane) sum += sums[r][k][lane];
      work.sums[(row + r) * work.row_step + term + k] += sum;
    }
  }
}

template <typename Item, int Rows>
IGC_INLINE void products_rows(const Products<Item>& work, int64_t row) {
  constexpr int terms = Rows <= 2 ? 4 : 2;
  int64_t term = 0;
  for (; term + terms <= work.terms; term += terms) {
    products_tile<Item, Rows, terms>(work, row, term);
  }
  for (; term < work.terms; ++term) products_tile<Item, Rows, 1>(work, row, term);
}

template <typename Item>
IGC_INLINE void products_all(const Products<Item>& work) {
  int64_t row = 0;
  for (; row + kRows <= work.rows; row += kRows) products_rows<Item, kRows>(work, row);
  switch (work.rows - row) {
    case 3: products_rows<Item, 3>(work, row); break;
    case 2: products_rows<Item, 2>(work, row); break;
    case 1: products_rows<Item, 1>(work, row); break;
    default: break;
  }
}

}  // namespace

IGC_CLONES void combine(const Combination<float>& work) { combine_all(work); }
IGC_CLONES void combine(const Combination<double>& work) { combine_all(work); }
IGC_CLONES void add_products(const Products<float>& work) { products_all(work); }
IGC_CLONES void add_products(const Products<double>& work) { products_all(work); }

}  // namespace igc
