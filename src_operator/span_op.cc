/*!
 * `InterleavedSpan` as an MXNet operator: a run of layers (span/span.h) as one node of a graph.
 *
 * Attributes
 *   program        the layers, as in span/span.h
 *   form           "inference": batch normalisation always takes the moving statistics
 *                  "training": it takes the batch's where the probe says so
 *   data_gradient  0: nobody wants the gradient of the data, which is then 0 (optional; 1)
 *   layers         the names of the layers, for people; not read
 *
 * Inputs: the data; the parameters of the program in its order, of which moving means and variances
 * are auxiliary states; in the training form one more, the probe, of shape (1,): 1 where this
 * forward pass is one of training, else 0. MXNet's extension interface (lib_api.h) does not tell
 * it; `igc.operator.span` makes a probe of stock operators.
 *
 * What that interface does not pass on, and so cannot be put right here: the way in which a result
 * is to be written (`req`). The operator always overwrites and always computes every gradient.
 * `igc.operator.span` keeps MXNet from asking for anything else.
 */
#include <omp.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <exception>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "op_common.h"
#include "span_pool.h"

namespace {

using igc::Attributes;
using igc::kUnknownSize;
using igc::kUnknownType;
using igc::PooledSpan;
using igc::SpanKey;
using igc::SpanPool;
using igc::text_of;
using Sizes = igc::Shape;
using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;
using mxnet::ext::OpResource;

MXReturnValue fail(const std::string& what) { return igc::fail("InterleavedSpan", what); }

/*! No exception may leave the library. */
template <typename F>
MXReturnValue guarded(F f) {
  try {
    return f();
  } catch (const std::exception& wrong) {
    return fail(wrong.what());
  }
}

/*! What the attributes say without any shape. */
struct Form {
  std::string program;
  bool training = false;
  bool data_gradient = true;
  std::vector<bool> is_state;  // of the program's parameters

  int inputs() const { return 1 + static_cast<int>(is_state.size()) + training; }
};

/*!
 * Which parameters a program has. Only the words that matter for it are looked at; the rest is
 * checked when the shape of the data is known.
 */
bool read_parameters(const std::string& program, std::vector<bool>* is_state) {
  std::istringstream statements(program);
  std::string statement;
  while (std::getline(statements, statement, ';')) {
    std::istringstream words(statement);
    std::string name, word, last;
    words >> name;
    while (words >> word) last = word;
    if (name == "conv" || name == "dense") {
      is_state->push_back(false);
      if (last == "1") is_state->push_back(false);
    } else if (name == "bn") {
      is_state->insert(is_state->end(), {false, false, true, true});
    } else if (name != "permute" && name != "relu" && name != "clip" && name != "add" &&
               name != "maxpool" && name != "avgpool" && name != "globalpool") {
      fail("the program has a statement that is not known: '" + statement + "'");
      return false;
    }
  }
  return true;
}

/*! Read the attributes. On failure the error is recorded. */
bool read_form(const Attributes& attributes, Form* form) {
  const auto program = attributes.find("program");
  const auto kind = attributes.find("form");
  if (program == attributes.end() || kind == attributes.end()) {
    fail("the attributes program and form are needed");
    return false;
  }
  if (kind->second != "inference" && kind->second != "training") {
    fail("form must be inference or training, not '" + kind->second + "'");
    return false;
  }
  form->program = program->second;
  const auto gradient = attributes.find("data_gradient");
  if (gradient != attributes.end() && gradient->second != "0" && gradient->second != "1") {
    fail("data_gradient must be 0 or 1, not '" + gradient->second + "'");
    return false;
  }
  form->training = kind->second == "training";
  form->data_gradient = gradient == attributes.end() || gradient->second == "1";
  return read_parameters(form->program, &form->is_state);
}

MXReturnValue parse_attributes(const Attributes& attributes, int* inputs, int* outputs) {
  return guarded([&]() -> MXReturnValue {
    Form form;
    if (!read_form(attributes, &form)) return mxnet::ext::MX_FAIL;
    *inputs = form.inputs();
    *outputs = 1;
    return mxnet::ext::MX_SUCCESS;
  });
}

MXReturnValue infer_type(const Attributes&, std::vector<int>* inputs, std::vector<int>* outputs) {
  for (std::vector<int>* types : {inputs, outputs}) {
    for (size_t k = 0; k < types->size(); ++k) {
      int& type = types->at(k);
      if (type != kUnknownType && type != mxnet::ext::kFloat32) {
        return fail("only float32 can be computed; " +
                    std::string(types == inputs ? "input " : "output ") + std::to_string(k) +
                    " is of MXNet's type number " + std::to_string(type));
      }
      type = mxnet::ext::kFloat32;
    }
  }
  return mxnet::ext::MX_SUCCESS;
}

/*! All dense. MXNet asks for the backward pass, too, with its number of inputs and outputs. */
MXReturnValue infer_storage(const Attributes&, std::vector<int>* inputs,
                            std::vector<int>* outputs) {
  for (std::vector<int>* types : {inputs, outputs}) {
    for (int& type : *types) {
      if (type != kUnknownType && type != mxnet::ext::kDefaultStorage) {
        return fail("sparse arrays cannot be computed");
      }
      type = mxnet::ext::kDefaultStorage;
    }
  }
  return mxnet::ext::MX_SUCCESS;
}

MXReturnValue list_states(const Attributes& attributes, std::vector<int>* indices) {
  return guarded([&]() -> MXReturnValue {
    Form form;
    if (!read_form(attributes, &form)) return mxnet::ext::MX_FAIL;
    for (size_t k = 0; k < form.is_state.size(); ++k) {
      if (form.is_state[k]) indices->push_back(static_cast<int>(k) + 1);
    }
    return mxnet::ext::MX_SUCCESS;
  });
}

/*! What to plan for data of a shape. On failure the error is recorded. */
bool read_key(const Form& form, const Sizes& data, SpanKey* key) {
  if (data.size() != 4 || std::count(data.begin(), data.end(), kUnknownSize) > 0) {
    fail("data of " + (data.empty() ? "unknown shape" : "shape " + text_of(data)) +
         " will not do; a known shape (N, C, H, W) is needed");
    return false;
  }
  if (const char* wrong = igc_span_supports(form.program.c_str(), data[1])) {
    fail(wrong);
    return false;
  }
  *key = {form.program, data[1], data[2], data[3]};
  return true;
}

/*! A plan taken from the pool for as long as this lives. */
class Lease {
 public:
  Lease() = default;
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() {
    if (plan_.span != nullptr) SpanPool::get().give(key_, plan_);
  }

