"""A bar with images per second and the time left, on a terminal only."""

import sys

import tqdm


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


def duration(seconds):
    """Write a length of time for people: "48 s", "12 min", "3.4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
