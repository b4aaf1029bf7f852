/*! Evaluating a span: normalisations folded, layers chained, each image alone in the cache. */
#ifndef IGC_OPERATOR_SPAN_INFERENCE_H_
#define IGC_OPERATOR_SPAN_INFERENCE_H_

#include <vector>

#include "convolution.h"
#include "kernels.h"
#include "layout.h"
#include "memory.h"
#include "program.h"
#include "team.h"

namespace igc {

class Inference {
 public:
  Inference(const Program& program, const Layout& layout, int height, int width,
            const Kernels* kernels);

  /*! As igc_span_infer of span.h. */
  void run(int64_t batch, const float* data, const float* const* parameters, uint64_t version,
           float* result, int threads);

  void release();
  size_t bytes() const;

 private:
  /*! Where a tensor lies while an image goes through, or (a vector) for the whole batch. */
  struct Store {
    Frame frame;
    bool vector = false;  // one pixel for each image of the batch
    int first = 0, last = 0;  // the chains that write it first and read it last
    size_t offset = 0;
    int tensor = 0;  // one whose channels stand as they do here
  };

  enum class What { kConv, kPointwise, kMaxPool, kAverage };

  /*! A layer with the normalisation, addition and limit that follow it. */
  struct Unit {
    What what;
    Layer layer;
    int in = -1, out = -1, add = -1;  // stores
    std::vector<int> norms;           // layers
    bool limit = false;
    float low = 0, high = 0;
    int conv = -1;            // of convolutions_
    size_t weights = 0;       // where its packed weights begin
    size_t factors = 0;       // where its bias, or its scale and then its shift, begin
    bool has_factors = false;
    std::vector<ptrdiff_t> taps;
  };

  /*! Convolutions whose tensors in between never leave the cache: units [begin, end). */
  struct Chain {
    int begin, end;
    int spatial;        // the one that is not 1 x 1 at stride 1; the first where all are
    int band;           // rows at a time
    bool by_jobs;       // a small map: threads share its convolutions' jobs, not its rows
    Frame before, after;  // what the spatial one reads and writes, when in between
    size_t scratch;     // floats
  };

  void plan_units();
  int follow(Unit* unit, int tensor);
  void plan_stores();
  void plan_chains();
  void place_stores();
  void place_parameters();
  bool continues(int unit) const;
  int readers(int store) const;
  bool is_spatial(const Unit& unit) const;

  void pack_parameters(const float* const* parameters, const Worker& worker);
  void fold(const Unit& unit, const float* const* parameters, std::vector<double>* folding);
  void load(const float* data, int64_t image, float* arena, int begin, int end) const;
  void unload(const float* arena, int64_t image, float* result, int begin, int end) const;
  void unload_vectors(int64_t batch, float* result, const Worker& worker) const;
  void run_image(const float* data, int64_t image, float* arena, float* scratch, float* result);
  void run_image_together(const float* data, int64_t image, float* result, const Worker& worker);
  void run_chain(const Chain& chain, int64_t image, float* arena, float* scratch, int begin,
                 int end) const;
  void run_chain_by_jobs(const Chain& chain, int64_t image, float* arena, float* scratch,
                         const Worker& worker) const;
  void run_conv(const Unit& unit, const Map& in, int in_top, const Map& out, int out_top, int begin,
                int end, int width, const Map& add, size_t job_begin, size_t job_end) const;
  void run_simple(const Unit& unit, int64_t image, float* arena, int begin, int end) const;
  void run_vectors(int64_t batch, const Worker& worker) const;
  Map map_of(int store, int64_t image, float* arena) const;

  const Program& program_;
  const Layout& layout_;
  const Kernels* kernels_;
  std::vector<Shape> shapes_;
  std::vector<std::vector<int>> consumers_;  // layers that read each tensor
  std::vector<int> store_of_;                // of each tensor
  std::vector<Store> stores_;
  std::vector<Convolution> convolutions_;
  std::vector<Unit> units_;
  int first_vector_unit_ = 0;
  std::vector<Chain> chains_;  // of the units before it, in order
  size_t arena_floats_ = 0, scratch_floats_ = 0, packed_floats_ = 0;

  uint64_t version_ = 0;
  int64_t batch_ = 0;  // what the vectors have room for
  Floats packed_, factors_, vectors_;
  std::vector<Floats> arenas_;   // one a thread
  std::vector<Floats> scratch_;
  std::vector<std::vector<double>> folding_;
};

}  // namespace igc

#endif  // IGC_OPERATOR_SPAN_INFERENCE_H_
