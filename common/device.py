"""The devices that ``--gpus`` names."""

import ctypes
import subprocess

import mxnet as mx

from igc.errors import InputError

# mxnet-cu112 1.9.1 carries machine code for sm_50, 60, 70, 80 and 86 and no PTX.
_NEWEST_CAPABILITY = (8, 9)


def contexts(gpus):
    """Turn the value of ``--gpus`` into contexts.

    Parameters
    ----------
    gpus : str or None
        "0,1": these GPUs. "": the CPU. "cpu,cpu": that many CPU contexts (to try data parallelism
        where there is no GPU). None (the flag left out): all GPUs that this MXNet can use, else
        the CPU.

    Returns
    -------
    list of mxnet.Context

    Raises
    ------
    InputError
        When a GPU is named that is not there or that this MXNet has no machine code for.
    """
    if gpus is None:
        usable = [i for i in range(_count()) if _capability(i) <= _NEWEST_CAPABILITY]
        return [mx.gpu(i) for i in usable] or [mx.cpu()]
    entries = [entry.strip() for entry in gpus.split(",") if entry.strip()]
    if not entries:
        return [mx.cpu()]
    if all(entry == "cpu" for entry in entries):
        return [mx.cpu(i) for i in range(len(entries))]
    try:
        numbers = [int(entry) for entry in entries]
    except ValueError:
        raise InputError(
            f"--gpus={gpus}: give GPU numbers like 0,1, or --gpus= for the CPU"
        ) from None
    return [_gpu(number, gpus) for number in numbers]


def too_new():
    """Name the GPUs that are there but that this MXNet has no machine code for."""
    found = {i: _capability(i) for i in range(_count())}
    return ", ".join(
        f"GPU {number} (compute capability {major}.{minor})"
        for number, (major, minor) in found.items()
        if (major, minor) > _NEWEST_CAPABILITY
    )


def describe():
    """Return the list of GPUs that the driver reports, or a line that there is none."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        listing = ""
    return listing or "no NVIDIA driver found"


def _gpu(number, gpus):
    if not mx.runtime.Features().is_enabled("CUDA"):
        raise InputError(
            f"--gpus={gpus}: this MXNet was built without CUDA; install the extra [cu112] in place "
            "of [cpu], or pass --gpus= for the CPU"
        )
    if not 0 <= number < _count():
        raise InputError(
            f"--gpus={gpus}: GPU {number} is not there ({_count()} found); name others, or pass "
            "--gpus= for the CPU"
        )
    capability = _capability(number)
    if capability > _NEWEST_CAPABILITY:
        major, minor = capability
        raise InputError(
            f"--gpus={gpus}: GPU {number} has compute capability {major}.{minor}, and this MXNet "
            "has machine code up to 8.9 only; use an older GPU, or pass --gpus= for the CPU"
        )
    return mx.gpu(number)


def _count():
    if not mx.runtime.Features().is_enabled("CUDA"):
        return 0
    try:
        return mx.context.num_gpus()
    except mx.base.MXNetError:  # CUDA without a driver
        return 0


def _capability(number):
    """Ask the driver for a GPU's compute capability, (major, minor)."""
    driver = ctypes.CDLL("libcuda.so.1")
    driver.cuInit(0)
    device, value, capability = ctypes.c_int(), ctypes.c_int(), []
    driver.cuDeviceGet(ctypes.byref(device), number)
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability.append(value.value)
    return tuple(capability)
