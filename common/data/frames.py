"""The framing of RecordIO: how a record of bytes lies in a file (dmlc-core ``recordio.h``).

All numbers are little-endian. A frame is ``magic``, then a word with a part flag in its upper 3
bits and the length in its lower 29, then the bytes, padded to 4. A record that holds the magic
number at a multiple of 4 is split there, and the number itself left out: flag 1 for the first part,
2 between, 3 for the last; 0 is a record in one part.
"""

import os
import struct

from igc.errors import InputError

MAGIC = 0xCED7230A
FRAME = struct.Struct("<II")
MAX_LENGTH = (1 << 29) - 1
_MAGIC_BYTES = struct.pack("<I", MAGIC)
WHOLE, FIRST, MIDDLE, LAST = range(4)


def open_pack(path):
    """Open a pack for reading."""
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def padded(length):
    """Give the length with its padding."""
    return (length + 3) & ~3


def parse_frame(data, at, position, where):
    """Read the frame at `at` of `data`, which is byte `position` of the file."""
    if len(data) - at < FRAME.size:
        raise cut_short(where, position, FRAME.size, len(data) - at)
    magic, word = FRAME.unpack_from(data, at)
    if magic != MAGIC:
        raise InputError(
            f"{where} is damaged at byte {position}: "
            f"{magic:#010x} stands where {MAGIC:#010x} should; prepare the file anew"
        )
    return word >> 29, word & MAX_LENGTH


def check_flag(flag, inside, position, where):
    """Refuse a part flag that cannot stand where it does, within a record or outside."""
    if flag not in ((MIDDLE, LAST) if inside else (WHOLE, FIRST)):
        raise InputError(
            f"{where} is damaged at byte {position}: part flag {flag} cannot stand here; "
            "prepare the file anew"
        )


def cut_short(where, position, wanted, found):
    """Give the error for a frame that begins at byte `position` and is not all there."""
    return InputError(
        f"{where} is cut short at byte {position}: {found} bytes of {wanted} are there; "
        "copy or prepare the file anew"
    )


def join_parts(data, start, where):
    """Give the bytes of the record at the head of `data`, and how far it reaches."""
    at, parts = 0, []
    while True:
        flag, length = parse_frame(data, at, start + at, where)
        check_flag(flag, bool(parts), start + at, where)
        body = data[at + FRAME.size : at + FRAME.size + length]
        if len(body) < length:
            raise cut_short(where, start + at, length, len(body))
        parts.append(body)
        at += FRAME.size + padded(length)
        if flag in (WHOLE, LAST):
            return (body if len(parts) == 1 else _MAGIC_BYTES.join(parts)), at


def record_end(file, start, size, where):
    """Tell where the record at byte `start` ends, by its frames alone."""
    position, inside = start, False
    while True:
        frame = os.pread(file.fileno(), FRAME.size, position)
        flag, length = parse_frame(frame, 0, position, where)
        check_flag(flag, inside, position, where)
        step = FRAME.size + padded(length)
        if position + step > size:
            raise cut_short(where, position, step, size - position)
        position += step
        inside = flag in (FIRST, MIDDLE)
        if not inside:
            return position


def split_parts(body):
    """Frame a record, in several parts where it holds the magic number at a multiple of 4."""
    cuts, at = [], body.find(_MAGIC_BYTES)
    while at >= 0:
        if at % 4 == 0:
            cuts.append(at)
            at = body.find(_MAGIC_BYTES, at + 4)
        else:
            at = body.find(_MAGIC_BYTES, at + 1)
    begin = 0
    for number, cut in enumerate(cuts):
        yield _frame(MIDDLE if number else FIRST, body[begin:cut])
        begin = cut + 4
    yield _frame(LAST if cuts else WHOLE, body[begin:])


def _frame(flag, part):
    padding = b"\0" * (padded(len(part)) - len(part))
    return FRAME.pack(MAGIC, flag << 29 | len(part)) + part + padding
