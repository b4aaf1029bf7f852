#include "program.h"

#include <cstdlib>
#include <sstream>

namespace igc {
namespace {

constexpr int kLargest = 1 << 24;       // of any size; products of two stay far inside int64_t
constexpr int64_t kMostWeights = int64_t{1} << 30;  // of a layer; the tables of weights hold ints

/*! The words of one statement, taken one by one; knows the statement for its errors. */
class Statement {
 public:
  Statement(const std::string& text, int number) : words_(text), number_(number) {}

  std::string word() {
    std::string found;
    if (!(words_ >> found)) fail("has too few numbers");
    return found;
  }

  int integer(int low, int high = kLargest) {
    const std::string text = word();
    char* end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    if (*end != '\0' || value < low || value > high) {
      fail("has " + text + " where a whole number from " + std::to_string(low) + " to " +
           std::to_string(high) + " is needed");
    }
    return static_cast<int>(value);
  }

  double real() {
    const std::string text = word();
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (*end != '\0' || !(value > -1e30 && value < 1e30)) {
      fail("has " + text + ", which is no number");
    }
    return value;
  }

  void window(Layer* layer) {
    for (int& size : layer->kernel) size = integer(1, kLargestWindow);
    for (int& step : layer->stride) step = integer(1, kLargestWindow);
    for (int& pad : layer->pad) pad = integer(0, kLargestWindow);
    for (int k = 0; k < 2; ++k) {
      if (layer->pad[k] >= layer->kernel[k]) fail("pads by a whole window or more");
    }
  }

  void finish() {
    std::string rest;
    if (words_ >> rest) fail("has too much: " + rest);
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw SpanError("statement " + std::to_string(number_) + " of the program (" + words_.str() +
                    ") " + what);
  }

