/*! Training a span: batch statistics, and the backward pass, without extra passes over memory. */
#ifndef IGC_OPERATOR_SPAN_TRAINING_H_
#define IGC_OPERATOR_SPAN_TRAINING_H_

#include <vector>

#include "convolution.h"
#include "kernels.h"
#include "layout.h"
#include "memory.h"
#include "program.h"
#include "team.h"

namespace igc {

/*!
 * Kept for the backward pass are the results of convolutions before their normalisation, of
 * additions and of pools: the stores. What lies between two stores, a normalisation and a limit,
 * is computed whenever a store is read. In the backward pass a store has one gradient, that of what
 * its readers see; the last of them puts it through the limit and sums it up for the normalisation.
 */
class Training {
 public:
  Training(const Program& program, const Layout& layout, int height, int width,
           const Kernels* kernels);

  /*! As igc_span_forward and igc_span_backward of span.h. */
  void forward(int64_t batch, const float* data, const float* const* parameters,
               float* const* states, float* result, int threads);
  void backward(int64_t batch, const float* data, const float* const* parameters,
                const float* result_gradient, float* data_gradient,
                float* const* parameter_gradients, int threads);

  void release();
  size_t bytes() const;

 private:
  struct Store {
    Frame frame;           // of one image, without a halo
    bool vector = false;   // one pixel for each image of the batch
    int tensor = 0;        // one whose channels stand as they do here
    int norm = -1;         // the layer that normalises what readers see
    bool limit = false;    // and then limits it
    float low = 0, high = 0;
    bool masked = false;   // gradients pass only where what readers see is from ...
    float pass_low = 0, pass_high = 0;
    size_t offset = 0;     // floats from the beginning, for a batch of one
    size_t factors = 0;    // of its lanes: see Factor
    int made = -1;         // the unit that makes it; -1: the data
    int buffer = -1;       // of its gradient
  };

  // rows of factors that a store has, each of its lanes' length
  enum Factor { kScale, kShift, kMean, kInverse, kGradient, kValue, kConstant, kFactors };

  enum class What { kConv, kPointwise, kMaxPool, kAverage };

  /*! How a unit hands a gradient on to a store that it has read. */
  struct Share {
    bool first = false;    // writes; the others add
    bool last = false;     // finishes
    bool in_place = false;  // the store's gradient is the unit's own, in the same buffer
  };

  struct Unit {
    What what;
    Layer layer;
    int in = -1, in2 = -1, out = -1;
    int conv = -1;
    bool relu = false;     // kPointwise: of the sum
    bool paired = false;   // kConv: the next unit alone reads this one's result, image by image
    Share share, share2;
    size_t weights = 0;    // where its packed weights begin
    std::vector<size_t> phase_weights;
    std::vector<ptrdiff_t> taps;
    std::vector<std::vector<ptrdiff_t>> phase_taps;
    Frame frame_in, frame_gradient;  // kConv: its input and its gradient, with their halos
  };

  /*! Where a gradient lies; stores that are equal share one. */
  struct Buffer {
    size_t floats = 0;     // for a batch of one
    int from = 0, to = 0;  // units, as the backward pass meets them
    size_t offset = 0;
  };

  /*! What a thread gathers. */
  struct Gathered {
    std::vector<double> sums[2];   // two for each lane of a store; of two stores at most
    std::vector<double> bias[2];   // one for each lane; of two convolutions, if paired
    std::vector<float> centre;     // of each lane, about which the sums are taken
    int64_t count = 0;             // values of a channel in the sums
    Floats in, gradient, middle;   // scratch
    Floats weights;                // gradients of the unit's packed weights (of two, if paired)
  };

  void plan_units();
  void plan_conv(int layer, int in);
  int plan_pointwise(int in, int in2, int tensor);
  int new_store(int tensor, bool vector);
  void plan_shares();
  void share(int unit, int store, Share* share, std::vector<int>* readers_left);
  void place_buffers();
  void place();
  void prepare(int64_t batch, int threads);