  /*! On failure the error is recorded. */
  bool take(const SpanKey& key, uint64_t content, const void* address) {
    std::string error;
    key_ = key;
    plan_ = SpanPool::get().take(key, content, address, &error);
    if (plan_.span == nullptr) fail(error);
    return plan_.span != nullptr;
  }

  PooledSpan& plan() { return plan_; }
  igc_span* span() const { return plan_.span; }

 private:
  SpanKey key_;
  PooledSpan plan_;
};

MXReturnValue check_inputs(const Form& form, const igc_span* span,
                           const std::vector<Sizes>& inputs) {
  const int count = igc_span_parameter_count(span);
  if (count != static_cast<int>(form.is_state.size())) {
    return fail("the program has " + std::to_string(count) + " parameters, but " +
                std::to_string(form.is_state.size()) + " were counted");
  }
  for (int k = 0; k < count + form.training; ++k) {
    std::string name = "the probe";
    Sizes wanted = {1};
    if (k < count) {
      std::array<int64_t, 4> shape;
      const int ndim = igc_span_parameter_shape(span, k, shape.data());
      wanted.assign(shape.begin(), shape.begin() + ndim);
      name = "parameter " + std::to_string(k);
    }
    const Sizes& found = inputs.at(k + 1);
    if (found.empty() || std::count(found.begin(), found.end(), kUnknownSize) > 0) {
      // Setting it would seem to work, but MXNet's buffer for the shapes is then too short.
      return fail(name + " has no known shape: give its variable the shape " + text_of(wanted));
    }
    if (found != wanted) {
      return fail(name + " is of shape " + text_of(found) + ", but the program needs " +
                  text_of(wanted));
    }
  }
  return mxnet::ext::MX_SUCCESS;
}

/*! The shape of the result; of maps (N, C, H, W), after a dense layer (N, C). */
Sizes result_shape(const std::string& program, const igc_span* span, unsigned batch) {
  std::array<int64_t, 3> shape;
  igc_span_output_shape(span, shape.data());
  const size_t last = program.rfind(';');
  std::istringstream words(last == std::string::npos ? program : program.substr(last + 1));
  std::string name;
  words >> name;
  Sizes result = {batch};
  const size_t sizes = name == "dense" ? 1 : 3;
  result.insert(result.end(), shape.begin(), shape.begin() + sizes);
  return result;
}

MXReturnValue infer_shape(const Attributes& attributes, std::vector<Sizes>* inputs,
                          std::vector<Sizes>* outputs) {
  return guarded([&]() -> MXReturnValue {
    Form form;
    SpanKey key;
    Lease lease;
    if (!read_form(attributes, &form) || !read_key(form, inputs->at(0), &key) ||
        !lease.take(key, 0, nullptr)) {
      return mxnet::ext::MX_FAIL;
    }
    outputs->at(0) = result_shape(form.program, lease.span(), inputs->at(0)[0]);
    return check_inputs(form, lease.span(), *inputs);
  });
}

/*! A number that tells arrays with different contents apart. */
class Digest {
 public:
  void add(const void* data, size_t bytes) {
    const char* at = static_cast<const char*>(data);
    std::array<uint64_t, 4> lanes = {value_, value_ + 1, value_ + 2, value_ + 3};
    for (; bytes >= sizeof lanes; bytes -= sizeof lanes, at += sizeof lanes) {
      std::array<uint64_t, 4> words;
      std::memcpy(words.data(), at, sizeof words);
      for (size_t k = 0; k < lanes.size(); ++k) lanes[k] = mixed(lanes[k] ^ words[k]);
    }
    for (; bytes > 0; --bytes, ++at) lanes[0] = mixed(lanes[0] ^ static_cast<unsigned char>(*at));
    for (const uint64_t lane : lanes) value_ = mixed(value_ ^ lane);
  }

