"""What a shared library needs, read from its file without loading it (ELF, 64 bits)."""

import struct

_PROGRAM = struct.Struct("<IIQQQQQQ")
_ENTRY = struct.Struct("<qQ")
_LOAD, _DYNAMIC = 1, 2  # kinds of segments
_NEEDED, _STRINGS, _STRINGS_SIZE = 1, 5, 10  # kinds of entries


def needed(path):
    """List the libraries that the loader will look for when it loads this one.

    Parameters
    ----------
    path : str

    Returns
    -------
    list of str
        Their names, such as ``libcudart.so.11.0``.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it is no such library.
    """
    with open(path, "rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path}: no shared library for 64 bits")
        (start,) = struct.unpack_from("<Q", header, 32)
        (count,) = struct.unpack_from("<H", header, 56)
        file.seek(start)
        programs = list(_PROGRAM.iter_unpack(_exactly(file, count * _PROGRAM.size)))
        # of each: kind, flags, place in the file, address, physical address, bytes in the file, ...
        loads = [program for program in programs if program[0] == _LOAD]
        entries = []
        for program in programs:
            if program[0] == _DYNAMIC:
                file.seek(program[2])
                size = program[5] // _ENTRY.size * _ENTRY.size
                entries = list(_ENTRY.iter_unpack(_exactly(file, size)))
        facts = dict(entries)
        if _STRINGS not in facts or _STRINGS_SIZE not in facts:
            return []
        for _, _, place, address, _, size, _, _ in loads:
            if address <= facts[_STRINGS] < address + size:
                file.seek(place + facts[_STRINGS] - address)
        strings = _exactly(file, facts[_STRINGS_SIZE])
    return [
        strings[value : strings.index(b"\0", value)].decode()
        for kind, value in entries
        if kind == _NEEDED
    ]


def _exactly(file, count):
    content = file.read(count)
    if len(content) != count:
        raise ValueError(f"{file.name}: cut short")
    return content
