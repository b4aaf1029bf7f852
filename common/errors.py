"""The error that a user can mend, and the warning that one should read."""


class InputError(ValueError):
    """Bad input: a flag, file, record or shape that the user can put right.

    The message is one line that names the culprit and the way out. The commands print it without a
    traceback and exit with code 2 (`igc.cli.run`). Names from files may hold anything: what is no
    printable character is written as its escape.
    """

    def __init__(self, message=""):
        super().__init__(_printable(message))


def _printable(message):
    text = str(message)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class InputWarning(UserWarning):
    """Input that works, though not as it looks; the commands print it as one line."""
