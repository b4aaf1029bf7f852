"""The processor: threads, the native operators, and what builds them."""

import ctypes
import os
import platform
import shutil

from igc import cores, fatbinary
from igc.doctor.finding import NOTE, OK, STOPS, Finding
from igc.operator.library import LIBRARY, is_without_mxnet

_PORTABLE = "portable"


def check_threads(facts):
    """Compare the threads that MXNet works with, as measured, to the processors.

    Parameters
    ----------
    facts : dict
        From `igc.doctor.probe.run`.
    """
    working, there = facts.get("threads"), cores()
    asked = os.environ.get("OMP_NUM_THREADS")
    if working is None:
        text = f"{there} processors; what MXNet uses could not be measured"
        return Finding("threads", NOTE, text, "see MXNet above" if "error" in facts else None)
    text = f"MXNet works with {working} of {there} processors (OMP_NUM_THREADS={asked})"
    if working < there:
        mend = f"unset OMP_NUM_THREADS, or set it to {there}"
        return Finding("threads", NOTE, text, mend)
    if working > there:
        text = f"MXNet works with {working} threads on {there} processors, which slows it down"
        return Finding("threads", NOTE, text, f"export OMP_NUM_THREADS={there}")
    return Finding("threads", OK, text)


def check_operator(facts, library=LIBRARY):
    """Check that the native operators are built, and tell for what."""
    what = "native operator"
    if not library.is_file():
        return Finding(
            what, NOTE, "is not built: trainings take MXNet's own, which are slower", "make venv"
        )
    if facts.get("operator") is not None:
        mend = f"rm {library}, then pip install -e '.[cpu]'"
        return Finding(what, NOTE, f"does not load: {facts['operator']}", mend)
    try:
        sets, code = _instruction_sets(library), fatbinary.code_in(library)
    except (AttributeError, OSError, ValueError) as error:
        mend = f"rm {library}, then pip install -e '.[cpu]'"
        return Finding(what, NOTE, f"is damaged or of an earlier version: {error}", mend)
    also = f" (of {', '.join(sets)})" if len(sets) > 1 else ""
    text = f"built; on this processor it takes {sets[0]}{also}"
    gpus = ", ".join(f"sm_{arch}" for arch in code.machine)
    text += f"; has code for GPUs: {gpus}" if gpus else "; without CUDA"
    if is_without_mxnet(library):
        text += "; without the operators for MXNet: trainings take its own, which are slower"
        return Finding(what, NOTE, text, "pip install -e '.[cpu]'")
    if sets[0] == _PORTABLE and platform.machine() in ("x86_64", "AMD64"):
        return Finding(what, NOTE, f"{text}: it has no AVX2, and the operators will be slow")
    return Finding(what, OK, text)


def _instruction_sets(library):
    function = ctypes.CDLL(str(library)).igc_span_isas
    function.restype = ctypes.c_char_p
    return function().decode().split()


def check_tools():
    """Check for what builds the native operators."""
    compiler = (os.environ.get("CXX", "g++").split() or ["g++"])[0]
    missing = [name for name in (compiler, "make") if shutil.which(name) is None]
    if not missing:
        nvcc = shutil.which(os.environ.get("NVCC", "nvcc"))
        return Finding("tools", OK, f"{compiler}, make{', nvcc' if nvcc else '; no nvcc'}")
    state = "which are needed to build the native operators again"
    return Finding(
        "tools",
        NOTE,
        f"not found: {' and '.join(missing)}, {state}",
        "apt install g++ make (Debian and Ubuntu)",
    )


def check_openmp():
    """Check for OpenMP's runtime, which MXNet and the native operators need."""
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        mend = "apt install libgomp1 (Debian and Ubuntu)"
        return Finding("libgomp", STOPS, "libgomp.so.1 (OpenMP) is not found", mend)
    return Finding("libgomp", OK, "libgomp.so.1 is there")
