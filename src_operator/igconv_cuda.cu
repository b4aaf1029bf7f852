/*!
 * The interleaved group convolution on a GPU: one thread per element of a convolution's result, one
 * block of threads per element of a weight gradient. Correct for all sizes; simple before fast.
 */
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "igconv.h"
#include "igconv_check.h"

namespace {

constexpr int kThreads = 256;
// What is left over is done by the loops in the kernels.
constexpr int64_t kMostBlocks = 65535;

/*! float16 is computed in float. */
template <typename Stored>
struct ComputeType {
  using type = Stored;
};
template <>
struct ComputeType<__half> {
  using type = float;
};

__device__ inline float load(const __half* from) { return __half2float(*from); }
__device__ inline float load(const float* from) { return *from; }
__device__ inline double load(const double* from) { return *from; }
__device__ inline void store(__half* to, float value) { *to = __float2half_rn(value); }
__device__ inline void store(float* to, float value) { *to = value; }
__device__ inline void store(double* to, double value) { *to = value; }

/*! The sizes of some images, and what follows from them. Passed to kernels by value. */
struct Plan {
  Plan(const igc_igconv_sizes& sizes, int64_t images) : s(sizes) {
    s.batch = images;
    out_height = igc::igconv_out_size(s, 0);
    out_width = igc::igconv_out_size(s, 1);
    pixels = out_height * out_width;
    group_in = s.channels / s.primary_partition;
    group_primary = s.filters / s.primary_partition;
    group_secondary = s.filters / s.secondary_partition;
  }

  igc_igconv_sizes s;
  int64_t out_height, out_width, pixels;
  int64_t group_in, group_primary, group_secondary;  // channels of a group
};

/*! Whose element a thread computes: dense (image, channel, y, x). */
struct Element {
  __device__ Element(int64_t index, int64_t channels, int64_t height, int64_t width) {
    x = index % width;
    y = index / width % height;
    channel = index / (width * height) % channels;
    image = index / (width * height * channels);
  }

