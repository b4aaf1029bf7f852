"""The end of a log that is being written."""

import os
import sys

_LINES, _BYTES = 15, 8192


def last_lines(path, begin=0):
    """Give the last lines of a log, from a byte on; none where it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(begin, os.path.getsize(path) - _BYTES))
            return file.read().decode(errors="replace").splitlines()[-_LINES:]
    except OSError:
        return []


class Tail:
    """Prints a log as it grows, from a byte on."""

    def __init__(self, path, begin=0):
        self._file = open(path, "rb")  # noqa: SIM115  (as long as the job)
        self._file.seek(begin)

    def copy(self):
        """Print what has come since the last time."""
        while text := self._file.read(1 << 16):
            sys.stdout.write(text.decode(errors="replace"))
        sys.stdout.flush()
