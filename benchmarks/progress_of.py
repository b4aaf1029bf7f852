"""Progress of the cases on standard error, with the time left."""

import sys
import time

from igc.progress import duration

_INTERVAL = 10.0  # between lines where standard error is no terminal


class Progress:
    """What is being done and how long the rest takes.

    Parameters
    ----------
    weights : list of float
        What share of the work each case is expected to be.
    """

    def __init__(self, weights):
        self._weights = weights
        self._start = time.monotonic()
        self._done = 0
        self._due = 0.0
        self._terminal = sys.stderr.isatty()

    def case(self, title):
        """Give the function that reports the work on the next case: words, share done."""

        def report(words, share):
            now = time.monotonic()
            if not self._terminal and now < self._due:
                return
            self._due = now + _INTERVAL
            place = f"[{self._done + 1}/{len(self._weights)}] {title}: {words}"
            self._write(place + self._left(share, now))

        return report

    def finished(self):
        """Tell that a case is done."""
        self._done += 1
        self._clear()

    def _left(self, share, now):
        total = sum(self._weights)
        done = sum(self._weights[: self._done]) + share * self._weights[self._done]
        if done < 0.02 * total:
            return ""
        return f"; about {duration((now - self._start) * (total - done) / done)} left"

    def _write(self, line):
        if self._terminal:
            print(f"\r\x1b[K{line[:150]}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _clear(self):
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
