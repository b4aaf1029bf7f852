"""compute-sanitizer on the operators: out of bounds, races, memory that nobody wrote."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOOLS = ("memcheck", "racecheck", "initcheck")
# what all of our kernels have in their names: their namespace
NAMESPACE = "3igc4cuda"
_FOUND = 9  # the tools' exit code where something is wrong


def run(limit):
    """Run the quick checks of `benchmarks.gpu.right` under each tool, all at a time.

    A call that writes out of bounds on purpose shows that memcheck looks at our kernels.

    Parameters
    ----------
    limit : float
        Seconds.

    Returns
    -------
    dict of str to str
        By tool: ``"clean"``, or what went wrong.
    """
    program = find()
    if program is None:
        return dict.fromkeys(TOOLS, "compute-sanitizer was not found")
    checks = ["benchmarks.gpu", "--parts", "right", "--quick", "--verbose"]
    commands = {tool: [tool, checks] for tool in TOOLS}
    commands["canary"] = ["memcheck", ["benchmarks.gpu.canary"]]
    ends, ours = time.monotonic() + limit, _filter(program)
    with tempfile.TemporaryDirectory() as folder:
        running = {}
        try:
            for name, (tool, module) in commands.items():
                command = [program, "--tool", tool, "--error-exitcode", str(_FOUND), *ours]
                command += [sys.executable, "-m", *module]
                running[name] = _started(command, Path(folder) / name)
            codes = {name: _wait(process, ends) for name, process in running.items()}
        finally:
            for process in running.values():
                _end(process)
        told = {name: (Path(folder) / name).read_text(errors="replace") for name in commands}
    found = {tool: _outcome(codes[tool], told[tool], limit) for tool in TOOLS}
    if codes["canary"] != _FOUND:
        canary = _outcome(codes["canary"], told["canary"], limit)
        found["memcheck"] += f" (but it did not see a write out of bounds: {canary})"
    return found


def find():
    """Find the program: on the PATH, or where nvcc is."""
    nvcc = shutil.which("nvcc")
    folders = [Path(nvcc).resolve().parent] if nvcc else []
    folders += [folder.parent / "compute-sanitizer" for folder in folders]
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    return shutil.which("compute-sanitizer", path=path)


def _started(command, log):
    """Start a command in a session of its own: the program under the tool is its child."""
    # each tensor in memory of its own, so that what lies beside it is out of bounds
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    with open(log, "wb") as file:
        return subprocess.Popen(
            command, env=environment, stdout=file, stderr=file, start_new_session=True
        )


def _wait(process, ends):
    try:
        return process.wait(max(1.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None


def _end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _outcome(code, told, limit):
    lines = [line for line in told.splitlines() if line.strip()]
    if code == 0:
        return "clean"
    if code is None:
        seen = [line for line in lines if "========= " in line and "rror" in line][:5]
        last = [line for line in lines if " s  " in line][-1:]
        return "\n".join([f"not done after {limit:.0f} s", *last, *seen])
    return "\n".join([f"exit code {code}:", *lines[-12:]])


def _filter(program):
    """Ask for our kernels alone; the option has had two names."""
    told = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    for option in ("--kernel-name", "--kernel-regex"):
        if option in told.stdout + told.stderr:
            return [option, f"kns={NAMESPACE}"]
    return []
