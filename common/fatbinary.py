"""Which GPUs a shared library has machine code for, read from its file without CUDA.

nvcc puts the code of each source file into the section ``.nv_fatbin``: a header (magic number,
version, its length, the length of what follows) and entries, of which each says whether it is
machine code or PTX, and for which architecture. The layout is not documented; it is as
``cuobjdump`` shows it for CUDA 11 and 13.
"""

import mmap
import struct
from dataclasses import dataclass

_SECTION = struct.Struct("<IIQQQQIIQQ")
_HEADER = struct.Struct("<IHHQ")  # magic, version, length of the header, of the entries
_ENTRY = struct.Struct("<HHIQ")  # kind, -, length of the entry's header, of its code
_MAGIC = 0xBA55ED50
_ARCHITECTURE = 28  # where it stands in an entry
_PTX, _MACHINE = 1, 2


@dataclass(frozen=True)
class Code:
    """What is there for GPUs.

    Attributes
    ----------
    machine : tuple of int
        Architectures with machine code, such as 86 for compute capability 8.6.
    ptx : tuple of int
        Those with code that a driver compiles for them and for later ones.
    """

    machine: tuple = ()
    ptx: tuple = ()

    def runs_on(self, major, minor):
        """Tell whether a GPU of compute capability major.minor can run it.

        Machine code runs on GPUs of its generation that are not older, PTX on all that are not.
        """
        capability = 10 * major + minor
        return any(arch // 10 == major and arch <= capability for arch in self.machine) or any(
            arch <= capability for arch in self.ptx
        )


def code_in(path):
    """Read which architectures a library has code for.

    Parameters
    ----------
    path : str

    Returns
    -------
    Code
        Empty where the library has none.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is no shared library of 64 bits, or damaged.
    """
    found = {_PTX: set(), _MACHINE: set()}
    with open(path, "rb") as file:
        if file.read(6) != b"\x7fELF\x02\x01":
            raise ValueError(f"{path}: no shared library for 64 bits")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                for start, size in _sections(content, b".nv_fatbin"):
                    for kind, arch in _entries(content, start, start + size):
                        found.setdefault(kind, set()).add(arch)
            except struct.error as error:
                raise ValueError(f"{path}: cut short") from error
    return Code(tuple(sorted(found[_MACHINE])), tuple(sorted(found[_PTX])))


def _sections(content, wanted):
    """Find the sections of a name: place and length of each."""
    (start,) = struct.unpack_from("<Q", content, 40)
    count, names = struct.unpack_from("<HH", content, 60)
    headers = [_SECTION.unpack_from(content, start + k * _SECTION.size) for k in range(count)]
    if names >= len(headers):
        return
    for name, _, _, _, place, size, *_ in headers:
        at = headers[names][4] + name
        if content[at : at + len(wanted) + 1] == wanted + b"\0":
            yield place, size


def _entries(content, at, end):
    """Go through the entries of a section: kind and architecture of each."""
    while at + _HEADER.size <= end:
        magic, _, header, size = _HEADER.unpack_from(content, at)
        if magic != _MAGIC:  # what fills up to the next one
            at += 8
            continue
        entry, last = at + header, at + header + size
        while entry + _ENTRY.size <= last:
            kind, _, length, code = _ENTRY.unpack_from(content, entry)
            (arch,) = struct.unpack_from("<I", content, entry + _ARCHITECTURE)
            yield kind, arch
            entry += max(length + code, _ENTRY.size)
        at = last
