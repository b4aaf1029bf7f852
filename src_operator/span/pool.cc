#include "pool.h"

#include <algorithm>
#include <cmath>

namespace igc {
namespace {

/*! The part of a window that lies on the map, along one axis. */
struct Window {
  int begin, end;

  Window(const Layer& layer, int axis, int output, int size) {
    const int first = output * layer.stride[axis] - layer.pad[axis];
    begin = std::max(first, 0);
    end = std::min(first + layer.kernel[axis], size);
  }
};

}  // namespace

void max_pool(const Layer& layer, const Frame& in_frame, const Map& in, const Frame& out_frame,
              const Map& out, int begin, int end) {
  for (int b = 0; b < out_frame.blocks; ++b) {
    for (int y = begin; y < end; ++y) {
      const Window rows(layer, 0, y, in_frame.height);
      for (int x = 0; x < out_frame.width; ++x) {
        const Window columns(layer, 1, x, in_frame.width);
        float best[kLanes];
        std::fill(best, best + kLanes, -INFINITY);
        for (int iy = rows.begin; iy < rows.end; ++iy) {
          for (int ix = columns.begin; ix < columns.end; ++ix) {
            const float* from = in.at(b, iy, ix);
            for (int lane = 0; lane < kLanes; ++lane) {
              best[lane] = from[lane] > best[lane] ? from[lane] : best[lane];
            }
          }
        }
        std::copy(best, best + kLanes, out.at(b, y, x));
      }
    }
  }
}

void max_pool_gradient(const Layer& layer, const Frame& in_frame, const Map& in,
                       const Frame& out_frame, const Map& given, const Map& to) {
  for (int b = 0; b < out_frame.blocks; ++b) {
    for (int y = 0; y < out_frame.height; ++y) {
      const Window rows(layer, 0, y, in_frame.height);
      for (int x = 0; x < out_frame.width; ++x) {
        const Window columns(layer, 1, x, in_frame.width);
        float best[kLanes];
        ptrdiff_t place[kLanes];  // in floats from the block's first pixel
        std::fill(best, best + kLanes, -INFINITY);
        std::fill(place, place + kLanes, rows.begin * to.row + columns.begin * kLanes);
        for (int iy = rows.begin; iy < rows.end; ++iy) {
          for (int ix = columns.begin; ix < columns.end; ++ix) {
            const float* from = in.at(b, iy, ix);
            const ptrdiff_t here = iy * to.row + ix * kLanes;
            for (int lane = 0; lane < kLanes; ++lane) {
              place[lane] = from[lane] > best[lane] ? here : place[lane];
              best[lane] = from[lane] > best[lane] ? from[lane] : best[lane];
            }
          }
        }
        const float* gradient = given.at(b, y, x);
        float* block = to.at(b, 0, 0);
        for (int lane = 0; lane < kLanes; ++lane) block[place[lane] + lane] += gradient[lane];
      }
    }
  }
}

void average(const Kernels* kernels, const Frame& frame, const Map& in, const Map& out) {
  const float share = 1.0f / (static_cast<float>(frame.height) * frame.width);
  const float zeros[kLanes] = {};
  for (int b = 0; b < frame.blocks; ++b) {
    float sums[2 * kLanes] = {};
    kernels->moments(in.at(b, 0, 0), in.row, zeros, frame.height, frame.width, sums);
    for (int lane = 0; lane < kLanes; ++lane) out.at(b, 0, 0)[lane] = sums[lane] * share;
  }
}

}  // namespace igc