  int64_t image, channel, y, x;
};

__device__ inline int64_t first_index() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ inline int64_t index_step() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

template <typename Stored, typename Item>
__global__ void convolve_primary(Plan plan, const Stored* data, const Stored* weight,
                                 Item* primary) {
  const igc_igconv_sizes& s = plan.s;
  const int64_t count = s.batch * s.filters * plan.pixels;
  for (int64_t index = first_index(); index < count; index += index_step()) {
    const Element e(index, s.filters, plan.out_height, plan.out_width);
    const int64_t first_channel = e.channel / plan.group_primary * plan.group_in;
    const Stored* in = data + (e.image * s.channels + first_channel) * s.height * s.width;
    const Stored* w = weight + e.channel * plan.group_in * s.kernel[0] * s.kernel[1];
    Item sum = 0;
    for (int64_t c = 0; c < plan.group_in; ++c, in += s.height * s.width) {
      for (int64_t i = 0; i < s.kernel[0]; ++i, w += s.kernel[1]) {
        const int64_t row = e.y * s.stride[0] + i - s.pad[0];
        if (row < 0 || row >= s.height) continue;
        for (int64_t j = 0; j < s.kernel[1]; ++j) {
          const int64_t column = e.x * s.stride[1] + j - s.pad[1];
          if (column < 0 || column >= s.width) continue;
          sum += load(w + j) * load(in + row * s.width + column);
        }
      }
    }
    primary[index] = sum;
  }
}

/*! The secondary convolution, with both permutations. */
template <typename Stored, typename Item>
__global__ void convolve_secondary(Plan plan, const Item* primary, const Stored* weight,
                                   Stored* out) {
  const igc_igconv_sizes& s = plan.s;
  const int64_t count = s.batch * s.filters * plan.pixels;
  for (int64_t index = first_index(); index < count; index += index_step()) {
    const Element e(index, s.filters, 1, plan.pixels);
    const int64_t channel = igc::secondary_channel(s, e.channel);
    const int64_t first_mixed = channel / plan.group_secondary * plan.group_secondary;
    const Item* in = primary + e.image * s.filters * plan.pixels + e.x;
    Item sum = 0;
    for (int64_t i = 0; i < plan.group_secondary; ++i) {
      const int64_t from = igc::primary_channel(s, first_mixed + i);
      sum += load(weight + channel * plan.group_secondary + i) * in[from * plan.pixels];
    }
    store(out + index, sum);
  }
}

/*! The gradient of the primary convolution's output. */
template <typename Item>
__global__ void spread_secondary(Plan plan, const Item* out_gradient, const Item* weight,
                                 Item* primary_gradient) {
  const igc_igconv_sizes& s = plan.s;
  const int64_t count = s.batch * s.filters * plan.pixels;
  for (int64_t index = first_index(); index < count; index += index_step()) {
    const Element e(index, s.filters, 1, plan.pixels);
    const int64_t mixed = igc::mixed_channel(s, e.channel);
    const int64_t in_group = mixed % plan.group_secondary;
    const Item* head = out_gradient + e.image * s.filters * plan.pixels + e.x;
    Item sum = 0;
    for (int64_t k = 0; k < plan.group_secondary; ++k) {
      const int64_t channel = mixed - in_group + k;
      sum += weight[channel * plan.group_secondary + in_group] *
             head[igc::out_channel(s, channel) * plan.pixels];
    }
    primary_gradient[index] = sum;
  }
}

template <typename Item>
__global__ void spread_primary(Plan plan, const Item* primary_gradient, const Item* weight,
                               Item* data_gradient) {
  const igc_igconv_sizes& s = plan.s;
  const int64_t taps = s.kernel[0] * s.kernel[1];
  const int64_t count = s.batch * s.channels * s.height * s.width;
  for (int64_t index = first_index(); index < count; index += index_step()) {
    const Element e(index, s.channels, s.height, s.width);
    const int64_t group = e.channel / plan.group_in;
    Item sum = 0;
    for (int64_t f = 0; f < plan.group_primary; ++f) {
      const int64_t filter = group * plan.group_primary + f;
      const Item* w = weight + (filter * plan.group_in + e.channel % plan.group_in) * taps;
      const Item* head = primary_gradient + (e.image * s.filters + filter) * plan.pixels;
      for (int64_t i = 0; i < s.kernel[0]; ++i) {
        const int64_t row = e.y + s.pad[0] - i;
        const int64_t y = row / s.stride[0];
        if (row < 0 || row % s.stride[0] != 0 || y >= plan.out_height) continue;
        for (int64_t j = 0; j < s.kernel[1]; ++j) {
          const int64_t column = e.x + s.pad[1] - j;
          const int64_t x = column / s.stride[1];
          if (column < 0 || column % s.stride[1] != 0 || x >= plan.out_width) continue;
          sum += w[i * s.kernel[1] + j] * head[y * plan.out_width + x];
        }
      }
    }
    data_gradient[index] = sum;
  }
}

/*! The sum over the threads of a block, in one fixed order; thread 0 gets it. */
template <typename Item>
__device__ Item sum_of_block(Item mine) {
  __shared__ Item sums[kThreads];
  sums[threadIdx.x] = mine;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  const Item sum = sums[0];
  __syncthreads();  // the next sum must not overwrite this one before all have read it
  return sum;
}

/*! A block per weight; its threads share the pixels of all images. */
template <typename Item>
__global__ void add_secondary_gradient(Plan plan, const Item* out_gradient, const Item* primary,
                                       Item* gradient) {
  const igc_igconv_sizes& s = plan.s;
  const int64_t count = s.filters * plan.group_secondary;
  for (int64_t index = blockIdx.x; index < count; index += gridDim.x) {
    const int64_t channel = index / plan.group_secondary;
    const int64_t first_mixed = channel / plan.group_secondary * plan.group_secondary;
    const int64_t from =
        igc::primary_channel(s, first_mixed + index % plan.group_secondary) * plan.pixels;
    const int64_t to = igc::out_channel(s, channel) * plan.pixels;
    Item sum = 0;
    for (int64_t k = threadIdx.x; k < s.batch * plan.pixels; k += kThreads) {
      const int64_t pixel = k / plan.pixels * s.filters * plan.pixels + k % plan.pixels;
      sum += out_gradient[pixel + to] * primary[pixel + from];
    }
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) gradient[index] += sum;
  }
}

