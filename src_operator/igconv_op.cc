/*!
 * `InterleavedGroupConvolution` as an MXNet operator: attributes, shapes, types and the calls of
 * the kernels. Its inputs are data, primary_weight and secondary_weight.
 */
#include <algorithm>
#include <cctype>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "igconv.h"
#include "igconv_check.h"
#include "op_common.h"

namespace {

using igc::Attributes;
using igc::kUnknownSize;
using igc::kUnknownType;
using igc::Shape;
using igc::text_of;
using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;
using mxnet::ext::OpResource;

constexpr const char* kInputs[] = {"data", "primary_weight", "secondary_weight"};

MXReturnValue fail(const std::string& what) {
  return igc::fail("InterleavedGroupConvolution", what);
}

/*! Read two integers as Python writes a tuple or a list of them. */
bool parse_pair(std::string text, int64_t least, int64_t* pair) {
  text.erase(std::remove_if(text.begin(), text.end(), [](unsigned char c) { return isspace(c); }),
             text.end());
  const bool tuple = text.size() > 1 && text.front() == '(' && text.back() == ')';
  const bool list = text.size() > 1 && text.front() == '[' && text.back() == ']';
  const size_t comma = text.find(',');
  if ((!tuple && !list) || comma == std::string::npos) return false;
  return igc::parse_integer(text.substr(1, comma - 1), least, &pair[0]) &&
         igc::parse_integer(text.substr(comma + 1, text.size() - comma - 2), least, &pair[1]);
}

/*! Read a pair that may be missing if `pair` holds what it is then (a kernel holds zeros). */
std::string read_pair(const Attributes& attributes, const std::string& name, int64_t least,
                      int64_t* pair) {
  const auto found = attributes.find(name);
  if (found == attributes.end()) {
    return pair[0] >= least ? "" : "the attribute " + name + " is missing";
  }
  if (parse_pair(found->second, least, pair)) return "";
  return name + " must be two integers of at least " + std::to_string(least) + ", not '" +
         found->second + "'";
}

std::string does_not_divide(const std::string& name, int64_t value, int64_t size,
                            const std::string& what) {
  return name + " " + std::to_string(value) + " does not divide the " + std::to_string(size) +
         " " + what;
}

/*! Read what the attributes say of the sizes. Returns what is wrong, or nothing. */
std::string read_sizes(const Attributes& attributes, igc_igconv_sizes* sizes) {
  *sizes = {};
  for (int axis = 0; axis < 2; ++axis) sizes->stride[axis] = 1;
  for (const std::string& wrong : {
           igc::read_positive(attributes, "num_filter", &sizes->filters),
           read_pair(attributes, "kernel", 1, sizes->kernel),
           read_pair(attributes, "stride", 1, sizes->stride),
           read_pair(attributes, "pad", 0, sizes->pad),
           igc::read_positive(attributes, "primary_partition", &sizes->primary_partition),
           igc::read_positive(attributes, "secondary_partition", &sizes->secondary_partition),
       }) {
    if (!wrong.empty()) return wrong;
  }
  if (sizes->filters % sizes->primary_partition != 0) {
    return does_not_divide("primary_partition", sizes->primary_partition, sizes->filters,
                           "filters (num_filter)");
  }
  if (sizes->filters % sizes->secondary_partition != 0) {
    return does_not_divide("secondary_partition", sizes->secondary_partition, sizes->filters,
                           "filters (num_filter)");
  }
  return "";
}

MXReturnValue parse_attributes(const Attributes& attributes, int* inputs, int* outputs) {
  *inputs = 3;
  *outputs = 1;
  igc_igconv_sizes sizes;
  const std::string wrong = read_sizes(attributes, &sizes);
  return wrong.empty() ? mxnet::ext::MX_SUCCESS : fail(wrong);
}

/*! All inputs have one type: where one is known, it is that of the others and of the output. */
MXReturnValue infer_type(const Attributes&, std::vector<int>* inputs, std::vector<int>* outputs) {
  int type = kUnknownType;
  for (size_t k = 0; k < inputs->size(); ++k) {
    const int found = inputs->at(k);
    if (found == kUnknownType) continue;
    if (!igc::is_float(found)) {
      return fail(std::string(kInputs[k]) + " must be float16, float32 or float64 (it is MXNet's "
                  "type number " + std::to_string(found) + ")");
    }
    if (type != kUnknownType && found != type) {
      return fail(std::string("data and weights must be of one type (") + kInputs[k] +
                  " is MXNet's type number " + std::to_string(found) + ", what comes before it " +
                  std::to_string(type) + ")");
    }
    type = found;
  }
  std::fill(inputs->begin(), inputs->end(), type);
  outputs->at(0) = type;
  return mxnet::ext::MX_SUCCESS;
}

/*! Fill in what is not known of a weight's shape. */
MXReturnValue settle_shape(const char* name, const Shape& wanted, Shape* shape) {
  if (shape->empty()) {
    // MXNet has written past the end of a buffer of its own before this call. The operator's
    // Python face never lets it come to this.
    return fail("the shape of " + std::string(name) + " is not known: make its variable with " +
                "shape=" + text_of(wanted));
  }
  bool fits = shape->size() == wanted.size();
  for (size_t k = 0; fits && k < wanted.size(); ++k) {
    fits = shape->at(k) == kUnknownSize || shape->at(k) == wanted[k];
  }
  if (!fits) {
    return fail(std::string(name) + " has the shape " + text_of(*shape) + ", and " +
                text_of(wanted) + " is needed");
  }
  *shape = wanted;
  return mxnet::ext::MX_SUCCESS;
}

MXReturnValue infer_shape(const Attributes& attributes, std::vector<Shape>* inputs,
                          std::vector<Shape>* outputs) {
  igc_igconv_sizes sizes;
  std::string wrong = read_sizes(attributes, &sizes);
  if (!wrong.empty()) return fail(wrong);
  const Shape& data = inputs->at(0);
  // An extension cannot answer 'not known yet': the number would be taken for a real size.
  if (data.empty()) return fail("the shape of data is not known");
  if (data.size() != 4) {
    return fail("data of shape " + text_of(data) +
                " is no batch of images; (N, C, H, W) is needed");
  }
  for (const unsigned size : data) {
    if (size == kUnknownSize) {
      return fail("data of shape " + text_of(data) + " is not fully known; give all sizes");
    }
  }
  sizes.batch = data[0];
  sizes.channels = data[1];
  sizes.height = data[2];
  sizes.width = data[3];
  if (sizes.channels % sizes.primary_partition != 0) {
    return fail(does_not_divide("primary_partition", sizes.primary_partition, sizes.channels,
                                "channels of data of shape " + text_of(data)));
  }
  Shape out = {data[0], static_cast<unsigned>(sizes.filters), 0, 0};
  for (int axis = 0; axis < 2; ++axis) {
    out[2 + axis] = static_cast<unsigned>(igc::igconv_out_size(sizes, axis));
    if (out[2 + axis] < 1) {
      return fail("the kernel of " + std::to_string(sizes.kernel[axis]) + (axis == 0 ? " rows" :
                  " columns") + " is larger than padded data of shape " + text_of(data));
    }
  }
  const Shape primary = {out[1],
                         static_cast<unsigned>(sizes.channels / sizes.primary_partition),
                         static_cast<unsigned>(sizes.kernel[0]),
                         static_cast<unsigned>(sizes.kernel[1])};
  const Shape secondary = {
      out[1], static_cast<unsigned>(sizes.filters / sizes.secondary_partition), 1, 1};
  if (settle_shape(kInputs[1], primary, &inputs->at(1)) != mxnet::ext::MX_SUCCESS ||
      settle_shape(kInputs[2], secondary, &inputs->at(2)) != mxnet::ext::MX_SUCCESS) {
    return mxnet::ext::MX_FAIL;
  }
  outputs->at(0) = out;
  return mxnet::ext::MX_SUCCESS;
}

/*! The sizes of a call, from the attributes and the data. */
std::string sizes_of(const Attributes& attributes, const MXTensor& data, igc_igconv_sizes* sizes) {
  const std::string wrong = read_sizes(attributes, sizes);
  sizes->batch = data.shape.at(0);
  sizes->channels = data.shape.at(1);
  sizes->height = data.shape.at(2);
  sizes->width = data.shape.at(3);
  return wrong;
}

#ifdef IGC_WITH_CUDA
/*! The memory that the kernels of one call work in. MXNet frees it after the call. */
struct Workspace {
  Workspace(const igc_igconv_sizes& sizes, int type, bool backward, const OpResource& resource) {
    constexpr int64_t enough = int64_t{256} << 20;
    int64_t images = std::max<int64_t>(sizes.batch, 1);
    bytes = igc_igconv_workspace_cuda(&sizes, type, backward, images);
    while (bytes > enough && images > 1) {
      images = (images + 1) / 2;
      bytes = igc_igconv_workspace_cuda(&sizes, type, backward, images);
    }
    // the kernels say what is wrong; an int is what MXNet counts this memory in
    if (bytes <= 0 || bytes > std::numeric_limits<int>::max()) bytes = 0;
    if (bytes > 0) memory = resource.alloc_gpu(static_cast<int>(bytes));
  }

