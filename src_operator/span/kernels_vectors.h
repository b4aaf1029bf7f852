/*! Vectors of one pixel or two. Part of kernels_body.h, which includes it. */

constexpr int P = IGC_PIXELS;
constexpr int W = P * kLanes;
constexpr int kBudget = IGC_BUDGET;

typedef float V __attribute__((vector_size(W * 4)));
typedef float V8 __attribute__((vector_size(32)));
typedef V VU __attribute__((aligned(4)));    // for loads and stores at any address
typedef V8 V8U __attribute__((aligned(4)));
typedef int I __attribute__((vector_size(W * 4)));

#define IGC_INLINE inline __attribute__((always_inline))
#define IGC_KERNEL __attribute__((noinline))

#if IGC_PIXELS == 1

IGC_INLINE V load(const float* at) { return *reinterpret_cast<const VU*>(at); }
IGC_INLINE V load_half(const float* at) { return load(at); }
IGC_INLINE V load_step(const float* at, ptrdiff_t) { return load(at); }
IGC_INLINE V lanes(const float* at) { return load(at); }
IGC_INLINE V8 fold(V value) { return value; }
IGC_INLINE void store(float* at, V value) { *reinterpret_cast<VU*>(at) = value; }
IGC_INLINE void store_half(float* at, V value) { store(at, value); }
IGC_INLINE void store_step(float* at, ptrdiff_t, V value) { store(at, value); }

#else

IGC_INLINE V load(const float* at) { return *reinterpret_cast<const VU*>(at); }
IGC_INLINE V join(V8 low, V8 high) {
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
IGC_INLINE V8 load8(const float* at) { return *reinterpret_cast<const V8U*>(at); }
IGC_INLINE V8 low_half(V value) {
  return __builtin_shufflevector(value, value, 0, 1, 2, 3, 4, 5, 6, 7);
}
IGC_INLINE V8 high_half(V value) {
  return __builtin_shufflevector(value, value, 8, 9, 10, 11, 12, 13, 14, 15);
}
/*! One pixel; zeros for the other. */
IGC_INLINE V load_half(const float* at) { return join(load8(at), V8{}); }
IGC_INLINE V load_step(const float* at, ptrdiff_t step) {
  return join(load8(at), load8(at + step));
}
/*! Eight floats for each of the pixels. */
IGC_INLINE V lanes(const float* at) {
#ifdef __AVX512F__
  // g++ would load and then shuffle, where shuffles are what `spread` needs
  return reinterpret_cast<V>(_mm512_maskz_broadcast_f32x8(0xffff, _mm256_loadu_ps(at)));
#else
  const V8 once = load8(at);
  return join(once, once);
#endif
}
/*! The pixels from the second of `left` on. */
IGC_INLINE V between(V left, V right) {
  return __builtin_shufflevector(left, right, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                 22, 23);
}
IGC_INLINE V8 fold(V value) { return low_half(value) + high_half(value); }
IGC_INLINE void store(float* at, V value) { *reinterpret_cast<VU*>(at) = value; }
IGC_INLINE void store_half(float* at, V value) { *reinterpret_cast<V8U*>(at) = low_half(value); }
IGC_INLINE void store_step(float* at, ptrdiff_t step, V value) {
  store_half(at, value);
  *reinterpret_cast<V8U*>(at + step) = high_half(value);
}

#endif

/*! (Not V{} + value: minus zero would not stay, and the addition would.) */
IGC_INLINE V splat(float v) {
#if IGC_PIXELS == 1
  return V{v, v, v, v, v, v, v, v};
#else
  return V{v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v};
#endif
}
// what is not a number stays so: a training that diverges must show it
IGC_INLINE V at_least(V value, V low) { return value < low ? low : value; }
IGC_INLINE V at_most(V value, V high) { return value > high ? high : value; }

/*! For each pixel, lane j of it in all eight lanes. */
template <bool kStep>
IGC_INLINE V spread(const float* at, [[maybe_unused]] ptrdiff_t step, int j) {
#if IGC_PIXELS == 1
  return splat(at[j]);
#else
  const I low = {0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8};
  return __builtin_shuffle(kStep ? load_step(at, step) : load(at), low + j);
#endif
}

/*! Keep a vector in a register: g++ would read it from memory once more at each use. */
#ifdef __AVX__
#define IGC_HOLD(value) asm("" : "+x"(value))
#else
#define IGC_HOLD(value) static_cast<void>(value)
#endif

/*! Whether the taps are rows of three side by side. */
template <typename Task>
bool in_threes(const Task& task) {
  if (task.in_step != 1 || task.tap_count % 3 != 0) return false;
  for (int t = 0; t < task.tap_count; t += 3) {
    if (task.taps[t + 1] != task.taps[t] + kLanes) return false;
    if (task.taps[t + 2] != task.taps[t] + 2 * kLanes) return false;
  }
  return true;
}
