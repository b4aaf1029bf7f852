"""Progress of long work on standard error, with the rate and the time left."""

import contextlib
import sys
import time

import tqdm

_FIRST_LINE = 2.0  # seconds
_INTERVAL = 10.0


def bar(total, description, unit="images"):
    """Open a progress bar on standard error; where that is no terminal it stays silent.

    Parameters
    ----------
    total : int
        How many units the work has.
    description : str
        Stands before the bar.
    unit : str
        What is counted.

    Returns
    -------
    tqdm.tqdm
        `update(n)` and `close()`; a context manager.
    """
    return tqdm.tqdm(
        total=total,
        desc=description,
        unit=f" {unit}",
        unit_scale=True,
        leave=False,
        dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
    )


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
        with bar(total, label, unit) as shown:
            yield shown.update
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
        line = f"{label}: {done:,} {unit}, {_pace(rate, unit)}"
        if total:
            left = duration(max(total - done, 0) / rate)
            line += f", {100 * done // total} %, {left} left"
        print(line, file=sys.stderr, flush=True)

    yield advance


def _pace(rate, unit):
    return f"{rate:,.0f} {unit}/s" if rate >= 1 else f"{1 / rate:.1f} s each"


def duration(seconds):
    """Write a length of time for people: "48 s", "12 min", "3.4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
