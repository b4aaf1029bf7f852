"""The process beside each role, on the role's machine: starts it, reports on it, ends it.

It reads orders on standard input: ``signal N`` for the role's process group, ``end`` to end it.
The end of the input, because the launcher or the connection to it is gone, means ``end`` too.
It reports on standard output, in lines that begin with `MARK`: ``started PID HOST``, ``beat STATE
RANK STEPS``, ``ended CODE``. What the role prints goes to standard error, which the launcher has
made the role's log.
"""

import argparse
import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

from igc import cores
from igc.launch import heartbeat

MARK = "igc-agent"  # a shell on another machine may print lines of its own

_INTERVAL = 0.2  # seconds between two looks at the heartbeat
_SET_PDEATHSIG = 1


def command(role_command, grace, share, threads, python=sys.executable):
    """Write the command line of an agent.

    Parameters
    ----------
    role_command : list of str
    grace : float
        Seconds between SIGTERM and SIGKILL.
    share : int
        How many roles share the machine's processors.
    threads : int
        Threads of the role; 0: by its share.
    python : str

    Returns
    -------
    list of str
    """
    settings = [f"--grace={grace:g}", f"--share={share}", f"--threads={threads}"]
    return [python, "-m", "igc.launch.agent", *settings, "--", *role_command]


def main(argv):
    """Run a role to its end, and end with its exit code (128 and the signal's number)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("--share", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(argv)
    handle, path = tempfile.mkstemp(prefix="igc-heartbeat-")
    os.close(handle)
    try:
        role = _start(options, path)
        if role is None:
            _say("ended 127")
            return 127
        _say(f"started {role.pid} {socket.gethostname()}")
        code = _attend(role, path, options.grace)
    finally:
        os.remove(path)
    _say(f"ended {code}")
    return code


def _start(options, path):
    threads = str(options.threads or max(1, cores() // options.share))
    environment = {
        **os.environ,
        heartbeat.FILE: path,
        "IGC_CORES": threads,
        "OMP_NUM_THREADS": threads,
        "PYTHONUNBUFFERED": "1",
    }
    libc, parent = ctypes.CDLL(None), os.getpid()

    def die_with_agent():
        if hasattr(libc, "prctl"):  # Linux
            libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(128 + signal.SIGKILL)

    try:
        return subprocess.Popen(
            options.command,
            stdin=subprocess.DEVNULL,
            stdout=2,
            env=environment,
            start_new_session=True,
            preexec_fn=die_with_agent,
        )
    except OSError as error:
        print(f"error: {options.command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return None


def _attend(role, path, grace):
    """Follow orders and report until the role has ended; give its exit code."""
    poll, ended = select.poll(), None
    poll.register(0, select.POLLIN)
    if hasattr(os, "pidfd_open"):  # wakes up at once when the role ends
        with contextlib.suppress(OSError):
            ended = os.pidfd_open(role.pid)
            poll.register(ended, select.POLLIN)
    deadline, orders, seen = None, b"", b""
    while role.poll() is None:
        seen = _tell_beat(path, seen)
        for descriptor, _ in poll.poll(1000 * _INTERVAL):
            if descriptor != 0:
                continue
            read = os.read(0, 4096)
            orders += read
            if not read:
                poll.unregister(0)
                orders += b"end\n"
        *lines, orders = orders.split(b"\n")
        for line in lines:
            word, _, number = line.decode().partition(" ")
            if word == "signal":
                _signal(role, int(number))
            elif deadline is None:
                deadline = time.monotonic() + grace
                _signal(role, signal.SIGTERM)
                _signal(role, signal.SIGCONT)  # a stopped process takes no other signal
        if deadline is not None and time.monotonic() > deadline:
            _signal(role, signal.SIGKILL)
    _tell_beat(path, seen)
    _signal(role, signal.SIGKILL)  # what it started and left behind
    return role.returncode if role.returncode >= 0 else 128 - role.returncode


def _tell_beat(path, seen):
    """Report the heartbeat when it is another than the one seen last; give it."""
    with open(path, "rb") as file:
        beat = file.read()
    if beat != seen:
        _say("beat " + " ".join(beat.decode().split()[:3]))
    return beat


def _signal(role, number):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(role.pid, number)


def _say(line):
    with contextlib.suppress(BrokenPipeError):  # nobody listens: the input has ended too
        os.write(1, f"{MARK} {line}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