  /*! Floats that one image of a store takes. */
  static size_t image_floats(const Frame& frame) { return (frame.floats() + 31) / 16 * 16; }
  size_t lanes_of(int store) const {
    return static_cast<size_t>(stores_[store].frame.blocks) * kLanes;
  }
  float* factor(int store, Factor which) const {
    return factors_.data() + stores_[store].factors + lanes_of(store) * which;
  }
  int width_of(int store) const {
    return stores_[store].vector ? static_cast<int>(batch_) : stores_[store].frame.width;
  }
  bool is_data(int store) const { return stores_[store].made < 0; }
  Map values(int store, int64_t image) const;
  Map gradients(int store, int64_t image) const;
  Map view(int store, int64_t image, const Frame& frame, Floats* scratch, const float* data) const;

  void pack_all(const float* const* parameters, bool backward, const Worker& worker);
  void forward_unit(const Unit& unit, const float* data, const Worker& worker);
  void forward_conv(const Unit& unit, int64_t image, const float* data, Gathered* mine,
                    size_t job_begin, size_t job_end);
  void forward_pointwise(const Unit& unit, int64_t image, const float* data, Gathered* mine);
  void forward_max_pool(const Unit& unit, int64_t image, const float* data, Gathered* mine);
  void forward_average(const Unit& unit, int64_t image, const float* data, Gathered* mine);
  void begin_moments(int store, Gathered* mine) const;
  void gather_moments(int store, int64_t image, Gathered* mine) const;
  void normalise(int store, const float* const* parameters, float* const* states,
                 const Worker& worker);
  void give_result(const float* data, float* result, const Worker& worker);

  void take_result_gradient(const float* gradient, const Worker& worker);
  void give_data_gradient(float* gradient, const Worker& worker) const;
  void backward_unit(int number, const float* data, float* const* parameter_gradients,
                     bool data_wanted, const Worker& worker);
  void backward_conv_image(const Unit& unit, const Unit* before, int64_t image, const float* data,
                           Gathered* mine, bool data_wanted);
  void backward_conv_vectors(const Unit& unit, const float* data, const Worker& worker);
  void backward_pointwise(const Unit& unit, int64_t image, Gathered* mine, bool data_wanted);
  void backward_max_pool(const Unit& unit, int64_t image, const float* data, Gathered* mine,
                         bool data_wanted);
  void backward_average(const Unit& unit, int64_t image, Gathered* mine, bool data_wanted);
  Map before_normalisation(const Unit& unit, int64_t image, Gathered* mine) const;
  void weight_gradient(const Unit& unit, const Map& in, const Map& gradient, float* weights,
                       size_t job_begin, size_t job_end) const;
  void add_bias_gradient(const Unit& unit, const Map& gradient, std::vector<double>* sums) const;
  void reduce_bias(const Unit& unit, int which, float* gradient, const Worker& worker) const;
  void data_gradient(const Unit& unit, const Map& gradient, const Map& out, bool accumulate,
                     size_t part, size_t parts) const;
  void finish_gradient(int store, int64_t image, std::vector<double>* sums) const;
  void settle(int store, int which, const float* const* parameters,
              float* const* parameter_gradients, const Worker& worker);
  void reduce_weights(const Unit& unit, size_t place, int threads, float* gradient,
                      const Worker& worker) const;

  const Program& program_;
  const Layout& layout_;
  const Kernels* kernels_;
  std::vector<Shape> shapes_;
  std::vector<int> consumers_;  // how many layers read each tensor; the result has one more
  std::vector<int> store_of_;   // of each tensor
  std::vector<bool> shared_;    // whether a tensor, or one between its store and it, has several
  std::vector<Store> stores_;
  std::vector<Convolution> convolutions_;
  std::vector<Unit> units_;
  Share result_share_;
  std::vector<Buffer> buffers_;
  size_t value_floats_ = 0, gradient_floats_ = 0;     // for a batch of one
  size_t forward_floats_ = 0, backward_floats_ = 0;   // packed weights
  size_t in_floats_ = 0, gradient_scratch_ = 0, middle_floats_ = 0, weight_floats_ = 0;
  size_t most_lanes_ = 0;

  int64_t batch_ = 0;
  bool has_forward_ = false;
  Floats factors_, values_, gradients_, data_gradient_, packed_, packed_backward_;
  std::vector<Gathered> gathered_;  // one a thread
};

}  // namespace igc

#endif  // IGC_OPERATOR_SPAN_TRAINING_H_
