"""The compiled library: where it is, what is there of it, and loading it into MXNet once.

It has kernels, which `igc.pytorch` calls by ctypes, and operators for MXNet around them. Where
MXNet was missing when it was built (``IGC_OPERATOR=1``, see setup.py), it has the kernels alone.
"""

import ctypes
import functools
import importlib.util
import os
import threading
from pathlib import Path

from igc.errors import InputError

LIBRARY = Path(__file__).resolve().with_name("libigc_operator.so")
BUILD = (
    "`make venv`, or without MXNet `IGC_OPERATOR=1 pip install --no-build-isolation --no-deps -e .`"
)
"""What builds the kernels, for messages."""
_OPERATOR = "Reorder"

_lock = threading.Lock()
_loaded = False


def has_kernels():
    """Tell whether the compiled library is there, with the operators for MXNet or without.

    Returns
    -------
    bool
    """
    return LIBRARY.is_file()


def is_built():
    """Tell whether the compiled library is there, with the operators for MXNet.

    Returns
    -------
    bool
        True also for a damaged file: `load` says what is wrong with it.
    """
    return has_kernels() and not is_without_mxnet(LIBRARY)


def is_without_mxnet(library):
    """Tell from its symbols' names whether a library has the kernels alone.

    Parameters
    ----------
    library : Path
        A file; it is not loaded.

    Returns
    -------
    bool
    """
    return _is_without_mxnet(library, library.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _is_without_mxnet(library, written):
    """Read the file once, unless it is `written` anew: it has megabytes, and networks ask often."""
    content = library.read_bytes()
    # the second is what MXNet asks a library for
    return b"igc_reorder_cpu\0" in content and b"_opRegSize\0" not in content


def load():
    """Make the operator ``Reorder`` known to MXNet (``mx.sym.Reorder``, ``mx.nd.Reorder``).

    Only the first call does something; it may come from any thread. A library that was loaded by
    ``mx.library.load`` by hand counts as loaded.

    Raises
    ------
    InputError
        The library is not built, was built without MXNet, does not load, or an operator of that
        name from elsewhere is already registered.
    """
    global _loaded
    if _loaded:
        return
    with _lock:
        if not _loaded:
            _load()
            _loaded = True


def _load():
    if importlib.util.find_spec("mxnet") is None:
        raise InputError(
            "igc.operator needs MXNet, which is not installed: run `pip install '.[cpu]'` in the "
            "repository (Python 3.10 or 3.11)"
        )
    if not has_kernels():
        raise InputError(
            f"the native operator is not built ({LIBRARY} is missing): run `make venv`, or "
            "`pip install '.[cpu]'` where g++ and MXNet's headers are"
        )
    if is_without_mxnet(LIBRARY):
        raise InputError(
            f"{LIBRARY} was built without MXNet, for PyTorch alone: build it again with `pip "
            "install -e '.[cpu]'` in the repository, where g++ and MXNet's headers are"
        )
    import mxnet as mx

    if _OPERATOR in mx.operator.get_all_registered_operators():
        if _is_mapped(LIBRARY):
            return
        raise InputError(
            f"an operator named {_OPERATOR} that is not igc's is already registered with MXNet: do "
            "not load the library that brings it, or use a stock MXNet"
        )
    modules = [mx.nd, mx.sym]
    kept = [{k: v for k, v in vars(m).items() if k.startswith("__")} for m in modules]
    try:
        mx.library.load(str(LIBRARY), verbose=False)
    except mx.MXNetError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"MXNet could not load {LIBRARY}: {reason}") from error
    finally:
        # mx.library.load overwrites mx.nd's and mx.sym's own __name__, __all__, __spec__ ...
        for module, attributes in zip(modules, kept, strict=True):
            vars(module).update(attributes)


def _is_mapped(path):
    """Tell whether this process has loaded the shared library at `path`."""
    try:
        ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD)
    except OSError:
        return False
    return True
