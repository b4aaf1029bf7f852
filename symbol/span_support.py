"""Asking the native library whether it can compute a program."""

import ctypes

from igc.errors import InputError

FUNCTION = "igc_span_supports"


def why_unsupported(program, channels):
    """Tell why the native operator cannot compute a program.

    Parameters
    ----------
    program : str
        As in ``src_operator/span/span.h``.
    channels : int
        Of the data.

    Returns
    -------
    str or None
        None when it can.

    Raises
    ------
    InputError
        When the native operator is not built.
    """
    reason = _function()(program.encode(), channels)
    return None if reason is None else reason.decode()


def _function():
    from igc.operator.library import LIBRARY

    try:
        function = getattr(ctypes.CDLL(str(LIBRARY)), FUNCTION)
    except (OSError, AttributeError):
        raise InputError(
            f"the native operator is not built ({LIBRARY} is missing, or older than this code): "
            "run 'make venv', or keep to MXNet's own operators"
        ) from None
    function.argtypes = (ctypes.c_char_p, ctypes.c_int64)
    function.restype = ctypes.c_char_p
    return function
