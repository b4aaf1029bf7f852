/*!
 * The inner loops of a span: one set of functions, compiled for several instruction sets.
 *
 * Maps lie in lanes: eight channels make a block, and a block is rows of pixels of eight floats.
 * Which channel stands in which lane is settled elsewhere (layout.h); here a convolution is a list
 * of jobs over blocks. There are two kinds of them:
 *
 *   lane-wise   out[o][lane] += in[i][lane] * weight[i][tap][o][lane]: each lane is a group of its
 *               own, so that groups of two channels run as fast as groups of thirty-two
 *   product     out[o][lane] += in[i][j] * weight[i][tap][j][o][lane]: all lanes of the inputs go
 *               to all lanes of the outputs
 *
 * With 512 bits a vector holds eight lanes of two neighbouring pixels; blocks are the same.
 */
#ifndef IGC_OPERATOR_SPAN_KERNELS_H_
#define IGC_OPERATOR_SPAN_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace igc {

constexpr int kLanes = 8;
constexpr int kMostOutputs = 4;  // blocks of outputs of a job

/*! A map in lanes. `base` is pixel (0, 0) of block 0; a halo may lie around it. Floats. */
struct Map {
  float* base = nullptr;
  ptrdiff_t block = 0;  // from block to block
  ptrdiff_t row = 0;    // from row to row

  float* at(int block_index, int y, int x) const {
    return base + block_index * block + y * row + static_cast<ptrdiff_t>(x) * kLanes;
  }
};

/*! A piece of a convolution: from all inputs that a few blocks of outputs depend on. */
struct Job {
  const int* in;            // blocks
  const int* lanes;         // product: how many lanes of each input block are channels
  int inputs;
  int out[kMostOutputs];    // blocks
  int outputs;
  size_t weights;           // where its weights begin, in floats
};

/*! A convolution over a rectangle of outputs. */
struct ConvTask {
  bool lane_wise;
  const Job* jobs;
  int job_count;
  const float* weights;
  const ptrdiff_t* taps;  // from an output's first input pixel to each tap's, in floats
  int tap_count;
  Map in;                 // base: the input pixel of the first output, at offset 0
  Map out;                // base: the first output
  int rows, width;        // of the outputs computed
  int in_step, in_row_step;    // pixels and rows of the input from output to output
  int out_step, out_row_step;  // the same of the output (more than 1: phases of a gradient)
  const float* bias;      // one block a block of outputs; NULL: none
  Map add;                // added to the outputs before the limits; base NULL: none
  bool accumulate;        // add to what stands in `out`
  bool limit;
  float low, high;
};

/*! Gradients of a convolution's weights over a rectangle of outputs; added to what is there. */
struct WeightTask {
  bool lane_wise;
  const Job* jobs;
  int job_count;
  float* gradients;       // laid out as the weights
  const ptrdiff_t* taps;
  int tap_count;
  Map in;                 // as in ConvTask
  Map gradient;           // of the outputs, at the first one
  int rows, width;
  int in_step, in_row_step;
};

struct Kernels {
  const char* name;
  void (*conv)(const ConvTask& task);
  void (*weight_gradient)(const WeightTask& task);
  /*! out = limit(in * scale + shift [+ in2 * scale2 + shift2]) over rows of one block. */
  void (*affine)(const float* in, ptrdiff_t in_row, const float* scale, const float* shift,
                 const float* in2, ptrdiff_t in2_row, const float* scale2, const float* shift2,
                 bool limit, float low, float high, float* out, ptrdiff_t out_row, int rows,
                 int width);
  /*! sums[0..7] += values; sums[8..15] += (value - centre)^2, over rows of one block. */
  void (*moments)(const float* in, ptrdiff_t in_row, const float* centre, int rows, int width,
                  float* sums);
  /*!
   * The gradient before a limit: out = gradient, but 0 where z * scale + shift is below low or
   * above high.
   * sums[0..7] += what is passed on, sums[8..15] += it * (z - mean).
   */
  void (*mask)(const float* gradient, ptrdiff_t gradient_row, const float* z, ptrdiff_t z_row,
               const float* scale, const float* shift, bool limit, float low, float high,
               const float* mean, float* out, ptrdiff_t out_row, int rows, int width, float* sums);
  /*! out = gradient * a + z * b + c, a vector of eight lanes for each: normalisation backwards. */
  void (*combine)(const float* gradient, ptrdiff_t gradient_row, const float* z, ptrdiff_t z_row,
                  const float* a, const float* b, const float* c, float* out, ptrdiff_t out_row,
                  int rows, int width);
};

/*!
 * The kernels for an instruction set by name, or NULL where this build or processor lacks it. With
 * " measured" behind the name they note what they do, see measured.h.
 */
const Kernels* kernels_named(const char* name);

/*! The names that `kernels_named` knows here, best first, ending with NULL. */
const char* const* kernel_names();

}  // namespace igc

#endif  // IGC_OPERATOR_SPAN_KERNELS_H_