  template <typename T>
  void add_value(const T& value) {
    add(&value, sizeof value);
  }

  /*! Never 0. */
  uint64_t value() const { return value_ == 0 ? 1 : value_; }

 private:
  // An odd factor loses nothing; the rotation lets high bits reach low ones.
  static uint64_t mixed(uint64_t value) {
    value *= 0x9e3779b97f4a7c15u;
    return value << 29 | value >> 35;
  }

  uint64_t value_ = 0x243f6a8885a308d3u;
};

float* floats_of(const MXTensor& tensor) { return static_cast<float*>(tensor.data_ptr); }

class SpanState final : public mxnet::ext::CustomStatefulOp {
 public:
  SpanState(Form form, SpanKey key, std::vector<size_t> counts)
      : form_(std::move(form)), key_(std::move(key)), counts_(std::move(counts)) {
    ignore_warn = true;  // it is made with `new`, as MXNet wants it
  }

  MXReturnValue Forward(std::vector<MXTensor>* inputs, std::vector<MXTensor>* outputs,
                        const OpResource&) override {
    return guarded([&]() -> MXReturnValue { return forward(*inputs, outputs->at(0)); });
  }

  MXReturnValue Backward(std::vector<MXTensor>* inputs, std::vector<MXTensor>* outputs,
                         const OpResource&) override {
    return guarded([&]() -> MXReturnValue { return backward(*inputs, *outputs); });
  }

 private:
  MXReturnValue forward(const std::vector<MXTensor>& inputs, const MXTensor& result) {
    // MXNet passes shapes on as pointers, which dangle where it had to reorder several inputs out
    // of oneDNN's layouts. The outputs' are sound; sizes of the inputs were fixed with the state.
    const int64_t batch = result.shape.at(0);
    trained_ = false;
    if (batch == 0) return mxnet::ext::MX_SUCCESS;
    read_parameters(inputs, 1);
    const bool training = form_.training && *floats_of(inputs.back()) == 1.0f;
    const uint64_t content = training ? 0 : content_of(inputs);
    if (lease_.span() == nullptr && !lease_.take(key_, content, address())) {
      return mxnet::ext::MX_FAIL;
    }
    lease_.plan().address = address();
    const float* data = floats_of(inputs.at(0));
    const char* wrong = nullptr;
    if (training) {
      wrong = igc_span_forward(lease_.span(), batch, data, parameters_.data(), states_.data(),
                               floats_of(result), omp_get_max_threads());
      trained_ = wrong == nullptr;
    } else {
      wrong = igc_span_infer(lease_.span(), batch, data, parameters_.data(), content,
                             floats_of(result), omp_get_max_threads());
      lease_.plan().content = wrong == nullptr ? content : 0;
    }
    return wrong == nullptr ? mxnet::ext::MX_SUCCESS : fail(wrong);
  }

