"""The text of a program: the layers of a native span, one statement each.

The format is that of ``src_operator/span/span.h``, which lists the statements. Numbers stay texts
here, so that nothing of them is lost between a graph and its program.
"""

import dataclasses

from igc.errors import InputError

# tensors that a statement reads, and numbers that follow them
WORDS = {
    "conv": (1, 9),
    "permute": (1, 1),
    "bn": (1, 3),
    "relu": (1, 0),
    "clip": (1, 2),
    "add": (2, 0),
    "maxpool": (1, 6),
    "avgpool": (1, 6),
    "globalpool": (1, 0),
    "dense": (1, 2),
}


@dataclasses.dataclass(frozen=True)
class Statement:
    """One layer of a program.

    Attributes
    ----------
    kind : str
        A key of `WORDS`.
    tensors : tuple of int
        What it reads: 0 is the data, i what statement i (from 1) makes.
    numbers : tuple of str
        The rest, in the order of span.h.
    """

    kind: str
    tensors: tuple
    numbers: tuple = ()

    @property
    def parameters(self):
        """How many parameters it has."""
        if self.kind == "bn":
            return 4
        if self.kind in ("conv", "dense"):
            return 1 + int(self.numbers[-1])
        return 0


def write_program(statements):
    """Write statements as a program's text."""
    return ";".join(" ".join([s.kind, *map(str, s.tensors), *s.numbers]) for s in statements)


def read_program(text, source):
    """Read a program's text.

    Parameters
    ----------
    text : str
    source : str
        What the messages call it.

    Returns
    -------
    list of Statement

    Raises
    ------
    InputError
        When a statement is not known, has too few or too many words, or reads a tensor that is
        not made before it. What the numbers mean is for the native operator to check.
    """
    statements = []
    for number, part in enumerate(text.split(";"), start=1):
        kind, *words = part.split() or [""]
        tensors, numbers = WORDS.get(kind, (0, -1))
        before = [str(tensor) for tensor in range(number)]
        if len(words) != tensors + numbers or not set(words[:tensors]) <= set(before):
            raise InputError(
                f"{source}: statement {number} of the program ({part.strip()}) is damaged; take "
                "the file from where it was written"
            )
        statements.append(Statement(kind, tuple(map(int, words[:tensors])), tuple(words[tensors:])))
        if kind in ("conv", "dense") and words[-1] not in ("0", "1"):
            raise InputError(
                f"{source}: statement {number} of the program ({part.strip()}) says neither 0 nor "
                "1 for its bias; take the file from where it was written"
            )
    return statements
