"""Packages that only some commands need."""

import importlib

from igc.errors import InputError


def require(name, extra):
    """Import a package of an extra.

    Parameters
    ----------
    name : str
        The module.
    extra : str
        The extra of setup.py that brings it.

    Returns
    -------
    module

    Raises
    ------
    InputError
        When it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise InputError(
            f"{name} is not installed: pip install -e '.[{extra}]' in this folder brings it"
        ) from None