 private:
  std::istringstream words_;
  int number_;
};

Layer parse_layer(Statement* statement, const Program& program) {
  const std::string name = statement->word();
  const int tensors = static_cast<int>(program.channels.size());
  Layer layer;
  layer.x = statement->integer(0, tensors - 1);
  const int channels = program.channels[layer.x];
  layer.channels = channels;
  if (name == "conv") {
    layer.kind = Kind::kConv;
    layer.channels = statement->integer(1);
    statement->window(&layer);
    layer.groups = statement->integer(1);
    layer.bias = statement->integer(0, 1);
    if (channels % layer.groups != 0 || layer.channels % layer.groups != 0) {
      statement->fail("splits " + std::to_string(channels) + " channels into groups unevenly");
    }
  } else if (name == "permute") {
    layer.kind = Kind::kPermute;
    layer.factor = statement->integer(1);
    if (channels % layer.factor != 0) {
      statement->fail("has a factor that does not divide " + std::to_string(channels) +
                      " channels");
    }
  } else if (name == "bn") {
    layer.kind = Kind::kBatchNorm;
    layer.eps = statement->real();
    layer.momentum = statement->real();
    layer.fix_gamma = statement->integer(0, 1);
    if (layer.eps <= 0) statement->fail("needs an eps above 0");
  } else if (name == "relu") {
    layer.kind = Kind::kRelu;
  } else if (name == "clip") {
    layer.kind = Kind::kClip;
    layer.low = static_cast<float>(statement->real());
    layer.high = static_cast<float>(statement->real());
    if (!(layer.low < layer.high)) statement->fail("has an empty range");
  } else if (name == "add") {
    layer.kind = Kind::kAdd;
    layer.y = statement->integer(0, tensors - 1);
    if (program.channels[layer.y] != channels) statement->fail("adds different channels");
  } else if (name == "maxpool" || name == "avgpool") {
    layer.kind = name == "maxpool" ? Kind::kMaxPool : Kind::kAvgPool;
    statement->window(&layer);
  } else if (name == "globalpool") {
    layer.kind = Kind::kAvgPool;
    layer.whole_map = true;
  } else if (name == "dense") {
    layer.kind = Kind::kDense;
    layer.channels = statement->integer(1);
    layer.bias = statement->integer(0, 1);
  } else {
    statement->fail("is not known");
  }
  statement->finish();
  return layer;
}

void add_parameters(Layer* layer, int channels_in, Program* program) {
  const int64_t channels = layer->channels;
  const auto add = [program](std::vector<int64_t> shape, bool is_state = false) {
    int64_t count = 1;
    for (const int64_t size : shape) {
      count *= size;
      if (count > kMostWeights) {
        throw SpanError("statement " + std::to_string(program->channels.size()) +
                        " of the program has too many weights");
      }
    }
    program->parameters.push_back({std::move(shape), is_state});
  };
  layer->parameter = static_cast<int>(program->parameters.size());
  if (layer->kind == Kind::kConv) {
    add({channels, channels_in / layer->groups, layer->kernel[0], layer->kernel[1]});
  } else if (layer->kind == Kind::kDense) {
    add({channels, channels_in});
  } else if (layer->kind == Kind::kBatchNorm) {
    for (const bool is_state : {false, false, true, true}) add({channels}, is_state);
  }
  if (layer->bias) add({channels});
}

/*! Every tensor but the last must be read, or it would have no gradient. */
void check_use(const Program& program) {
  std::vector<bool> used(program.channels.size(), false);
  for (const Layer& layer : program.layers) {
    used[layer.x] = true;
    if (layer.kind == Kind::kAdd) used[layer.y] = true;
  }
  for (size_t tensor = 0; tensor + 1 < used.size(); ++tensor) {
    if (!used[tensor]) {
      throw SpanError("tensor " + std::to_string(tensor) + " of the program is not used");
    }
  }
}

/*!
 * After an average or a dense layer each image is one pixel, and all images are the row of one map:
 * no window reaches over it, and no layer goes back to what the images were before.
 */
void check_vectors(const Program& program) {
  std::vector<bool> vector = {false};
  bool any = false;
  for (const Layer& layer : program.layers) {
    const std::string where = "statement " + std::to_string(vector.size()) + " of the program ";
    const bool from_vector = vector[layer.x];
    if (layer.kind == Kind::kAdd && vector[layer.y] != from_vector) {
      throw SpanError(where + "adds a map and an average or dense layer");
    }
    if (any && !from_vector) {
      throw SpanError(where + "reads a map after an average or dense layer over another one");
    }
    const bool dense = layer.kind == Kind::kDense || layer.kind == Kind::kAvgPool;
    if (from_vector && layer.kernel[0] * layer.kernel[1] > 1) {
      throw SpanError(where + "has a window larger than its map of one pixel");
    }
    vector.push_back(from_vector || dense);
    any = any || dense;
  }
}

int size_after(const Layer& layer, int size, int axis) {
  const int padded = size + 2 * layer.pad[axis];
  return padded < layer.kernel[axis] ? 0 : (padded - layer.kernel[axis]) / layer.stride[axis] + 1;
}

}  // namespace

std::vector<Shape> Program::shapes(int height, int width) const {
  std::vector<Shape> found = {{channels[0], height, width}};
  for (const Layer& layer : layers) {
    const std::string where = "statement " + std::to_string(found.size()) + " of the program ";
    Shape shape = found[layer.x];
    shape.channels = layer.channels;
    if (layer.kind == Kind::kAdd) {
      const Shape& other = found[layer.y];
      if (other.height != shape.height || other.width != shape.width) {
        throw SpanError(where + "adds maps of different sizes");
      }
    } else if (layer.kind == Kind::kAvgPool) {
      const bool fits = layer.whole_map || (layer.kernel[0] == shape.height && !layer.pad[0] &&
                                            layer.kernel[1] == shape.width && !layer.pad[1]);
      if (!fits) throw SpanError(where + "averages over less than the whole map");
      shape.height = shape.width = 1;
    } else if (layer.kind == Kind::kDense) {
      if (shape.height != 1 || shape.width != 1) {
        throw SpanError(where + "needs a map of 1 x 1, not " + std::to_string(shape.height) +
                        " x " + std::to_string(shape.width));
      }
    } else if (layer.kind == Kind::kConv || layer.kind == Kind::kMaxPool) {
      shape.height = size_after(layer, shape.height, 0);
      shape.width = size_after(layer, shape.width, 1);
    }
    if (shape.height < 1 || shape.width < 1) throw SpanError(where + "leaves no map");
    found.push_back(shape);
  }
  return found;
}

void check_batch(int64_t batch) {
  if (batch > kLargest) throw SpanError("a batch of more than " + std::to_string(kLargest));
}

Program parse_program(const std::string& text, int64_t channels) {
  if (channels < 1 || channels > kLargest) throw SpanError("the data has no channels, or too many");
  Program program;
  program.channels = {static_cast<int>(channels)};
  std::istringstream statements(text);
  std::string words;
  while (std::getline(statements, words, ';')) {
    Statement statement(words, static_cast<int>(program.channels.size()));
    Layer layer = parse_layer(&statement, program);
    add_parameters(&layer, program.channels[layer.x], &program);
    program.channels.push_back(layer.channels);
    program.layers.push_back(layer);
  }
  if (program.layers.empty()) throw SpanError("the program is empty");
  check_use(program);
  check_vectors(program);
  return program;
}

}  // namespace igc
