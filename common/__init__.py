"""Interleaved group convolution networks (IGCV1, IGCV2, IGCV3) on MXNet 1.9.1.

Importing ``igc`` is cheap: it fixes the number of threads and imports nothing else.
"""

import os

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