/*! A block per weight; its threads share the pixels of all images. */
template <typename Item>
__global__ void add_primary_gradient(Plan plan, const Item* primary_gradient, const Item* data,
                                     Item* gradient) {
  const igc_igconv_sizes& s = plan.s;
  const int64_t count = s.filters * plan.group_in * s.kernel[0] * s.kernel[1];
  for (int64_t index = blockIdx.x; index < count; index += gridDim.x) {
    // The weight's own indices are those of an element with `filters` images.
    const Element w(index, plan.group_in, s.kernel[0], s.kernel[1]);
    const int64_t channel = w.image / plan.group_primary * plan.group_in + w.channel;
    Item sum = 0;
    for (int64_t k = threadIdx.x; k < s.batch * plan.pixels; k += kThreads) {
      const Element e(k, 1, plan.out_height, plan.out_width);
      const int64_t row = e.y * s.stride[0] + w.y - s.pad[0];
      const int64_t column = e.x * s.stride[1] + w.x - s.pad[1];
      if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
      sum += primary_gradient[(e.image * s.filters + w.image) * plan.pixels +
                              e.y * plan.out_width + e.x] *
             data[((e.image * s.channels + channel) * s.height + row) * s.width + column];
    }
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) gradient[index] += sum;
  }
}

dim3 blocks_for(int64_t elements) {
  return dim3(static_cast<unsigned>(
      std::min((elements + kThreads - 1) / kThreads, kMostBlocks)));
}

dim3 blocks_per_weight(int64_t weights) {
  return dim3(static_cast<unsigned>(std::min(weights, kMostBlocks)));
}

/*! The bytes of one image of `filters` channels in the type of the computation. */
int64_t image_bytes(const igc_igconv_sizes& s, int item_bytes) {
  return s.filters * igc::igconv_out_size(s, 0) * igc::igconv_out_size(s, 1) *
         std::max(item_bytes, 4);
}

template <typename Stored>
void forward(const igc_igconv_sizes& sizes, const void* data, const void* primary_weight,
             const void* secondary_weight, void* out, void* workspace, int64_t most,
             cudaStream_t stream) {
  using Item = typename ComputeType<Stored>::type;
  const Stored* in = static_cast<const Stored*>(data);
  Stored* to = static_cast<Stored*>(out);
  Item* primary = static_cast<Item*>(workspace);
  for (int64_t image = 0; image < sizes.batch; image += most) {
    const Plan plan(sizes, std::min(most, sizes.batch - image));
    const int64_t out_count = plan.s.batch * sizes.filters * plan.pixels;
    convolve_primary<<<blocks_for(out_count), kThreads, 0, stream>>>(
        plan, in, static_cast<const Stored*>(primary_weight), primary);
    convolve_secondary<<<blocks_for(out_count), kThreads, 0, stream>>>(
        plan, primary, static_cast<const Stored*>(secondary_weight), to);
    in += plan.s.batch * sizes.channels * sizes.height * sizes.width;
    to += out_count;
  }
}

template <typename Item>
void backward(const igc_igconv_sizes& sizes, const void* out_gradient, const void* data,
              const void* primary_weight, const void* secondary_weight, void* data_gradient,
              void* primary_gradient, void* secondary_gradient, void* workspace, int64_t most,
              cudaStream_t stream) {
  const Item* head = static_cast<const Item*>(out_gradient);
  const Item* in = static_cast<const Item*>(data);
  const Item* weight1 = static_cast<const Item*>(primary_weight);
  const Item* weight2 = static_cast<const Item*>(secondary_weight);
  Item* in_gradient = static_cast<Item*>(data_gradient);
  Item* gradient1 = static_cast<Item*>(primary_gradient);
  Item* gradient2 = static_cast<Item*>(secondary_gradient);
  const Plan whole(sizes, sizes.batch);
  const int64_t count1 =
      sizes.filters * whole.group_in * sizes.kernel[0] * sizes.kernel[1];
  const int64_t count2 = sizes.filters * whole.group_secondary;
  if (gradient1 != nullptr) cudaMemsetAsync(gradient1, 0, count1 * sizeof(Item), stream);
  if (gradient2 != nullptr) cudaMemsetAsync(gradient2, 0, count2 * sizeof(Item), stream);
  // One after the other: the primary convolution's output, then its gradient.
  Item* primary = static_cast<Item*>(workspace);
  for (int64_t image = 0; image < sizes.batch; image += most) {
    const Plan plan(sizes, std::min(most, sizes.batch - image));
    const int64_t out_count = plan.s.batch * sizes.filters * plan.pixels;
    const int64_t in_count = plan.s.batch * sizes.channels * sizes.height * sizes.width;
    if (gradient2 != nullptr) {
      convolve_primary<<<blocks_for(out_count), kThreads, 0, stream>>>(plan, in, weight1, primary);
      add_secondary_gradient<<<blocks_per_weight(count2), kThreads, 0, stream>>>(
          plan, head, primary, gradient2);
    }
    spread_secondary<<<blocks_for(out_count), kThreads, 0, stream>>>(plan, head, weight2, primary);
    if (gradient1 != nullptr && count1 > 0) {
      add_primary_gradient<<<blocks_per_weight(count1), kThreads, 0, stream>>>(plan, primary, in,
                                                                              gradient1);
    }
    if (in_gradient != nullptr && in_count > 0) {
      spread_primary<<<blocks_for(in_count), kThreads, 0, stream>>>(plan, primary, weight1,
                                                                   in_gradient);
      in_gradient += in_count;
    }
    head += out_count;
    in += in_count;
  }
}

