/*! The table of layers of a span, read from its text, with the shapes of its tensors. */
#ifndef IGC_OPERATOR_SPAN_PROGRAM_H_
#define IGC_OPERATOR_SPAN_PROGRAM_H_

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace igc {

/*! The most pixels that a window has, moves by or pads with, along each axis. */
constexpr int kLargestWindow = 1 << 10;

/*! What is wrong with a program or a call; the text is meant for the user. */
struct SpanError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Kind { kConv, kPermute, kBatchNorm, kRelu, kClip, kAdd, kMaxPool, kAvgPool, kDense };

struct Layer {
  Kind kind = Kind::kPermute;
  int x = 0;         // the tensor that it reads
  int y = -1;        // kAdd: the other one
  int channels = 0;  // kConv, kDense: outputs
  int kernel[2] = {1, 1}, stride[2] = {1, 1}, pad[2] = {0, 0};
  bool whole_map = false;  // kAvgPool: globalpool
  int groups = 1;
  bool bias = false;
  int factor = 0;              // kPermute
  double eps = 0, momentum = 0;  // kBatchNorm
  bool fix_gamma = false;
  float low = 0, high = 0;  // kClip
  int parameter = -1;       // number of its first parameter
};

struct Parameter {
  std::vector<int64_t> shape;
  bool is_state;
};

struct Shape {
  int channels, height, width;
};

struct Program {
  std::vector<Layer> layers;  // layer i makes tensor i + 1
  std::vector<int> channels;  // of each tensor
  std::vector<Parameter> parameters;

  /*! The shapes of all tensors. Throws SpanError where a map gets empty or a pool does not fit. */
  std::vector<Shape> shapes(int height, int width) const;
  const Layer& maker(int tensor) const { return layers[tensor - 1]; }
  int result() const { return static_cast<int>(layers.size()); }
};

/*! Throws SpanError for a batch that is too large: a vector has it as the width of its map. */
void check_batch(int64_t batch);

/*! Read a program. Throws SpanError, naming the statement, where it is wrong. */
Program parse_program(const std::string& text, int64_t channels);

}  // namespace igc

#endif  // IGC_OPERATOR_SPAN_PROGRAM_H_