  /*! The inputs are the gradient of the result, then those of the forward pass, then the result. */
  MXReturnValue backward(const std::vector<MXTensor>& inputs,
                         const std::vector<MXTensor>& outputs) {
    const int64_t batch = outputs.at(0).shape.at(0);
    // What has no gradient, or nobody to want it.
    if (batch == 0 || !form_.data_gradient) clear(outputs.at(0));
    for (size_t k = 1; k < outputs.size(); ++k) {
      if (batch == 0 || k > counts_.size() || form_.is_state[k - 1]) clear(outputs[k]);
    }
    if (batch == 0) return mxnet::ext::MX_SUCCESS;
    if (!trained_) {
      return fail(
          "a backward pass needs a forward pass of training before it (is_train=True, "
          "autograd.record())");
    }
    read_parameters(inputs, 2);
    std::vector<float*> gradients;
    for (size_t k = 0; k < counts_.size(); ++k) {
      gradients.push_back(form_.is_state[k] ? nullptr : floats_of(outputs.at(k + 1)));
    }
    const char* wrong = igc_span_backward(
        lease_.span(), batch, floats_of(inputs.at(1)), parameters_.data(), floats_of(inputs.at(0)),
        form_.data_gradient ? floats_of(outputs.at(0)) : nullptr, gradients.data(),
        omp_get_max_threads());
    return wrong == nullptr ? mxnet::ext::MX_SUCCESS : fail(wrong);
  }

  static void clear(const MXTensor& tensor) {
    std::fill_n(floats_of(tensor), tensor.size(), 0.0f);
  }

  void read_parameters(const std::vector<MXTensor>& inputs, size_t first) {
    parameters_.clear();
    states_.clear();
    for (size_t k = 0; k < form_.is_state.size(); ++k) {
      float* const data = floats_of(inputs.at(first + k));
      parameters_.push_back(data);
      states_.push_back(form_.is_state[k] ? data : nullptr);
    }
  }

  /*! A parameter that stays where it is: identities in front of the others may move them. */
  const void* address() const {
    for (size_t k = 0; k < parameters_.size(); ++k) {
      if (form_.is_state[k]) return parameters_[k];
    }
    return parameters_.empty() ? nullptr : parameters_[0];
  }

  /*!
   * A number for the contents of all parameters. They are read again only where the arrays, their
   * versions or some values in them say that they may have changed. What writes into an array past
   * MXNet's engine (through DLPack, say) and misses those values is not noticed.
   */
  uint64_t content_of(const std::vector<MXTensor>& inputs) {
    constexpr size_t kSamples = 64;
    Digest traces;
    for (size_t k = 0; k < parameters_.size(); ++k) {
      traces.add_value(parameters_[k]);
      // MXNet takes every forward pass for a new version of an auxiliary state.
      if (!form_.is_state[k]) traces.add_value(inputs.at(k + 1).verID);
      // An array that is freed may come back at the same address with the same version.
      const size_t step = form_.is_state[k] ? 1 : std::max<size_t>(1, counts_[k] / kSamples);
      for (size_t i = 0; i < counts_[k]; i += step) traces.add_value(parameters_[k][i]);
    }
    if (traces.value() != traces_) {
      Digest digest;
      for (size_t k = 0; k < parameters_.size(); ++k) {
        digest.add(parameters_[k], counts_[k] * sizeof(float));
      }
      traces_ = traces.value();
      content_ = digest.value();
    }
    return content_;
  }

  Form form_;
  SpanKey key_;
  std::vector<size_t> counts_;  // of the elements of the parameters
  Lease lease_;
  bool trained_ = false;
  uint64_t traces_ = 0, content_ = 0;
  std::vector<const float*> parameters_;
  std::vector<float*> states_;
};

MXReturnValue create_state(const Attributes& attributes, const mxnet::ext::MXContext& context,
                           const std::vector<Sizes>& shapes, const std::vector<int>,
                           mxnet::ext::CustomStatefulOp** state) {
  return guarded([&]() -> MXReturnValue {
    Form form;
    SpanKey key;
    if (context.dev_type != "cpu") return fail("only the CPU can compute it");
    if (!read_form(attributes, &form) || !read_key(form, shapes.at(0), &key)) {
      return mxnet::ext::MX_FAIL;
    }
    std::vector<size_t> counts;
    for (size_t k = 0; k < form.is_state.size(); ++k) {
      size_t count = 1;
      for (const unsigned size : shapes.at(k + 1)) count *= size;
      counts.push_back(count);
    }
    *state = new SpanState(std::move(form), std::move(key), std::move(counts));
    return mxnet::ext::MX_SUCCESS;
  });
}

}  // namespace

REGISTER_OP(InterleavedSpan)
    .setParseAttrs(parse_attributes)
    .setInferType(infer_type)
    .setInferSType(infer_storage)
    .setInferShape(infer_shape)
    .setMutateInputs(list_states)
    .setCreateOpState(create_state, "cpu");
