"""Damage to files: what happens to bytes and to JSON, drawn from a random generator."""

import json
import random
import re
import struct

BYTE_DAMAGES = 12  # how many kinds `damage_bytes` chooses from
NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
NUMBERS += (1 << 32, 1 << 60, (1 << 63) - 1, -(1 << 63), (1 << 64) - 1, 1 << 20, 1 << 28)
FORMS = ("B", "H", "I", "Q")
TEXTS = ("", "x", "None", "True", "nan", "-inf", "1e308", "()", "(1,)", "((1, 2), 3)", "\0", "é")
TEXTS += ("\ud800", "a\nb", "data", "null", "-1", "0", "1.5", "(-1, -1)", "(0, 0)", "(2, 2, 2, 2)")
DEPTHS = (5, 900, 60_000)


def generator(seed, target, number):
    """Make the random generator of one file; the same for the same three values, anywhere."""
    return random.Random(f"{seed}:{target}:{number}")


def damage_bytes(rng, content, fields=()):
    """Damage a file once or a few times.

    Parameters
    ----------
    rng : random.Random
    content : bytes
    fields : sequence of int
        Where numbers stand in the file, which are then hit more often.

    Returns
    -------
    bytes
    """
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _damage_once(rng, damaged, fields)
    return bytes(damaged)


def _damage_once(rng, data, fields):
    kind = rng.randrange(BYTE_DAMAGES)
    size = len(data)
    at = rng.randrange(size) if size else 0
    if kind == 0 and size:  # a bit
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and size:  # a byte
        data[at] = rng.randrange(256)
    elif kind == 2:  # cut short
        del data[at:]
    elif kind == 3:  # bytes after the end
        data += rng.randbytes(rng.randrange(1, 40))
    elif kind == 4:  # a piece is missing
        del data[at : at + rng.randrange(1, 64)]
    elif kind == 5:  # a piece stands there twice
        piece = data[at : at + rng.randrange(1, 64)]
        data[at:at] = piece
    elif kind == 6 and size:  # two pieces change places
        other, length = rng.randrange(size), rng.randrange(1, 32)
        first, second = data[at : at + length], data[other : other + length]
        data[at : at + len(second)], data[other : other + len(first)] = second, first
    elif kind == 7:  # garbage in between
        data[at:at] = rng.randbytes(rng.randrange(1, 64))
    elif kind == 8 and size:  # a piece of zeros or ones
        length = min(rng.randrange(1, 64), size - at)
        data[at : at + length] = bytes([rng.choice((0, 255))]) * length
    else:  # a number that means trouble, at a field or anywhere
        form = rng.choice(FORMS)
        width = struct.calcsize("<" + form)
        place = rng.choice(fields) if fields and rng.random() < 0.8 else at
        number = rng.choice(NUMBERS) & ((1 << 8 * width) - 1)
        data[place : place + width] = struct.pack("<" + form, number)


def damage_json(rng, text, words=()):
    """Damage a JSON file: its values, keys and nesting, and now and then its bytes.

    Parameters
    ----------
    rng : random.Random
    text : bytes
    words : sequence of str
        Texts of this kind of file that other places may get, such as names of operators.

    Returns
    -------
    bytes
    """
    if rng.random() < 0.2:
        return damage_bytes(rng, text)
    data = json.loads(text)
    deep = []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = _damage_value(rng, data, words, deep)
    damaged = json.dumps(data)
    for depth in deep:  # json.dumps itself stops at such depths
        damaged = damaged.replace('"DEEP"', "[" * depth + "]" * depth, 1)
    return damaged.encode("utf-8", "surrogatepass")


def _damage_value(rng, data, words, deep):
    places = list(_places(data))
    if not places:
        return _other(rng, data, words, deep)
    holder, key = rng.choice(places)
    value = holder[key]
    kind = rng.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), value)
    elif kind == 2:
        other, place = rng.choice(places)
        if place in other if isinstance(other, dict) else place < len(other):
            # a copy: no value may hold itself
            holder[key] = json.loads(json.dumps(other[place]))
    elif kind == 3 and isinstance(holder, list):
        rng.shuffle(holder)
    elif kind == 4 and isinstance(holder, dict):
        holder[rng.choice((*TEXTS, *words))] = value
    else:
        holder[key] = _other(rng, value, words, deep)
    return data


def _places(data):
    """List (holder, key) of every value."""
    holders = [data]
    while holders:
        holder = holders.pop()
        if isinstance(holder, dict):
            pairs = holder.items()
        elif isinstance(holder, list):
            pairs = enumerate(holder)
        else:
            continue
        for key, value in list(pairs):
            yield holder, key
            holders.append(value)


def _other(rng, value, words, deep):
    """Give another value in place of one, mostly of its own kind."""
    if rng.random() < 0.7:
        if isinstance(value, str):
            return _other_text(rng, value, words)
        if isinstance(value, int):
            return rng.choice((value + 1, value - 1, -value, value * 1000, *NUMBERS, 10**400))
        if isinstance(value, float):
            return rng.choice((-value, 0.0, 1e308, float("nan"), float("inf"), value * 1e9))
    choice = rng.randrange(9)
    if choice == 0:
        deep.append(rng.choice(DEPTHS))
        return "DEEP"
    return (
        None,
        None,
        rng.random() < 0.5,
        rng.choice((*NUMBERS, 10**400)),
        rng.choice((1.5, -0.0, 1e308, float("nan"))),
        rng.choice((*TEXTS, *words, "y" * 100_000)),
        [],
        {},
        [value, value],
    )[choice]


def _other_text(rng, text, words):
    if words and rng.random() < 0.3:
        return rng.choice(words)
    numbers = list(re.finditer(r"-?\d+(\.\d+)?", text))
    if numbers and rng.random() < 0.8:
        found = rng.choice(numbers)
        return (
            text[: found.start()]
            + str(rng.choice((*NUMBERS, 3, 5, 0.5, None)))
            + text[found.end() :]
        )
    if rng.random() < 0.5:
        return rng.choice(TEXTS)
    at = rng.randrange(len(text) + 1)
    return rng.choice((text[:at], text[at:], text + text, text[:at] + "?" + text[at:]))
