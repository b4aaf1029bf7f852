"""Ending a run from outside: the batch is finished and a checkpoint written first."""

import contextlib
import os
import signal
import threading

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_asked = False


def asked():
    """Tell whether the run was asked to end: what it prints may then have no reader any more."""
    return _asked


class Stopped(Exception):
    """A run that ended because somebody asked for it; its text says how to go on.

    Attributes
    ----------
    code : int
        Exit code: 128 and the signal's number.
    """

    def __init__(self, message, number):
        super().__init__(message)
        self.code = 128 + number


class Stop:
    """Notes SIGTERM and SIGINT while its block runs, in place of ending at once.

    A second signal ends the process there and then; what is being written is left out, and what
    was saved before stays.

    Attributes
    ----------
    signal : signal.Signals or None
        The first that came.
    """

    def __init__(self):
        self.signal = None
        self._before = {}

    def __enter__(self):
        global _asked
        _asked = False
        # only the main thread may; elsewhere (a notebook's worker) signals are not ours to take
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if self.signal is not None:
            os._exit(128 + number)
        global _asked
        self.signal, _asked = signal.Signals(number), True
        line = f"{self.signal.name}: finishing this batch and saving; once more ends at once\n"
        with contextlib.suppress(OSError):  # Ctrl-C ends a reader such as tee, too
            os.write(2, line.encode())
