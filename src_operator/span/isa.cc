/*! Which kernels this build and this processor have. */
#include <cstring>
#include <string>

#include "kernels.h"
#include "measured.h"

namespace igc {

#ifdef __x86_64__
namespace avx512 {
extern const Kernels kKernels;
}
namespace avx2 {
extern const Kernels kKernels;
}
#endif
namespace portable {
extern const Kernels kKernels;
}

namespace {

struct Found {
  const Kernels* kernels[4] = {};
  const char* names[4] = {};

  Found() {
    int count = 0;
    const auto add = [&](const Kernels& found) {
      kernels[count] = &found;
      names[count++] = found.name;
    };
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) {
      add(avx512::kKernels);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) add(avx2::kKernels);
#endif
    add(portable::kKernels);
  }
};

const Found& found() {
  static const Found once;
  return once;
}

}  // namespace

const Kernels* kernels_named(const char* name) {
  const std::string text = name, ending = " measured";
  if (text.size() > ending.size() &&
      text.compare(text.size() - ending.size(), ending.size(), ending) == 0) {
    const Kernels* plain = kernels_named(text.substr(0, text.size() - ending.size()).c_str());
    return plain == nullptr ? nullptr : measured(plain);
  }
  for (const Kernels* const* kernels = found().kernels; *kernels != nullptr; ++kernels) {
    if (std::strcmp((*kernels)->name, name) == 0) return *kernels;
  }
  return nullptr;
}

const char* const* kernel_names() { return found().names; }

}  // namespace igc
