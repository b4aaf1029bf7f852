/*!
 * What every operator of this library needs towards MXNet's extension interface (lib_api.h):
 * reading attributes, and errors of which a user sees one line.
 *
 * What that interface does not pass on, and so cannot be put right in an operator: the way in which
 * a result is to be written (`req`). An operator always overwrites, also where MXNet asks it to add
 * to a gradient. The functions in `igc.operator` keep MXNet from asking.
 */
#ifndef IGC_OPERATOR_OP_COMMON_H_
#define IGC_OPERATOR_OP_COMMON_H_

#include <mxnet/lib_api.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

namespace igc {

using Attributes = std::unordered_map<std::string, std::string>;
using Shape = std::vector<unsigned>;

// What MXNet hands to an extension for a type and for a size that it does not know (yet). A shape
// of which it knows nothing comes without sizes.
constexpr int kUnknownType = -1;
constexpr unsigned kUnknownSize = 0xffffffffu;

/*!
 * Record an error of an operator for MXNet to print. lib_api.h keeps every message ever recorded
 * and MXNet prints all of them, oldest first; so that a user sees the one that matters, all
 * operators share one place.
 */
inline mxnet::ext::MXReturnValue fail(const std::string& operation, const std::string& what) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  static std::stringstream& place = MX_ERROR_MSG;
  place.str(operation + ": " + what);
  return mxnet::ext::MX_FAIL;
}

/*! Read the whole text as an integer of at least `least`. */
inline bool parse_integer(const std::string& text, int64_t least, int64_t* value) {
  char* end = nullptr;
  errno = 0;
  *value = std::strtoll(text.c_str(), &end, 10);
  return end != text.c_str() && *end == '\0' && errno == 0 && *value >= least;
}

/*! Read an attribute that must be a positive integer. Returns what is wrong, or nothing. */
inline std::string read_positive(const Attributes& attributes, const std::string& name,
                                 int64_t* value) {
  const auto found = attributes.find(name);
  if (found == attributes.end()) return "the attribute " + name + " is missing";
  if (parse_integer(found->second, 1, value)) return "";
  return name + " must be a positive integer, not '" + found->second + "'";
}

/*! A shape as Python writes it, with ? for what is not known. */
inline std::string text_of(const Shape& shape) {
  std::ostringstream text;
  text << "(";
  for (size_t k = 0; k < shape.size(); ++k) {
    text << (k == 0 ? "" : ", ");
    if (shape[k] == kUnknownSize) {
      text << "?";
    } else {
      text << shape[k];
    }
  }
  text << ")";
  return text.str();
}

inline bool is_float(int type) {
  return type == mxnet::ext::kFloat16 || type == mxnet::ext::kFloat32 ||
         type == mxnet::ext::kFloat64;
}

/*! The bytes of one element of a float16, float32 or float64 array. */
inline int item_bytes_of(const mxnet::ext::MXTensor& tensor) {
  switch (tensor.dtype) {
    case mxnet::ext::kFloat16: return 2;
    case mxnet::ext::kFloat32: return 4;
    case mxnet::ext::kFloat64: return 8;
    default: return 0;  // the kernels refuse it
  }
}

}  // namespace igc

#endif  // IGC_OPERATOR_OP_COMMON_H_
