/*!
 * `NesterovUpdate`: a step of `nesterov.h` for all arrays of a network in one operator. Its inputs
 * are a weight, its gradient and its momentum, once for each array; weights and momenta are changed
 * in place. Its output, of one element, says nothing.
 */
#include <cstdlib>

#include "nesterov.h"
#include "op_common.h"

namespace {

using igc::Attributes;
using igc::Shape;
using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;
using mxnet::ext::OpResource;

MXReturnValue fail(const std::string& what) { return igc::fail("NesterovUpdate", what); }

/*! Read an attribute that is a number, or one for each array, parted by commas. */
bool read_numbers(const Attributes& attributes, const std::string& name,
                  std::vector<float>* numbers) {
  const auto found = attributes.find(name);
  if (found == attributes.end()) return false;
  const char* text = found->second.c_str();
  while (*text != '\0') {
    char* end = nullptr;
    numbers->push_back(static_cast<float>(std::strtod(text, &end)));
    if (end == text || (*end != ',' && *end != '\0')) return false;
    text = *end == ',' ? end + 1 : end;
  }
  return !numbers->empty();
}

int64_t arrays_of(const Attributes& attributes) {
  int64_t arrays = 0;
  const std::string wrong = igc::read_positive(attributes, "arrays", &arrays);
  if (!wrong.empty()) fail(wrong);
  return wrong.empty() ? arrays : 0;
}

MXReturnValue parse_attributes(const Attributes& attributes, int* inputs, int* outputs) {
  const int64_t arrays = arrays_of(attributes);
  if (arrays == 0) return mxnet::ext::MX_FAIL;
  *inputs = static_cast<int>(3 * arrays);
  *outputs = 1;
  return mxnet::ext::MX_SUCCESS;
}

MXReturnValue infer_type(const Attributes&, std::vector<int>* inputs, std::vector<int>* outputs) {
  for (int& type : *inputs) {
    if (type == igc::kUnknownType) type = mxnet::ext::kFloat32;
    if (type != mxnet::ext::kFloat32) return fail("all arrays must be float32");
  }
  outputs->at(0) = mxnet::ext::kFloat32;
  return mxnet::ext::MX_SUCCESS;
}

MXReturnValue infer_shape(const Attributes&, std::vector<Shape>* inputs,
                          std::vector<Shape>* outputs) {
  for (size_t k = 0; k < inputs->size(); k += 3) {
    for (size_t other = 1; other < 3; ++other) {
      if (inputs->at(k + other) != inputs->at(k)) {
        return fail("an array of shape " + igc::text_of(inputs->at(k)) + " comes with one of " +
                    igc::text_of(inputs->at(k + other)));
      }
    }
  }
  outputs->at(0) = {1};
  return mxnet::ext::MX_SUCCESS;
}

MXReturnValue list_changed(const Attributes& attributes, std::vector<int>* changed) {
  const int64_t arrays = arrays_of(attributes);
  for (int64_t k = 0; k < arrays; ++k) {
    changed->push_back(static_cast<int>(3 * k));
    changed->push_back(static_cast<int>(3 * k + 2));
  }
  return arrays == 0 ? mxnet::ext::MX_FAIL : mxnet::ext::MX_SUCCESS;
}

MXReturnValue forward(const Attributes& attributes, std::vector<MXTensor>* inputs,
                      std::vector<MXTensor>* outputs, const OpResource&) {
  const size_t arrays = inputs->size() / 3;
  std::vector<float> rates, decays, mu, rescale, clip;
  if (!read_numbers(attributes, "rates", &rates) || !read_numbers(attributes, "decays", &decays) ||
      !read_numbers(attributes, "momentum", &mu) ||
      !read_numbers(attributes, "rescale", &rescale) || !read_numbers(attributes, "clip", &clip) ||
      (rates.size() != 1 && rates.size() != arrays) ||
      (decays.size() != 1 && decays.size() != arrays)) {
    return fail("rates, decays, momentum, rescale and clip must be numbers, of each array or of all");
  }
  for (size_t k = 0; k < arrays; ++k) {
    const MXTensor& weight = inputs->at(3 * k);
    int64_t count = 1;
    for (const auto size : weight.shape) count *= size;
    const char* wrong = igc_nesterov_cpu(
        count, static_cast<float*>(weight.data_ptr),
        static_cast<const float*>(inputs->at(3 * k + 1).data_ptr),
        static_cast<float*>(inputs->at(3 * k + 2).data_ptr), rates[rates.size() == 1 ? 0 : k],
        decays[decays.size() == 1 ? 0 : k], mu[0], rescale[0], clip[0]);
    if (wrong != nullptr) return fail(wrong);
  }
  *static_cast<float*>(outputs->at(0).data_ptr) = 0;
  return mxnet::ext::MX_SUCCESS;
}

}  // namespace

REGISTER_OP(NesterovUpdate)
    .setParseAttrs(parse_attributes)
    .setInferType(infer_type)
    .setInferShape(infer_shape)
    .setMutateInputs(list_changed)
    .setForward(forward, "cpu");
