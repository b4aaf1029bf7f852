/*! The interleaved group convolution on a GPU: checks, then what cuda/ has for the type. */
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "cuda/activation.cuh"
#include "cuda/device.h"
#include "cuda/passes.h"
#include "igconv.h"
#include "igconv_check.h"

namespace {

using igc::cuda::Functions;

/*! The functions for a type; NULL where there is none. */
const Functions* functions_of(int type) {
  switch (type) {
    case IGC_FLOAT32:
      return &igc::cuda::kFloat32;
    case IGC_FLOAT64:
      return &igc::cuda::kFloat64;
    case IGC_FLOAT16:
      return &igc::cuda::kFloat16;
    case IGC_BFLOAT16:
      return &igc::cuda::kBfloat16;
    default:
      return nullptr;
  }
}

/*! An interleaved group convolution as a block. */
igc_block block_of(const igc_igconv_sizes& sizes) {
  return {sizes, 1, 1, sizes.filters, IGC_NO_ACTIVATION, IGC_NO_ACTIVATION};
}

/*! NULL, or a text that says which size is wrong. */
const char* check_block(const igc_block& block) {
  igc_igconv_sizes sizes = block.sizes;
  if (block.primary != 0) {
    sizes.filters = block.primary_filters;
  } else {  // what the 1x1 convolution takes are the data
    sizes.kernel[0] = sizes.kernel[1] = sizes.stride[0] = sizes.stride[1] = 1;
    sizes.pad[0] = sizes.pad[1] = 0;
    sizes.primary_partition = 1;
    if (sizes.channels < 1) return "igconv: there are no channels";
    sizes.filters = sizes.channels;
    if (sizes.secondary_partition > 0 && sizes.channels % sizes.secondary_partition != 0) {
      return "igconv: secondary_partition does not divide the channels";
    }
  }
  const char* wrong = igc::check_sizes(&sizes);
  if (wrong != nullptr) return wrong;
  if (block.sizes.filters < 1 || block.sizes.filters % sizes.secondary_partition != 0) {
    return "igconv: secondary_partition does not divide the filters";
  }
  for (const int activation : {block.primary_activation, block.activation}) {
    if (!igc::cuda::is_activation(activation)) return "igconv: there is no such activation";
  }
  // A grid has less than 2^31 blocks, and kernels count an image's numbers in 32 bits.
  const double height = static_cast<double>(std::max(sizes.height, igc::igconv_out_size(sizes, 0)));
  const double width = static_cast<double>(std::max(sizes.width, igc::igconv_out_size(sizes, 1)));
  const double channels =
      static_cast<double>(std::max({sizes.channels, sizes.filters, block.sizes.filters}));
  const double weights =
      channels * static_cast<double>(std::max(sizes.channels, sizes.filters)) *
      static_cast<double>(sizes.kernel[0]) * static_cast<double>(sizes.kernel[1]);
  constexpr double kMost = 2147483647.0;
  if (std::max({height * width * channels, height * static_cast<double>(sizes.stride[0]),
                width * static_cast<double>(sizes.stride[1]),
                height + static_cast<double>(sizes.pad[0]),
                width + static_cast<double>(sizes.pad[1]), weights}) > kMost ||
      static_cast<double>(sizes.batch) * height * (width / 64 + 1) * channels / 8 > kMost) {
    return "igconv: too large for a GPU: take fewer images at a time";
  }
  return nullptr;
}

/*! The checks of the workspace. */
const char* check_workspace(const igc_block& block, int64_t least, const void* workspace,
                            int64_t bytes) {
  if (block.sizes.batch == 0) return nullptr;
  if (bytes < least || workspace == nullptr) return "igconv: the workspace is too small";
  if (reinterpret_cast<uintptr_t>(workspace) % 16 != 0) {
    return "igconv: the workspace does not begin at a multiple of 16 bytes";
  }
  return nullptr;
}

const char* check_type(const Functions* functions) {
  return functions == nullptr ? "igconv: there is no such number type" : nullptr;
}

bool is_pointwise(const igc_group_conv_sizes& s) {
  bool pointwise = true;
  for (int axis = 0; axis < 2; ++axis) {
    pointwise = pointwise && s.kernel[axis] == 1 && s.stride[axis] == 1 && s.pad[axis] == 0;
  }
  return pointwise;
}

/*!
 * A group convolution as half of a block: a 1x1 one as the second, else as the primary one, with
 * the second, which nothing computes, in as many groups as there are channels.
 */
igc_block block_of(const igc_group_conv_sizes& s) {
  const bool primary = !is_pointwise(s);
  igc_igconv_sizes sizes = {s.batch, s.channels, s.height, s.width, s.filters, {}, {}, {}, 1, 1};
  std::copy_n(s.kernel, 2, sizes.kernel);
  std::copy_n(s.stride, 2, sizes.stride);
  std::copy_n(s.pad, 2, sizes.pad);
  sizes.primary_partition = primary ? s.groups : 1;
  sizes.secondary_partition = primary ? s.filters : s.groups;
  return {sizes, primary, s.permute, s.filters, IGC_NO_ACTIVATION, IGC_NO_ACTIVATION};
}

const char* check_group_conv(const igc_group_conv_sizes* sizes) {
  if (sizes == nullptr) return "igconv: sizes is NULL";
  if (sizes->groups < 1) return "igconv: groups must be positive";
  if (sizes->channels % sizes->groups != 0) return "igconv: groups does not divide the channels";
  if (sizes->filters % sizes->groups != 0) return "igconv: groups does not divide the filters";
  // zero is divided by everything, and is no number of groups
  if (sizes->channels == 0) return "igconv: there are no channels";
  if (sizes->filters < 1) return "igconv: filters must be positive";
  if (sizes->permute != 0 && !is_pointwise(*sizes)) {
    return "igconv: only a 1x1 convolution at stride 1 without padding is permuted";
  }
  return check_block(block_of(*sizes));
}

}  // namespace

