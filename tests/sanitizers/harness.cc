/*!
 * Runs the CPU kernels over a list of cases, for a build with sanitizers. Usage: harness FILE
 *
 * Each line of the file is one case:
 *
 *   span batch channels height width program      every instruction set against the reference
 *   refused channels height width program         must give a text, as bad programs do
 *   any channels height width program             may be planned or refused
 *   igconv batch channels height width filters kh kw sh sw ph pw L M
 *   reorder batch channels spatial branch_factor
 *
 * Every array is a block of the heap of its own, so that the first element beside it is found.
 * Ends with 1 at the first case that is wrong, and prints how many there were otherwise.
 */
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "igconv.h"
#include "reorder.h"
#include "span/reference.h"
#include "span/span.h"

namespace {

std::string current;  // the case, for messages

[[noreturn]] void fail(const std::string& what) {
  std::cerr << "FAILED: " << what << "\n  " << current << std::endl;
  std::exit(1);
}

void expect(bool good, const std::string& what) {
  if (!good) fail(what);
}

void succeed(const char* wrong) {
  if (wrong != nullptr) fail(wrong);
}

/*! An array of exactly so many elements (a vector may have room for more). */
template <typename T>
class Array {
 public:
  explicit Array(size_t count, T value = T()) : count_(count), memory_(new T[count]) {
    std::fill_n(memory_.get(), count, value);
  }
  T* data() const { return memory_.get(); }
  size_t size() const { return count_; }
  T& operator[](size_t k) const { return memory_[k]; }

 private:
  size_t count_;
  std::unique_ptr<T[]> memory_;
};

using Floats = Array<float>;

/*! Numbers in [-1, 1), the same in every run. */
template <typename T>
void fill(const Array<T>& array, double scale = 1, double shift = 0) {
  static uint64_t state = 1;
  for (size_t k = 0; k < array.size(); ++k) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    array[k] = static_cast<T>(scale * (static_cast<double>(state >> 40) / (1 << 23) - 1) + shift);
  }
}

double norm(const Floats& array) {
  double sum = 0;
  for (size_t k = 0; k < array.size(); ++k) sum += static_cast<double>(array[k]) * array[k];
  return std::sqrt(sum);
}

void compare(const Floats& got, const Floats& want, double tolerance, double scale,
             const std::string& what) {
  double sum = 0;
  for (size_t k = 0; k < got.size(); ++k) {
    const double difference = static_cast<double>(got[k]) - want[k];
    sum += difference * difference;
  }
  const double error = std::sqrt(sum) / (norm(want) + scale + 1e-30);
  // written so that NaN is wrong too
  expect(error <= tolerance, what + " is off by " + std::to_string(error));
}

/*! The functions of span.h, or of its reference. */
struct Functions {
  std::string name;
  void* span;
  void (*destroy)(void*);
  const char* (*infer)(void*, int64_t, const float*, const float* const*, uint64_t, float*, int);
  const char* (*forward)(void*, int64_t, const float*, const float* const*, float* const*, float*,
                         int);
  const char* (*backward)(void*, int64_t, const float*, const float* const*, const float*, float*,
                          float* const*, int);
};

