"""Interleaved group convolution networks (IGCV1, IGCV2, IGCV3) on MXNet 1.9.1.

Importing ``igc`` is cheap: it fixes the number of threads and, for a build of MXNet that needs
CUDA, has the libraries of the extra ``[cu112]`` found; MXNet itself is not imported.
"""

import os

from igc import cuda_libraries

__version__ = "0.1.0"


def cores():
    """Count the processors that this process may use; ``launch.py`` gives each its share."""
    if os.environ.get("IGC_CORES", "").isdecimal():
        return max(1, int(os.environ["IGC_CORES"]))
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


# MXNet sizes its OpenMP team when it is imported, to half of the processors unless told otherwise.
os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
# ... and tells at every bind which graph backend it uses, unless told not to.
os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
# ... and finds CUDA's libraries, where pip brought them, only when they are loaded before it.
cuda_libraries.preload()