  void* memory = nullptr;
  int64_t bytes = 0;
};
#endif

MXReturnValue forward(const Attributes& attributes, std::vector<MXTensor>* inputs,
                      std::vector<MXTensor>* outputs,
                      [[maybe_unused]] const OpResource& resource) {
  const MXTensor& data = inputs->at(0);
  igc_igconv_sizes sizes;
  const std::string unread = sizes_of(attributes, data, &sizes);
  if (!unread.empty()) return fail(unread);
  const int bytes = igc::item_bytes_of(data);
  const char* wrong = nullptr;
  if (data.ctx.dev_type == "cpu") {
    wrong = igc_igconv_forward_cpu(&sizes, bytes, data.data_ptr, inputs->at(1).data_ptr,
                                   inputs->at(2).data_ptr, outputs->at(0).data_ptr);
  } else {
#ifdef IGC_WITH_CUDA
    const int type = data.dtype;  // igconv.h has MXNet's numbers
    const Workspace space(sizes, type, false, resource);
    wrong = igc_igconv_forward_cuda(&sizes, type, data.data_ptr, inputs->at(1).data_ptr,
                                    inputs->at(2).data_ptr, outputs->at(0).data_ptr, space.memory,
                                    space.bytes, data.ctx.dev_id, resource.get_cuda_stream());
#else
    wrong = "this library was built without CUDA";
#endif
  }
  return wrong == nullptr ? mxnet::ext::MX_SUCCESS : fail(wrong);
}

/*! The inputs are the gradient of the output, then the forward pass's inputs and its output. */
MXReturnValue backward(const Attributes& attributes, std::vector<MXTensor>* inputs,
                       std::vector<MXTensor>* outputs,
                       [[maybe_unused]] const OpResource& resource) {
  const MXTensor& data = inputs->at(1);
  igc_igconv_sizes sizes;
  const std::string unread = sizes_of(attributes, data, &sizes);
  if (!unread.empty()) return fail(unread);
  const int bytes = igc::item_bytes_of(data);
  const void* in[4];
  void* out[3];
  for (int k = 0; k < 4; ++k) in[k] = inputs->at(k).data_ptr;
  for (int k = 0; k < 3; ++k) out[k] = outputs->at(k).data_ptr;
  const char* wrong = nullptr;
  if (data.ctx.dev_type == "cpu") {
    wrong = igc_igconv_backward_cpu(&sizes, bytes, in[0], in[1], in[2], in[3], out[0], out[1],
                                    out[2]);
  } else {
#ifdef IGC_WITH_CUDA
    const int type = data.dtype;
    const Workspace space(sizes, type, true, resource);
    wrong = igc_igconv_backward_cuda(&sizes, type, in[0], in[1], in[2], in[3], out[0], out[1],
                                     out[2], space.memory, space.bytes, data.ctx.dev_id,
                                     resource.get_cuda_stream());
#else
    wrong = "this library was built without CUDA";
#endif
  }
  return wrong == nullptr ? mxnet::ext::MX_SUCCESS : fail(wrong);
}

}  // namespace

REGISTER_OP(InterleavedGroupConvolution)
    .setParseAttrs(parse_attributes)
    .setInferType(infer_type)
    .setInferShape(infer_shape)
#ifdef IGC_WITH_CUDA
    .setForward(forward, "gpu")
    .setBackward(backward, "gpu")
#endif
    .setForward(forward, "cpu")
    .setBackward(backward, "cpu");
