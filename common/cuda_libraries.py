"""CUDA's libraries from PyPI's wheels, for a build of MXNet that needs them.

``mxnet-cu112`` brings none of them and looks for them where the system's loader does. The wheels
``nvidia-*-cu11`` (the extra ``[cu112]``) put them into the environment instead, where only a
process that has loaded them already finds them: `preload` does that, and ``import igc`` calls it.
"""

import ctypes
import glob
import importlib.util
import os
import sys
from pathlib import Path

from igc import shared_library

DRIVER = "libcuda.so.1"
"""The one library of CUDA that comes with the GPU's driver and with no wheel."""


def mxnet_library():
    """Find MXNet's library without importing MXNet.

    Returns
    -------
    pathlib.Path or None
        None: MXNet is not installed, or has none.
    """
    spec = importlib.util.find_spec("mxnet")
    if spec is None or spec.origin is None:
        return None
    library = Path(spec.origin).with_name("libmxnet.so")
    return library if library.is_file() else None


def in_wheels():
    """Find the libraries that wheels of NVIDIA's brought.

    Returns
    -------
    dict of str to str
        Name of a library -> its path.
    """
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec is not None else None
    paths = [
        path
        for folder in folders or ()
        for path in glob.glob(os.path.join(glob.escape(folder), "*", "lib", "lib*.so.*"))
    ]
    return {os.path.basename(path): path for path in sorted(paths)}


def preload():
    """Load those libraries that MXNet needs and that wheels brought; importing it then finds them.

    Does nothing where MXNet is missing, imported already, or built for the CPU, and where there are
    no such wheels. What does not load is left out: importing MXNet will name it.

    Returns
    -------
    list of str
        The names of those that are loaded.
    """
    if "mxnet" in sys.modules:
        return []
    wheels = in_wheels()
    library = mxnet_library() if wheels else None
    if library is None:
        return []
    loaded = []
    _load(library, wheels, loaded)
    return loaded


def _load(library, wheels, loaded):
    """Load what a library needs, what that needs first."""
    try:
        names = shared_library.needed(library)
    except (OSError, ValueError):
        return
    for name in names:
        if name in wheels and name not in loaded:
            _load(wheels[name], wheels, loaded)
            try:
                ctypes.CDLL(wheels[name], mode=ctypes.RTLD_GLOBAL)
            except OSError:
                continue
            loaded.append(name)