/*! The checks before a launch. `most` becomes the number of images that the workspace holds. */
const char* prepare(const igc_igconv_sizes& sizes, int item_bytes, int64_t workspace_bytes,
                    int device, int64_t* most) {
  *most = workspace_bytes / image_bytes(sizes, item_bytes);
  if (*most < 1 && sizes.batch > 0) return "igconv: the workspace is too small for one image";
  *most = std::max<int64_t>(*most, 1);
  // This library has its own CUDA runtime, which has not seen the caller choose a device.
  const cudaError_t chosen = cudaSetDevice(device);
  return chosen == cudaSuccess ? nullptr : cudaGetErrorString(chosen);
}

const char* launch_result() {
  const cudaError_t launched = cudaGetLastError();
  return launched == cudaSuccess ? nullptr : cudaGetErrorString(launched);
}

}  // namespace

extern "C" int64_t igc_igconv_workspace_cuda(const igc_igconv_sizes* sizes, int item_bytes,
                                             int backward) {
  if (igc::check_igconv(sizes, item_bytes, backward != 0) != nullptr) return 0;
  return image_bytes(*sizes, item_bytes);
}

extern "C" const char* igc_igconv_forward_cuda(const igc_igconv_sizes* sizes, int item_bytes,
                                               const void* data, const void* primary_weight,
                                               const void* secondary_weight, void* out,
                                               void* workspace, int64_t workspace_bytes,
                                               int device, void* stream) {
  int64_t most = 0;
  const char* wrong = igc::check_igconv(sizes, item_bytes, false);
  if (wrong == nullptr) wrong = prepare(*sizes, item_bytes, workspace_bytes, device, &most);
  if (wrong != nullptr) return wrong;
  const auto run = item_bytes == 2   ? forward<__half>
                   : item_bytes == 4 ? forward<float>
                                     : forward<double>;
  run(*sizes, data, primary_weight, secondary_weight, out, workspace, most,
      static_cast<cudaStream_t>(stream));
  return launch_result();
}

extern "C" const char* igc_igconv_backward_cuda(const igc_igconv_sizes* sizes, int item_bytes,
                                                const void* out_gradient, const void* data,
                                                const void* primary_weight,
                                                const void* secondary_weight,
                                                void* data_gradient, void* primary_gradient,
                                                void* secondary_gradient, void* workspace,
                                                int64_t workspace_bytes, int device,
                                                void* stream) {
  int64_t most = 0;
  const char* wrong = igc::check_igconv(sizes, item_bytes, true);
  if (wrong == nullptr) wrong = prepare(*sizes, item_bytes, workspace_bytes, device, &most);
  if (wrong != nullptr) return wrong;
  const auto run = item_bytes == 4 ? backward<float> : backward<double>;
  run(*sizes, out_gradient, data, primary_weight, secondary_weight, data_gradient,
      primary_gradient, secondary_gradient, workspace, most, static_cast<cudaStream_t>(stream));
  return launch_result();
}
