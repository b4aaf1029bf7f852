"""What a role tells about itself: that it lives, what it waits for, and that its work goes on.

The agent beside a role names a file in the environment. A thread writes a line to it every second,
and so do the functions here. Without that file they do nothing.
"""

import os
import threading
import time

FILE = "IGC_HEARTBEAT"
PREPARING, JOINING, JOINED = "preparing", "joining", "joined"

_INTERVAL = 1.0  # seconds


class _Pulse:
    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY)
        self._state, self._rank, self._steps, self._beats = JOINING, -1, 0, 0
        self._written = 0.0
        self._lock = threading.Lock()
        threading.Thread(target=self._beat, name="igc-heartbeat", daemon=True).start()

    def set(self, state, rank=-1):
        with self._lock:
            self._state, self._rank = state, rank
            self._write()

    def step(self):
        with self._lock:
            self._steps += 1
            if self._steps == 1 or time.monotonic() - self._written >= _INTERVAL / 2:
                self._write()

    def _beat(self):
        while True:
            with self._lock:
                self._write()
            time.sleep(_INTERVAL)

    def _write(self):
        self._beats += 1
        self._written = time.monotonic()
        line = f"{self._state:9} {self._rank:6} {self._steps:15} {self._beats:15}\n"
        os.pwrite(self._file, line.encode(), 0)


_pulse = None


def preparing():
    """Tell that this process lives and reads its flags and data; others may wait for it."""
    _tell(PREPARING)


def joining():
    """Tell that this process waits for the others."""
    _tell(JOINING)


def _tell(state):
    global _pulse
    if _pulse is None and FILE in os.environ:
        _pulse = _Pulse(os.environ[FILE])
    if _pulse is not None:
        _pulse.set(state)


def joined(rank):
    """Tell that the others are there too.

    Parameters
    ----------
    rank : int
        This process's number among the workers.
    """
    joining()
    if _pulse is not None:
        _pulse.set(JOINED, rank)


def step():
    """Tell that a piece of work is done, such as a batch."""
    if _pulse is not None:
        _pulse.step()
