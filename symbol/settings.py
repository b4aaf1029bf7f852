"""The settings that networks take: their help, defaults and what values they accept."""

import dataclasses
import typing

from igc.errors import InputError


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of a network; its name is the command line's flag, with underscores.

    Attributes
    ----------
    default : object
        The value when it is left out.
    help : str
        One line for the command line.
    convert : callable
        Takes a Python value or the text given on a command line and returns the value;
        raises `ValueError` with a phrase that says which values work.
    name : str
        Filled in when the network is registered.
    """

    default: object
    help: str
    convert: typing.Callable
    name: str = ""

    def read(self, value, network):
        """Convert a value; an `InputError` names network, setting and the values that work."""
        try:
            return self.convert(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"{network}: {self.name}={value!r} does not work: {error}") from None


def whole(minimum=1, maximum=100_000):
    """Accept whole numbers from `minimum` to `maximum`."""

    def convert(value):
        message = f"it must be a whole number, at least {minimum}"
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise ValueError(message) from None
        if isinstance(value, bool) or (not isinstance(value, str) and number != value):
            raise ValueError(message)
        if number < minimum:
            raise ValueError(message)
        if number > maximum:
            raise ValueError(f"it must be at most {maximum}")
        return number

    return convert


def positive(value):
    """Accept numbers above 0, up to 100."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or not 0 < number <= 100:
        raise ValueError("it must be a number above 0 and at most 100, such as 0.5, 1.0 or 1.4")
    return number


def choice(*values):
    """Accept one of `values`, or its text."""

    def convert(value):
        for allowed in values:
            if not isinstance(value, bool) and (
                value == allowed or (isinstance(value, str) and value == str(allowed))
            ):
                return allowed
        if len(values) == 1:
            raise ValueError(f"only {values[0]} exists")
        raise ValueError("choose " + " or ".join(str(allowed) for allowed in values))

    return convert


def switch(value):
    """Accept True and False, 1 and 0, or their text."""
    text = str(value).lower()
    if text in ("true", "1", "yes"):
        return True
    if text in ("false", "0", "no"):
        return False
    raise ValueError("choose 1 (on) or 0 (off)")


def subset(*values):
    """Accept some of `values`: a sequence, or text such as ``a+b``; ``none`` for none."""

    def convert(value):
        parts = value.split("+") if isinstance(value, str) else value
        chosen = () if value == "none" else tuple(parts)
        if len(set(chosen)) != len(chosen) or not set(chosen) <= set(values):
            raise ValueError(f"join some of {', '.join(values)} with +, or say none")
        return tuple(entry for entry in values if entry in chosen)

    return convert


def wholes(count=None, minimum=1):
    """Accept `count` whole numbers (None: one or more): a sequence, or text such as ``1,2,2``."""
    one = whole(minimum)
    how_many = "whole numbers" if count is None else f"{count} whole numbers"

    def convert(value):
        parts = value.split(",") if isinstance(value, str) else value
        try:
            numbers = tuple(one(part) for part in parts)
        except (TypeError, ValueError) as error:
            raise ValueError(f"it must be {how_many}; of one: {error}") from None
        if not numbers or count not in (None, len(numbers)):
            raise ValueError(f"it must be {how_many}, each at least {minimum}")
        return numbers

    return convert
