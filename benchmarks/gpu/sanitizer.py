"""compute-sanitizer on the operators: out of bounds, races, memory that nobody wrote."""

import os
import shutil
import subprocess
import sys

TOOLS = ("memcheck", "racecheck", "initcheck")
# what all of our kernels have in their names: their namespace
NAMESPACE = "3igc4cuda"


def run(tool, limit):
    """Run the quick checks of `benchmarks.gpu.right` under a tool.

    Parameters
    ----------
    tool : str
        One of `TOOLS`.
    limit : float
        Seconds.

    Returns
    -------
    str
        ``"clean"``, or what went wrong.
    """
    program = shutil.which("compute-sanitizer")
    if program is None:
        return "compute-sanitizer was not found"
    command = [program, "--tool", tool, "--error-exitcode", "9", *_filter(program)]
    command += [sys.executable, "-m", "benchmarks.gpu", "--parts", "right", "--quick"]
    # each tensor in memory of its own, so that what lies beside it is out of bounds
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not done after {limit:.0f} s"
    last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-12:]
    if done.returncode == 0:
        return "clean"
    return "\n".join([f"exit code {done.returncode}:", *last])


def _filter(program):
    """Ask for our kernels alone; the option has had two names."""
    told = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    for option in ("--kernel-name", "--kernel-regex"):
        if option in told.stdout + told.stderr:
            return [option, f"kns={NAMESPACE}"]
    return []