#define FUNCTIONS(prefix, name, span)                                                        \
  {                                                                                          \
    name, span, [](void* s) { prefix##_destroy(static_cast<prefix*>(s)); },                  \
        [](void* s, int64_t n, const float* x, const float* const* p, uint64_t v, float* r,  \
           int t) { return prefix##_infer(static_cast<prefix*>(s), n, x, p, v, r, t); },     \
        [](void* s, int64_t n, const float* x, const float* const* p, float* const* m,       \
           float* r, int t) {                                                                \
          return prefix##_forward(static_cast<prefix*>(s), n, x, p, m, r, t);                \
        },                                                                                   \
        [](void* s, int64_t n, const float* x, const float* const* p, const float* h,        \
           float* g, float* const* q, int t) {                                               \
          return prefix##_backward(static_cast<prefix*>(s), n, x, p, h, g, q, t);            \
        }                                                                                    \
  }

template <typename T>
std::vector<T*> pointers(const std::vector<Floats>& arrays) {
  std::vector<T*> found;
  for (const Floats& array : arrays) found.push_back(array.data());
  return found;
}

struct Results {
  Floats inferred, result, data_gradient;
  std::vector<Floats> states, gradients;
};

struct SpanCase {
  int64_t batch, channels, height, width;
  std::string program;
  Floats data{0}, head{0};
  std::vector<Floats> parameters;
  std::vector<bool> is_state;

  size_t pixels() const { return channels * height * width; }

  void prepare(igc_span* span) {
    for (int k = 0; k < igc_span_parameter_count(span); ++k) {
      int64_t shape[4], count = 1;
      const int ndim = igc_span_parameter_shape(span, k, shape);
      for (int d = 0; d < ndim; ++d) count *= shape[d];
      parameters.emplace_back(count);
      is_state.push_back(igc_span_parameter_is_state(span, k));
      if (ndim > 1) {
        fill(parameters.back(), std::sqrt(4.0 * shape[0] / count));
      } else {
        fill(parameters.back(), 0.4, 1);  // variances and gammas must be above zero
      }
    }
    int64_t shape[3];
    igc_span_output_shape(span, shape);
    data = Floats(batch * pixels());
    head = Floats(batch * shape[0] * shape[1] * shape[2]);
    fill(data);
    fill(head);
  }

  Results run(const Functions& with, int threads) const {
    Results found = {Floats(head.size(), NAN), Floats(head.size(), NAN), Floats(data.size(), NAN),
                     {}, {}};
    for (const Floats& parameter : parameters) {
      found.gradients.emplace_back(parameter.size());
      found.states.emplace_back(parameter.size());
      std::copy_n(parameter.data(), parameter.size(), found.states.back().data());
    }
    const auto p = pointers<const float>(parameters);
    const auto q = pointers<float>(found.gradients), m = pointers<float>(found.states);
    for (int again = 0; again < 2; ++again) {
      succeed(with.infer(with.span, batch, data.data(), p.data(), 1, found.inferred.data(),
                         threads));
    }
    succeed(with.forward(with.span, batch, data.data(), p.data(), m.data(), found.result.data(),
                         threads));
    succeed(with.backward(with.span, batch, data.data(), p.data(), head.data(), nullptr, q.data(),
                          threads));
    succeed(with.backward(with.span, batch, data.data(), p.data(), head.data(),
                          found.data_gradient.data(), q.data(), threads));
    return found;
  }
};

igc_span* create(const SpanCase& c, const char* isa, std::string* error) {
  char text[500] = "";
  igc_span* span = igc_span_create(c.program.c_str(), c.channels, c.height, c.width, isa, text,
                                   sizeof(text));
  *error = text;
  return span;
}

void check_span(SpanCase c) {
  std::string error;
  igc_span* first = create(c, nullptr, &error);
  if (first == nullptr) fail(error);
  c.prepare(first);
  igc_span_destroy(first);
  igc_span_reference* plain = igc_span_reference_create(c.program.c_str(), c.channels, c.height,
                                                        c.width, nullptr, nullptr, 0);
  const Functions reference = FUNCTIONS(igc_span_reference, "reference", plain);
  const Results want = c.run(reference, 1);
  reference.destroy(plain);
  double largest = norm(want.data_gradient);
  for (const Floats& gradient : want.gradients) largest = std::max(largest, norm(gradient));
  std::istringstream names(igc_span_isas());
  for (std::string isa; names >> isa;) {
    igc_span* span = create(c, isa.c_str(), &error);
    if (span == nullptr) fail(error);
    const Functions kernels = FUNCTIONS(igc_span, isa, span);
    for (const int threads : {1, 2}) {
      const std::string by = " by " + isa + " on " + std::to_string(threads);
      const Results got = c.run(kernels, threads);
      const double scale = 0.1 * std::sqrt(static_cast<double>(c.head.size()));
      compare(got.inferred, want.inferred, 1e-4, scale, "the evaluation" + by);
      compare(got.result, want.result, 1e-4, scale, "the result" + by);
      // wide, for a ReLU that rounding flips: what sanitizers miss is for test_span_kernels.py
      const double loose = 0.05;
      compare(got.data_gradient, want.data_gradient, loose, 0.1 * largest, "the data's gradient" + by);
      for (size_t k = 0; k < got.gradients.size(); ++k) {
        const std::string which = " " + std::to_string(k) + by;
        compare(got.states[k], want.states[k], 1e-4, 0.1, "state" + which);
        if (c.is_state[k]) continue;
        compare(got.gradients[k], want.gradients[k], loose, 0.1 * largest, "gradient" + which);
      }
      igc_span_release(span);  // the next round begins anew
    }
    igc_span_destroy(span);
  }
}

/*! A type of so many bytes; what two bytes hold as numbers does not matter here. */
template <typename T>
void check_igconv(const igc_igconv_sizes& s) {
  const int64_t L = s.primary_partition, M = s.secondary_partition;
  int64_t out[2];
  const int64_t in[2] = {s.height, s.width};
  for (int k = 0; k < 2; ++k) out[k] = (in[k] + 2 * s.pad[k] - s.kernel[k]) / s.stride[k] + 1;
  const int64_t plane = out[0] * out[1];
  const Array<T> data(s.batch * s.channels * s.height * s.width);
  const Array<T> primary(s.filters * (s.channels / L) * s.kernel[0] * s.kernel[1]);
  const Array<T> secondary(s.filters * (s.filters / M)), result(s.batch * s.filters * plane);
  for (const Array<T>* array : {&data, &primary, &secondary}) fill(*array, sizeof(T) == 2 ? 9 : 1);
  const Array<T> data_gradient(data.size()), primary_gradient(primary.size()),
      secondary_gradient(secondary.size());
  succeed(igc_igconv_forward_cpu(&s, sizeof(T), data.data(), primary.data(), secondary.data(),
                                 result.data()));
  if (sizeof(T) == 2) return;
  succeed(igc_igconv_backward_cpu(&s, sizeof(T), result.data(), data.data(), primary.data(),
                                  secondary.data(), data_gradient.data(), primary_gradient.data(),
                                  secondary_gradient.data()));
}

void check_reorder(int64_t batch, int64_t channels, int64_t spatial, int64_t factor) {
  const Floats in(batch * channels * spatial), out(in.size(), NAN);
  fill(in);
  succeed(igc_reorder_cpu(in.data(), out.data(), batch, channels, spatial, factor, 4));
  for (int64_t c = 0; c < batch * channels * spatial; ++c) {
    const int64_t channel = c / spatial % channels, rest = c - channel * spatial;
    const int64_t source = channel % factor * (channels / factor) + channel / factor;
    expect(out[c] == in[rest + source * spatial], "an element is in the wrong place");
  }
}

void check(const std::string& line) {
  std::istringstream words(line);
  std::string kind;
  words >> kind;
  if (kind == "igconv") {
    igc_igconv_sizes s;
    words >> s.batch >> s.channels >> s.height >> s.width >> s.filters >> s.kernel[0] >>
        s.kernel[1] >> s.stride[0] >> s.stride[1] >> s.pad[0] >> s.pad[1] >>
        s.primary_partition >> s.secondary_partition;
    expect(!words.fail(), "too few numbers");
    check_igconv<float>(s);
    check_igconv<double>(s);
    check_igconv<int16_t>(s);
  } else if (kind == "reorder") {
    int64_t batch, channels, spatial, factor;
    words >> batch >> channels >> spatial >> factor;
    expect(!words.fail(), "too few numbers");
    check_reorder(batch, channels, spatial, factor);
  } else {
    SpanCase c = {};
    c.batch = 1;
    if (kind == "span") words >> c.batch;
    words >> c.channels >> c.height >> c.width;
    expect(!words.fail(), "too few numbers");
    std::getline(words >> std::ws, c.program);
    if (kind == "span") {
      check_span(std::move(c));
      return;
    }
    std::string error;
    const char* wrong = igc_span_supports(c.program.c_str(), c.channels);
    igc_span* span = create(c, nullptr, &error);
    expect(wrong == nullptr || span == nullptr, "refused, but planned");
    expect(kind == "any" || span == nullptr, "planned");
    expect((span == nullptr) != error.empty(), "no reason is given");
    if (span != nullptr) igc_span_destroy(span);
  }
}

}  // namespace

int main(int count, char** arguments) {
  std::ifstream file(count == 2 ? arguments[1] : "");
  expect(file.good(), "usage: harness FILE");
  int cases = 0;
  while (std::getline(file, current)) {
    check(current);
    ++cases;
  }
  std::cout << cases << " cases" << std::endl;
  return 0;
}
