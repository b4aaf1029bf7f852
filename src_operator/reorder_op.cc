/*! `Reorder` as an MXNet operator: attributes, shapes, types and the calls of the kernels. */
#include <cstdint>
#include <string>
#include <vector>

#include "op_common.h"
#include "reorder.h"

namespace {

using igc::Attributes;
using igc::kUnknownSize;
using igc::kUnknownType;
using igc::text_of;
using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;
using mxnet::ext::OpResource;

MXReturnValue fail(const std::string& what) { return igc::fail("Reorder", what); }

/*! Read the branch factor. On failure the error is recorded and 0 is returned. */
int64_t branch_factor_of(const Attributes& attributes) {
  int64_t value = 0;
  const std::string wrong = igc::read_positive(attributes, "branch_factor", &value);
  if (wrong.empty()) return value;
  fail(wrong);
  return 0;
}

MXReturnValue parse_attributes(const Attributes& attributes, int* inputs, int* outputs) {
  *inputs = 1;
  *outputs = 1;
  return branch_factor_of(attributes) > 0 ? mxnet::ext::MX_SUCCESS : mxnet::ext::MX_FAIL;
}

MXReturnValue infer_type(const Attributes&, std::vector<int>* inputs, std::vector<int>* outputs) {
  const int type = inputs->at(0);
  if (type != kUnknownType && !igc::is_float(type)) {
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

MXReturnValue permute(const MXTensor& in, const MXTensor& out, int64_t branch_factor,
                      [[maybe_unused]] const OpResource& resource) {
  int64_t spatial = 1;
  for (size_t k = 2; k < in.shape.size(); ++k) spatial *= in.shape[k];
  const char* wrong = nullptr;
  if (in.ctx.dev_type == "cpu") {
    wrong = igc_reorder_cpu(in.data_ptr, out.data_ptr, in.shape[0], in.shape[1], spatial,
                            branch_factor, igc::item_bytes_of(in));
  } else {
#ifdef IGC_WITH_CUDA
    wrong = igc_reorder_cuda(in.data_ptr, out.data_ptr, in.shape[0], in.shape[1], spatial,
                             branch_factor, igc::item_bytes_of(in), in.ctx.dev_id,
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
