"""Telling an MXNet that cannot be imported from a bug, for the commands' one line."""

import os
import sys
import traceback


def failure(error):
    """Say what is wrong when an error comes from importing MXNet.

    Parameters
    ----------
    error : Exception
        With its traceback.

    Returns
    -------
    str or None
        None: it comes from elsewhere.
    """
    if sys.modules.get("mxnet") is not None:
        return None
    words = str(error).splitlines() or [""]
    if isinstance(error, ModuleNotFoundError) and error.name == "mxnet":
        return "MXNet is not installed; python doctor.py says how to mend it"
    ending = os.path.join("mxnet", "__init__.py")
    files = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))
    if any(file.endswith(ending) for file in files):
        return (
            f"MXNet does not import ({type(error).__name__}: {words[0]}); python doctor.py says "
            "how to mend it"
        )
    return None
