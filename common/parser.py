"""The parser of every command line."""

import argparse

from igc.errors import InputError


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all errors of the commands."""

    def __init__(self, description, epilog=None):
        super().__init__(
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message):
        """Raise InputError in place of printing the whole usage."""
        raise InputError(f"{message} (see --help)")