extern "C" int64_t igc_igconv_workspace_cuda(const igc_igconv_sizes* sizes, int type, int backward,
                                             int64_t images) {
  const Functions* functions = functions_of(type);
  if (functions == nullptr || igc::check_sizes(sizes) != nullptr) return -1;
  const igc_block block = block_of(*sizes);
  if (check_block(block) != nullptr) return -1;
  return backward != 0 ? functions->backward_bytes(block, images)
                       : functions->forward_bytes(block, images);
}

extern "C" const char* igc_igconv_forward_cuda(const igc_igconv_sizes* sizes, int type,
                                               const void* data, const void* primary_weight,
                                               const void* secondary_weight, void* out,
                                               void* workspace, int64_t workspace_bytes,
                                               int device, void* stream) {
  const char* wrong = igc::check_sizes(sizes);
  if (wrong != nullptr) return wrong;
  const igc_block block = block_of(*sizes);
  const igc_finish finish = {};
  return igc_block_infer_cuda(&block, type, data, primary_weight, secondary_weight, &finish, out,
                              workspace, workspace_bytes, device, stream);
}

extern "C" const char* igc_igconv_backward_cuda(const igc_igconv_sizes* sizes, int type,
                                                const void* out_gradient, const void* data,
                                                const void* primary_weight,
                                                const void* secondary_weight,
                                                void* data_gradient, void* primary_gradient,
                                                void* secondary_gradient, void* workspace,
                                                int64_t workspace_bytes, int device,
                                                void* stream) {
  const Functions* functions = functions_of(type);
  const char* wrong = igc::check_sizes(sizes);
  if (wrong == nullptr) wrong = check_type(functions);
  if (wrong != nullptr) return wrong;
  const igc_block block = block_of(*sizes);
  wrong = check_block(block);
  if (wrong == nullptr) {
    wrong = check_workspace(block, functions->backward_bytes(block, 1), workspace, workspace_bytes);
  }
  if (wrong != nullptr) return wrong;
  igc::cuda::OnDevice on(device);
  if (on.wrong() != nullptr) return on.wrong();
  functions->backward(block, out_gradient, data, primary_weight, secondary_weight, data_gradient,
                      primary_gradient, secondary_gradient, workspace, workspace_bytes,
                      static_cast<cudaStream_t>(stream));
  return on.launched();
}

