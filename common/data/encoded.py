"""Encoded images, looked at before a decoder gets them.

A decoder believes a header and allocates what it claims, and OpenCV pads an image that was cut
short with grey. JPEG and PNG are checked here; of other formats OpenCV itself refuses more than
`igc.data.MOST_PIXELS` pixels.
"""

import struct

from igc.data import MOST_PIXELS

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_JPEG_END = b"\xff\xd9"
_JPEG_SIZE, _PNG_SIZE, _PNG_CHUNK = (
    struct.Struct(">HH"),
    struct.Struct(">II"),
    struct.Struct(">I4s"),
)
_CHUNK_CHECKSUM = 4
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PIXELS_OF_BYTE = 4096  # a JPEG of one colour, as small as it gets, has some hundreds


def is_whole(payload):
    """Tell whether an image has its end and claims no more than it can hold.

    Parameters
    ----------
    payload : bytes

    Returns
    -------
    bool
        True also for formats that are not known here.
    """
    if payload[:2] == _JPEG:
        most = min(MOST_PIXELS, _PIXELS_OF_BYTE * len(payload))
        return _JPEG_END in payload and _jpeg_pixels(payload) <= most
    if payload[:4] == _PNG[:4]:
        return payload[:8] == _PNG and _png_pixels(payload) <= MOST_PIXELS and _has_chunks(payload)
    return len(payload) > 0


def _jpeg_pixels(payload):
    """Count the pixels that the frame header claims; 0 where there is none."""
    at = 2
    while (at := payload.find(b"\xff", at)) >= 0 and at + 9 <= len(payload):
        marker = payload[at + 1]
        if marker in _FRAME_MARKERS:
            height, width = _JPEG_SIZE.unpack_from(payload, at + 5)
            return height * width
        if marker == 0xFF:  # fills
            at += 1
        elif marker < 0x02 or 0xD0 <= marker <= 0xD8:  # stand alone
            at += 2
        else:
            at += 2 + int.from_bytes(payload[at + 2 : at + 4], "big")
    return 0


def _png_pixels(payload):
    """Count the pixels that the header chunk claims."""
    if len(payload) < 24:
        return 0
    width, height = _PNG_SIZE.unpack_from(payload, 16)
    return width * height


def _has_chunks(payload):
    """Tell whether every chunk is there in full, up to the last one."""
    at = len(_PNG)
    while at + _PNG_CHUNK.size <= len(payload):
        length, kind = _PNG_CHUNK.unpack_from(payload, at)
        at += _PNG_CHUNK.size + length + _CHUNK_CHECKSUM
        if kind == b"IEND":
            return at <= len(payload)
    return False
