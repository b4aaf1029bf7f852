"""Launching several processes from a test."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = Path(__file__).resolve().parent


def command(*arguments, program, flags=()):
    """Write the command line of launch.py over a program in tests/ or at the top."""
    place = TESTS / program if (TESTS / program).exists() else ROOT / program
    launch = [sys.executable, str(ROOT / "launch.py"), "--log-dir=logs", *arguments]
    return [*launch, "--", sys.executable, str(place), *map(str, flags)]


def start(line, cwd, **environment):
    """Start a command; its output is in the file `printed`."""
    with open(Path(cwd) / "printed", "ab") as file:
        return subprocess.Popen(
            line,
            cwd=cwd,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )


def printed(cwd):
    return (Path(cwd) / "printed").read_text()


def finish(process, cwd, timeout=120):
    """Wait for the end of a job; give its exit code and what it printed."""
    try:
        return process.wait(timeout), printed(cwd)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def wait_for(condition, timeout=60):
    """Wait until a function gives something; give that."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout} s: {condition}")


def processes(cwd):
    """Read the processes of a job's roles off the launcher's lines: name -> pid."""
    found = {}
    for line in printed(cwd).splitlines():
        name, colon, rest = line.partition(": process ")
        if colon:
            found[name] = int(rest.split()[0])
    return found


def alive(pid):
    """Tell whether a process runs (a zombie does not)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