extern "C" int64_t igc_group_conv_workspace_cuda(const igc_group_conv_sizes* sizes, int type,
                                                 int backward) {
  const Functions* functions = functions_of(type);
  if (functions == nullptr || check_group_conv(sizes) != nullptr) return -1;
  return functions->single_bytes(block_of(*sizes), backward != 0);
}

extern "C" const char* igc_group_conv_forward_cuda(const igc_group_conv_sizes* sizes, int type,
                                                   const void* data, const void* weight, void* out,
                                                   void* workspace, int64_t workspace_bytes,
                                                   int device, void* stream) {
  const Functions* functions = functions_of(type);
  const char* wrong = check_group_conv(sizes);
  if (wrong == nullptr) wrong = check_type(functions);
  if (wrong != nullptr) return wrong;
  const igc_block block = block_of(*sizes);
  wrong = check_workspace(block, functions->single_bytes(block, false), workspace, workspace_bytes);
  if (wrong != nullptr) return wrong;
  igc::cuda::OnDevice on(device);
  if (on.wrong() != nullptr) return on.wrong();
  functions->single_forward(block, data, weight, out, workspace,
                            static_cast<cudaStream_t>(stream));
  return on.launched();
}

extern "C" const char* igc_group_conv_backward_cuda(const igc_group_conv_sizes* sizes, int type,
                                                    const void* out_gradient, const void* data,
                                                    const void* weight, void* data_gradient,
                                                    void* weight_gradient, void* workspace,
                                                    int64_t workspace_bytes, int device,
                                                    void* stream) {
  const Functions* functions = functions_of(type);
  const char* wrong = check_group_conv(sizes);
  if (wrong == nullptr) wrong = check_type(functions);
  if (wrong != nullptr) return wrong;
  const igc_block block = block_of(*sizes);
  wrong = check_workspace(block, functions->single_bytes(block, true), workspace, workspace_bytes);
  if (wrong != nullptr) return wrong;
  igc::cuda::OnDevice on(device);
  if (on.wrong() != nullptr) return on.wrong();
  functions->single_backward(block, out_gradient, data, weight, data_gradient, weight_gradient,
                             workspace, static_cast<cudaStream_t>(stream));
  return on.launched();
}

extern "C" int64_t igc_block_workspace_cuda(const igc_block* block, int type, int64_t images) {
  const Functions* functions = functions_of(type);
  if (functions == nullptr || check_block(*block) != nullptr) return -1;
  return functions->forward_bytes(*block, images);
}

extern "C" const char* igc_block_infer_cuda(const igc_block* block, int type, const void* data,
                                            const void* primary_weight,
                                            const void* secondary_weight,
                                            const igc_finish* finish, void* out, void* workspace,
                                            int64_t workspace_bytes, int device, void* stream) {
  const Functions* functions = functions_of(type);
  const char* wrong = check_block(*block);
  if (wrong == nullptr) wrong = check_type(functions);
  if (wrong == nullptr) {
    wrong = check_workspace(*block, functions->forward_bytes(*block, 1), workspace, workspace_bytes);
  }
  if (wrong != nullptr) return wrong;
  igc::cuda::OnDevice on(device);
  if (on.wrong() != nullptr) return on.wrong();
  functions->forward(*block, data, primary_weight, secondary_weight, *finish, out, workspace,
                     workspace_bytes, static_cast<cudaStream_t>(stream));
  return on.launched();
}
