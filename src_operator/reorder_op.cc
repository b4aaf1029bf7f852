/*!
 * `Reorder` as an MXNet operator: attributes, shapes, types and the calls of the kernels.
 *
 * What MXNet's extension interface (lib_api.h) does not pass on, and so cannot be put right here:
 * the way in which a result is to be written (`req`). The operator always overwrites, also where
 * MXNet asks it to add to a gradient. `igc.operator.reorder` keeps MXNet from asking.
 */
#include <mxnet/lib_api.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "reorder.h"

namespace {

using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;
using mxnet::ext::OpResource;
using Attributes = std::unordered_map<std::string, std::string>;

// What MXNet hands to an extension for a type and for a size that it does not know (yet).
constexpr int kUnknownType = -1;
constexpr unsigned kUnknownSize = 0xffffffffu;

/*!
 * Record an error for MXNet to print. lib_api.h keeps every message ever recorded and MXNet prints
 * all of them, oldest first; so that a user sees the one that matters, they share one place.
 */
MXReturnValue fail(const std::string& what) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  static std::stringstream& place = MX_ERROR_MSG;
  place.str("Reorder: " + what);
  return mxnet::ext::MX_FAIL;
}

/*! Read the branch factor. On failure the error is recorded and 0 is returned. */
int64_t branch_factor_of(const Attributes& attributes) {
  const auto found = attributes.find("branch_factor");
  if (found == attributes.end()) {
    fail("the attribute branch_factor is missing");
    return 0;
  }
  const char* text = found->second.c_str();
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(text, &end, 10);
  if (end == text || *end != '\0' || errno != 0 || value < 1) {
    fail("branch_factor must be a positive integer, not '" + found->second + "'");
    return 0;
  }
  return value;
}

std::string text_of(const std::vector<unsigned>& shape) {
  std::ostringstream text;
  text << "(";
  for (size_t k = 0; k < shape.size(); ++k) {
    text << (k == 0 ? "" : ", ");
    if (shape[k] == kUnknownSize) {
      text << "?";
    } else {
      text << shape[k];
    }
  }
  text << ")";
  return text.str();
}

MXReturnValue parse_attributes(const Attributes& attributes, int* inputs, int* outputs) {
  *inputs = 1;
  *outputs = 1;
  return branch_factor_of(attributes) > 0 ? mxnet::ext::MX_SUCCESS : mxnet::ext::MX_FAIL;
}

MXReturnValue infer_type(const Attributes&, std::vector<int>* inputs, std::vector<int>* outputs) {
  const int type = inputs->at(0);
  if (type != kUnknownType && type != mxnet::ext::kFloat16 && type != mxnet::ext::kFloat32 &&
      type != mxnet::ext::kFloat64) {
    return fail("data must be float16, float32 or float64 (it is MXNet's type number " +
                std::to_string(type) + ")");
  }
  outputs->at(0) = type;
  return mxnet::ext::MX_SUCCESS;
}

MXReturnValue infer_shape(const Attributes& attributes,
                          std::vector<std::vector<unsigned>>* inputs,
                          std::vector<std::vector<unsigned>>* outputs) {
  const int64_t branch_factor = branch_factor_of(attributes);
  if (branch_factor == 0) return mxnet::ext::MX_FAIL;
  const std::vector<unsigned>& shape = inputs->at(0);
  if (shape.size() < 2) {
    return fail("data of shape " + text_of(shape) + " has no channels; (N, C, ...) is needed");
  }
  for (const unsigned size : shape) {
    // An extension cannot answer 'not known yet': the number would be taken for a real size.
    if (size == kUnknownSize) {
      return fail("data of shape " + text_of(shape) + " is not fully known; give all sizes");
    }
  }
  if (shape[1] % branch_factor != 0) {
    return fail("branch_factor " + std::to_string(branch_factor) + " does not divide the " +
                std::to_string(shape[1]) + " channels of data of shape " + text_of(shape));
  }
  outputs->at(0) = shape;
  return mxnet::ext::MX_SUCCESS;
}

int item_bytes_of(const MXTensor& tensor) {
  switch (tensor.dtype) {
    case mxnet::ext::kFloat16: return 2;
    case mxnet::ext::kFloat32: return 4;
    case mxnet::ext::kFloat64: return 8;
    default: return 0;  // the kernels refuse it
  }
}

MXReturnValue permute(const MXTensor& in, const MXTensor& out, int64_t branch_factor,
                      [[maybe_unused]] const OpResource& resource) {
  int64_t spatial = 1;
  for (size_t k = 2; k < in.shape.size(); ++k) spatial *= in.shape[k];
  const char* wrong = nullptr;
  if (in.ctx.dev_type == "cpu") {
    wrong = igc_reorder_cpu(in.data_ptr, out.data_ptr, in.shape[0], in.shape[1], spatial,
                            branch_factor, item_bytes_of(in));
  } else {
#ifdef IGC_WITH_CUDA
    wrong = igc_reorder_cuda(in.data_ptr, out.data_ptr, in.shape[0], in.shape[1], spatial,
                             branch_factor, item_bytes_of(in), in.ctx.dev_id,
                             resource.get_cuda_stream());
#else
    wrong = "this library was built without CUDA";
#endif
  }
  return wrong == nullptr ? mxnet::ext::MX_SUCCESS : fail(wrong);
}

MXReturnValue forward(const Attributes& attributes, std::vector<MXTensor>* inputs,
                      std::vector<MXTensor>* outputs, const OpResource& resource) {
  const int64_t branch_factor = branch_factor_of(attributes);
  if (branch_factor == 0) return mxnet::ext::MX_FAIL;
  return permute(inputs->at(0), outputs->at(0), branch_factor, resource);
}

/*! The inputs are the gradient of the output, then (unused) the data and the output. */
MXReturnValue backward(const Attributes& attributes, std::vector<MXTensor>* inputs,
                       std::vector<MXTensor>* outputs, const OpResource& resource) {
  const int64_t branch_factor = branch_factor_of(attributes);
  if (branch_factor == 0) return mxnet::ext::MX_FAIL;
  const MXTensor& gradient = inputs->at(0);
  const int64_t channels = gradient.shape[1];
  if (channels == 0) return mxnet::ext::MX_SUCCESS;
  return permute(gradient, outputs->at(0), channels / branch_factor, resource);
}

}  // namespace

REGISTER_OP(Reorder)
    .setParseAttrs(parse_attributes)
    .setInferType(infer_type)
    .setInferShape(infer_shape)
#ifdef IGC_WITH_CUDA
    .setForward(forward, "gpu")
    .setBackward(backward, "gpu")
#endif
    .setForward(forward, "cpu")
    .setBackward(backward, "cpu");
