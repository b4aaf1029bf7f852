"""The GPUs that the driver reports, against the machine code that is there for them."""

import subprocess

from igc import cuda_libraries, fatbinary
from igc.doctor.finding import NOTE, OK, Finding
from igc.fatbinary import Code
from igc.operator.library import LIBRARY

_QUERY = ["nvidia-smi", "--query-gpu=index,name,compute_cap", "--format=csv,noheader"]
WHEEL = Code(machine=(50, 60, 70, 80, 86))
"""What mxnet-cu112 1.9.1 carries, without PTX; told where another build is installed."""


def check_gpus(facts):
    """Check each GPU.

    Parameters
    ----------
    facts : dict
        From `igc.doctor.probe.run`.

    Returns
    -------
    list of Finding
        One for each GPU, or one that says that there is none.
    """
    try:
        done = subprocess.run(_QUERY, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        return [Finding("GPUs", OK, "none (no nvidia-smi): trainings run on the CPU")]
    except (OSError, subprocess.TimeoutExpired) as error:
        return [_no_answer(f"nvidia-smi does not answer: {error}")]
    if done.returncode != 0:
        words = (done.stdout + done.stderr).strip().splitlines() or ["it says nothing"]
        return [_no_answer(f"nvidia-smi fails: {words[0]}")]
    rows = [line.split(", ") for line in done.stdout.splitlines() if line.strip()]
    mxnets, natives = _code(cuda_libraries.mxnet_library()), _code(LIBRARY)
    return [_check(row, facts, mxnets, natives) for row in rows] or [
        Finding("GPUs", OK, "none: trainings run on the CPU")
    ]


def _no_answer(text):
    mend = "install or restart NVIDIA's driver; trainings run on the CPU until then"
    return Finding("GPUs", NOTE, text, mend)


def _check(row, facts, mxnets, natives):
    try:
        number, name, capability = row
        major, minor = map(int, capability.split("."))
    except ValueError:
        return _no_answer(f"nvidia-smi does not tell the compute capability: {', '.join(row)}")
    what, gpu = f"GPU {number}", f"{name}, compute capability {capability}"
    code = mxnets if mxnets.machine or mxnets.ptx else WHEEL
    if not code.runs_on(major, minor):
        known = ", ".join(f"sm_{arch}" for arch in code.machine)
        return Finding(
            what,
            NOTE,
            f"{gpu}: MXNet 1.9.1 cannot run on it, its machine code is for {known} and there is "
            "no PTX",
            "none for MXNet; train with --gpus= on the CPU, or on a GPU of capability 5.0 to 8.9",
        )
    if "mxnet" not in facts:
        return Finding(what, NOTE, f"{gpu}: not used, MXNet does not import", "see MXNet above")
    if not facts["cuda"]:
        return Finding(
            what,
            NOTE,
            f"{gpu}: this MXNet is built for the CPU",
            "pip uninstall -y mxnet, then pip install -e '.[cu112]'",
        )
    if not facts.get("gpus"):
        return Finding(
            what, NOTE, f"{gpu}: MXNet does not see it", "check CUDA_VISIBLE_DEVICES and the driver"
        )
    if not natives.runs_on(major, minor):
        return Finding(
            what,
            NOTE,
            f"{gpu}: MXNet runs on it, the native operators have no code for it",
            "put nvcc on PATH, then pip install -e '.[cu112]'; or train with --operator=stock",
        )
    return Finding(what, OK, f"{gpu}: MXNet and the native operators run on it")


def _code(library):
    try:
        return Code() if library is None else fatbinary.code_in(library)
    except (OSError, ValueError):  # missing or damaged, as the lines about them say
        return Code()
