"""MXNet's codes in the shapes of ``Reshape``."""

import math


def reshaped(shape, codes, reverse=False):
    """Work out the shape that a reshape gives.

    Parameters
    ----------
    shape : sequence of int
        Of the input.
    codes : sequence of int
        Lengths, and MXNet's codes: 0 keeps a length, -1 takes what is left over, -2 keeps all
        further lengths, -3 multiplies the next two, -4 splits the next one into the two that
        follow, of which one may be -1. Source: MXNet's documentation of ``reshape``.
    reverse : bool
        Whether the codes are matched from the right.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        When the codes ask for lengths that the input does not have.
    """
    if reverse:
        # from the right, the two lengths of a split stand before their code
        turned = list(reversed(shape)), list(_reversed(codes))
        return tuple(reversed(reshaped(*turned)))
    lengths, at, codes, inferred = [], 0, list(codes), None
    shape = list(shape)
    while codes:
        code = codes.pop(0)
        if code == -2:
            lengths += shape[at:]
            at = len(shape)
            continue
        if code in (0, -3, -4) and at + (code == -3) >= len(shape):
            raise ValueError(f"an input of {len(shape)} dimensions has not as many as are named")
        if code == 0:
            lengths.append(shape[at])
        elif code == -3:
            lengths.append(shape[at] * shape[at + 1])
            at += 1
        elif code == -4:
            first, second = codes.pop(0), codes.pop(0)
            first = shape[at] // second if first == -1 else first
            second = shape[at] // first if second == -1 else second
            if first * second != shape[at]:
                raise ValueError(f"{shape[at]} is not {first} times {second}")
            lengths += [first, second]
        elif code == -1:
            inferred = len(lengths)
            lengths.append(1)
        else:
            lengths.append(code)
        at += 1
    if inferred is not None:
        lengths[inferred] = math.prod(shape) // math.prod(lengths)
    return tuple(lengths)


def _reversed(codes):
    codes, turned = list(codes), []
    while codes:
        code = codes.pop(0)
        if code == -4:
            first, second = codes.pop(0), codes.pop(0)
            turned = [-4, second, first, *turned]
        else:
            turned = [code, *turned]
    return turned
