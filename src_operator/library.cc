/*! What MXNet calls first when it loads this library of operators. */
#include <mxnet/lib_api.h>

#include <iostream>

mxnet::ext::MXReturnValue initialize(int version) {
  constexpr int kOldest = 10900;  // MXNet 1.9.0, in MXNet's own numbering
  if (version >= kOldest && version < 20000) return mxnet::ext::MX_SUCCESS;
  MX_ERROR_MSG << "igc's operators need MXNet 1.9, not " << version / 10000 << "."
               << version / 100 % 100 << "." << version % 100 << std::endl;
  return mxnet::ext::MX_FAIL;
}
