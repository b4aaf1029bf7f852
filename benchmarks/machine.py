"""The machine: its name, and what it can do at most."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.processes import environment
from igc.errors import InputError
from igc.machine import cpu_name

SOURCE = Path(__file__).with_name("peak.cc")
# What else the machine does for a moment must not pass for its limit: the best of some runs.
RUNS, PAUSE = 5, 1.0


def measure(threads):
    """Measure the peak of arithmetic and of copying, with a program compiled on the spot.

    Parameters
    ----------
    threads : int

    Returns
    -------
    dict
        "cpu", "threads", "peak_gflops" (float32 fused multiply-adds in the widest vectors, two
        operations each), "copy_gbs" (bytes read and written).

    Raises
    ------
    InputError
        When there is no C++ compiler, or it fails.
    """
    compiler = os.environ.get("CXX", "g++").split()
    if not compiler or shutil.which(compiler[0]) is None:
        raise InputError(
            f"no C++ compiler ({' '.join(compiler) or 'CXX is empty'}) for the machine's peak: "
            "install g++, or set CXX"
        )
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "peak")
        build = [*compiler, "-O3", "-std=c++17", "-pthread", str(SOURCE), "-o", program]
        done = subprocess.run(build, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise InputError(f"{' '.join(compiler)} cannot compile {SOURCE.name}: {lines[0]}")
        found = [_run([program, str(threads)], threads) for _ in range(RUNS)]
    best = {name: max(run[name] for run in found) for name in found[0]}
    return {"cpu": cpu_name(), "threads": threads, **best}


def _run(command, threads):
    time.sleep(PAUSE)
    return json.loads(
        subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment(threads)
        ).stdout
    )
