"""Progress of long work on standard error: a bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time

from igc import progress

_FIRST_LINE = 2.0  # seconds
_INTERVAL = 10.0


@contextlib.contextmanager
def track(total, label, unit="items"):
    """Show how far some work is.

    Parameters
    ----------
    total : int or None
        How many units there are, where that is known.
    label : str
        What is being done.
    unit : str
        Name of the unit.

    Yields
    ------
    callable
        Call it with the number of units done since the last call. Off a terminal, work that ends
        within 2 seconds shows nothing.
    """
    if sys.stderr.isatty():
        with progress.bar(total, label, unit) as bar:
            yield bar.update
        return
    start = time.monotonic()
    done, due = 0, start + _FIRST_LINE

    def advance(count=1):
        nonlocal done, due
        done += count
        now = time.monotonic()
        if now < due:
            return
        due = now + _INTERVAL
        rate = done / (now - start)
        line = f"{label}: {done:,} {unit}, {rate:,.0f} {unit}/s"
        if total:
            left = progress.duration(max(total - done, 0) / rate)
            line += f", {100 * done // total} %, {left} left"
        print(line, file=sys.stderr, flush=True)

    yield advance
