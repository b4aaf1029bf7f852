/*! What is done to each value by itself, and sums. Part of kernels_body.h, which includes it. */

// Vectors of a row that are taken together where they are summed up, so that no sum waits.
constexpr int kTogether = 4;

IGC_INLINE V load_part(const float* at, bool half) { return half ? load_half(at) : load(at); }
IGC_INLINE void store_part(float* at, bool half, V value) {
  if (half) {
    store_half(at, value);
  } else {
    store(at, value);
  }
}

/*!
 * Call `body(k, offset, half)` for every vector of a row; `half` where only one pixel is left, and
 * k from 0 to kTogether - 1 in turns.
 */
template <typename Body>
IGC_INLINE void each_vector(int width, const Body& body) {
  const int end = width / P * W;
  int x = 0;
  for (; x + kTogether * W <= end; x += kTogether * W) {
#pragma GCC unroll 4
    for (int k = 0; k < kTogether; ++k) body(k, x + k * W, false);
  }
  for (; x < end; x += W) body(0, x, false);
  if (P > 1 && width % P != 0) body(0, x, true);
}

IGC_INLINE V8 fold_all(const V (&sums)[kTogether]) {
  return fold((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

template <bool kTwo, bool kLimit>
IGC_KERNEL void affine_rows(const float* in, ptrdiff_t in_row, V a, const float* in2,
                            ptrdiff_t in2_row, V a2, V b, V lowest, V highest, float* out,
                            ptrdiff_t out_row, int rows, int width) {
  for (int y = 0; y < rows; ++y) {
    each_vector(width, [&](int, int x, bool half) __attribute__((always_inline)) {
      V value = load_part(in + x, half) * a + b;
      if constexpr (kTwo) value += load_part(in2 + x, half) * a2;
      if constexpr (kLimit) value = at_most(at_least(value, lowest), highest);
      store_part(out + x, half, value);
    });
    in += in_row;
    if constexpr (kTwo) in2 += in2_row;
    out += out_row;
  }
}

void affine(const float* in, ptrdiff_t in_row, const float* scale, const float* shift,
            const float* in2, ptrdiff_t in2_row, const float* scale2, const float* shift2,
            bool limit, float low, float high, float* out, ptrdiff_t out_row, int rows,
            int width) {
  const V one = splat(1.0f);
  const V a = scale == nullptr ? one : lanes(scale);
  const V a2 = scale2 == nullptr ? one : lanes(scale2);
  V b = shift == nullptr ? V{} : lanes(shift);
  if (shift2 != nullptr) b += lanes(shift2);
  const auto one_map = limit ? affine_rows<false, true> : affine_rows<false, false>;
  const auto two_maps = limit ? affine_rows<true, true> : affine_rows<true, false>;
  const auto function = in2 == nullptr ? one_map : two_maps;
  function(in, in_row, a, in2, in2_row, a2, b, splat(low), splat(high), out, out_row, rows, width);
}

void moments(const float* in, ptrdiff_t in_row, const float* centre, int rows, int width,
             float* sums) {
  const V middle = lanes(centre);
  V first[kTogether] = {}, second[kTogether] = {};
  for (int y = 0; y < rows; ++y) {
    each_vector(width, [&](int k, int x, bool half) __attribute__((always_inline)) {
      const V value = load_part(in + x, half) - (half ? load_half(centre) : middle);
      first[k] += value;
      second[k] += value * value;
    });
    in += in_row;
  }
  *reinterpret_cast<V8U*>(sums) += fold_all(first);
  *reinterpret_cast<V8U*>(sums + kLanes) += fold_all(second);
}

template <bool kLimit>
IGC_KERNEL void mask_rows(const float* gradient, ptrdiff_t gradient_row, const float* z,
                          ptrdiff_t z_row, V a, V b, V lowest, V highest, V middle, float* out,
                          ptrdiff_t out_row, int rows, int width, float* sums) {
  V first[kTogether] = {}, second[kTogether] = {};
  for (int y = 0; y < rows; ++y) {
    each_vector(width, [&](int k, int x, bool half) __attribute__((always_inline)) {
      const V given = load_part(z + x, half);
      V passed = load_part(gradient + x, half);
      if constexpr (kLimit) {
        const V value = given * a + b;
        passed = value < lowest ? V{} : passed;
        passed = value > highest ? V{} : passed;
      }
      first[k] += passed;
      second[k] += passed * (given - middle);
      store_part(out + x, half, passed);
    });
    gradient += gradient_row;
    z += z_row;
    out += out_row;
  }
  *reinterpret_cast<V8U*>(sums) += fold_all(first);
  *reinterpret_cast<V8U*>(sums + kLanes) += fold_all(second);
}

void mask(const float* gradient, ptrdiff_t gradient_row, const float* z, ptrdiff_t z_row,
          const float* scale, const float* shift, bool limit, float low, float high,
          const float* mean, float* out, ptrdiff_t out_row, int rows, int width, float* sums) {
  const auto function = limit ? mask_rows<true> : mask_rows<false>;
  function(gradient, gradient_row, z, z_row, lanes(scale), lanes(shift), splat(low), splat(high),
           lanes(mean), out, out_row, rows, width, sums);
}

void combine(const float* gradient, ptrdiff_t gradient_row, const float* z, ptrdiff_t z_row,
             const float* a, const float* b, const float* c, float* out, ptrdiff_t out_row,
             int rows, int width) {
  const V first = lanes(a), second = lanes(b), third = lanes(c);
  for (int y = 0; y < rows; ++y) {
    each_vector(width, [&](int, int x, bool half) __attribute__((always_inline)) {
      const V scaled = load_part(gradient + x, half) * first;
      store_part(out + x, half, scaled + load_part(z + x, half) * second + third);
    });
    gradient += gradient_row;
    z += z_row;
    out += out_row;
  }
}
