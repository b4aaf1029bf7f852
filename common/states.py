"""Optimizer states as files (``.states``): the format of ``.params``, checked further.

Beside the buffers of the optimizer there are "updates", how many updates have been made, and
"schedule", where the schedule of the learning rate stands: whole numbers.
"""

import numpy as np

import igc.params
from igc.errors import InputError

_MOST_NUMBERS = 16
_LARGEST = 1 << 53  # what a float64 counts exactly


def load(path):
    """Read an optimizer's state.

    Parameters
    ----------
    path : str

    Returns
    -------
    dict of str to numpy.ndarray
        As from `igc.params.load`; "updates" is int64 of shape (1,), "schedule" of shape (n,), and
        none of their numbers is negative.

    Raises
    ------
    InputError
        When the file is missing or damaged, or holds no such state.
    """
    arrays = igc.params.load(path)
    odd = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if odd:
        raise InputError(
            f"{path}: {odd[0]!r} is sparse or bfloat16, as no optimizer's state here is; restore "
            "the file, or remove it to start with none"
        )
    for name, most in (("updates", 1), ("schedule", _MOST_NUMBERS)):
        numbers = arrays.get(name)
        if numbers is None:
            raise InputError(f"{path}: not an optimizer's state; remove it to start with none")
        counts = numbers.dtype == np.int64 and numbers.ndim == 1 and 1 <= numbers.size <= most
        if not counts or numbers.min() < 0 or numbers.max() > _LARGEST:
            raise InputError(
                f"{path}: its {name!r} is damaged, 1 to {most} whole numbers from 0 to 2^53 are "
                "wanted; restore the file, or remove it to start with none"
            )
    return arrays
