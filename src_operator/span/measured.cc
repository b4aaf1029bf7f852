#include "measured.h"

#include <chrono>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace igc {
namespace {

/*! Calls that are told apart. */
struct Kind {
  const char* kernel;
  const char* way;
  int taps, step;        // of a convolution
  int inputs, outputs;   // channels of a group with what fills lanes up; else blocks
  int width;             // of the outputs

  bool operator<(const Kind& other) const {
    const auto all = [](const Kind& k) {
      return std::make_tuple(std::string(k.kernel), std::string(k.way), k.taps, k.step, k.inputs,
                             k.outputs, k.width);
    };
    return all(*this) < all(other);
  }
};

struct Sum {
  int64_t calls = 0;
  double nanoseconds = 0, multiply_adds = 0, bytes = 0;
};

constexpr int kMostThreads = 256;
const Kernels* inner = nullptr;
std::map<Kind, Sum> sums[kMostThreads];  // one a thread, so that none waits for another

using Clock = std::chrono::steady_clock;

void note(const Kind& kind, Clock::duration time, double multiply_adds, double bytes) {
#ifdef _OPENMP
  const int thread = omp_get_thread_num() % kMostThreads;
#else
  const int thread = 0;
#endif
  Sum& sum = sums[thread][kind];
  ++sum.calls;
  sum.nanoseconds += std::chrono::duration<double, std::nano>(time).count();
  sum.multiply_adds += multiply_adds;
  sum.bytes += bytes;
}

/*! How long a call takes, and nothing else. */
template <typename Call>
Clock::duration time_of(const Call& call) {
  const Clock::time_point begin = Clock::now();
  call();
  return Clock::now() - begin;
}

constexpr double kPixel = kLanes * sizeof(float);

/*! What a list of jobs does for one pixel of its outputs. */
struct Work {
  double multiply_adds = 0, weights = 0;
  int outputs = 0, inputs = 0;  // blocks, each counted once
  int group_in = 0;             // of the first job

  template <typename Task>
  explicit Work(const Task& task) {
    std::set<int> read;
    for (int j = 0; j < task.job_count; ++j) {
      const Job& job = task.jobs[j];
      int lanes = 0;
      for (int i = 0; i < job.inputs; ++i) {
        lanes += task.lane_wise ? 1 : job.lanes[i];
        read.insert(job.in[i]);
      }
      if (j == 0) group_in = lanes;
      outputs += job.outputs;
      weights += static_cast<double>(lanes) * task.tap_count * job.outputs * kLanes;
    }
    multiply_adds = weights;
    inputs = static_cast<int>(read.size());
  }
};

template <typename Task>
Kind kind_of(const char* kernel, const Task& task, const Work& work) {
  return {kernel, task.lane_wise ? "lane-wise" : "product", task.tap_count, task.in_step,
          work.group_in, work.outputs, task.width};
}

void conv(const ConvTask& task) {
  const Clock::duration time = time_of([&] { inner->conv(task); });
  const Work work(task);
  const double pixels = static_cast<double>(task.rows) * task.width;
  const double touched = work.inputs * task.in_step * task.in_row_step +
                         work.outputs * (1 + task.accumulate + (task.add.base != nullptr));
  note(kind_of("conv", task, work), time, pixels * work.multiply_adds,
       pixels * touched * kPixel + work.weights * sizeof(float));
}

void weight_gradient(const WeightTask& task) {
  const Clock::duration time = time_of([&] { inner->weight_gradient(task); });
  const Work work(task);
  const double pixels = static_cast<double>(task.rows) * task.width;
  const double touched = work.inputs * task.in_step * task.in_row_step + work.outputs;
  note(kind_of("weight_gradient", task, work), time, pixels * work.multiply_adds,
       pixels * touched * kPixel + 2 * work.weights * sizeof(float));
}

Kind pass(const char* kernel, int width) { return {kernel, "pass", 0, 1, 1, 1, width}; }

void affine(const float* in, ptrdiff_t in_row, const float* scale, const float* shift,
            const float* in2, ptrdiff_t in2_row, const float* scale2, const float* shift2,
            bool limit, float low, float high, float* out, ptrdiff_t out_row, int rows,
            int width) {
  const Clock::duration time = time_of([&] {
    inner->affine(in, in_row, scale, shift, in2, in2_row, scale2, shift2, limit, low, high, out,
                  out_row, rows, width);
  });
  note(pass("affine", width), time, 0, kPixel * rows * width * (in2 == nullptr ? 2 : 3));
}

void moments(const float* in, ptrdiff_t in_row, const float* centre, int rows, int width,
             float* result) {
  const Clock::duration time = time_of([&] {
    inner->moments(in, in_row, centre, rows, width, result);
  });
  note(pass("moments", width), time, 0, kPixel * rows * width);
}

void mask(const float* gradient, ptrdiff_t gradient_row, const float* z, ptrdiff_t z_row,
          const float* scale, const float* shift, bool limit, float low, float high,
          const float* mean, float* out, ptrdiff_t out_row, int rows, int width, float* result) {
  const Clock::duration time = time_of([&] {
    inner->mask(gradient, gradient_row, z, z_row, scale, shift, limit, low, high, mean, out,
                out_row, rows, width, result);
  });
  note(pass("mask", width), time, 0, kPixel * rows * width * 3);
}

void combine(const float* gradient, ptrdiff_t gradient_row, const float* z, ptrdiff_t z_row,
             const float* a, const float* b, const float* c, float* out, ptrdiff_t out_row,
             int rows, int width) {
  const Clock::duration time = time_of([&] {
    inner->combine(gradient, gradient_row, z, z_row, a, b, c, out, out_row, rows, width);
  });
  note(pass("combine", width), time, 0, kPixel * rows * width * 3);
}

}  // namespace

const Kernels* measured(const Kernels* kernels) {
  static Kernels found;
  inner = kernels;
  found = {kernels->name, conv, weight_gradient, affine, moments, mask, combine};
  return &found;
}

std::string take_measurements() {
  std::map<Kind, Sum> all;
  for (std::map<Kind, Sum>& of_thread : sums) {
    for (const auto& entry : of_thread) {
      Sum& sum = all[entry.first];
      sum.calls += entry.second.calls;
      sum.nanoseconds += entry.second.nanoseconds;
      sum.multiply_adds += entry.second.multiply_adds;
      sum.bytes += entry.second.bytes;
    }
    of_thread.clear();
  }
  std::string text;
  for (const auto& entry : all) {
    const Kind& kind = entry.first;
    const Sum& sum = entry.second;
    text += std::string(kind.kernel) + '\t' + kind.way;
    for (const int number : {kind.taps, kind.step, kind.inputs, kind.outputs, kind.width}) {
      text += '\t' + std::to_string(number);
    }
    text += '\t' + std::to_string(sum.calls);
    for (const double number : {sum.nanoseconds, sum.multiply_adds, sum.bytes}) {
      text += '\t' + std::to_string(static_cast<int64_t>(number));
    }
    text += '\n';
  }
  return text;
}

}  // namespace igc
