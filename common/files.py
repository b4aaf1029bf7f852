"""Writing files so that nothing saved is ever lost or half-written."""

import contextlib
import glob
import os
import socket
import tempfile

from igc.errors import InputError

_MARK = ".writing-"  # in the names of files that are not complete


@contextlib.contextmanager
def atomic_write(path, mode="wb"):
    """Open a temporary file that takes the place of `path` only when it is complete and on disk.

    Parameters
    ----------
    path : str
        The file to write; its folder is made when it is missing.
    mode : {"wb", "w"}
        Binary or text (UTF-8).

    Yields
    ------
    file object

    Raises
    ------
    InputError
        When the file cannot be written (disk full, folder read-only, ...). What stood at `path`
        is then untouched.
    """
    path = os.fspath(path)
    temporary = None
    with _blaming(path):
        try:
            temporary = _temporary(path)
            with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
                yield file
                _sync(file)
            _put(temporary, path)
        finally:
            _remove(temporary)


def write_together(writers):
    """Write several files, of which none takes its place before all are complete and on disk.

    They take it in their order: the last one is there only when the others are.

    Parameters
    ----------
    writers : dict of str to callable
        For each path, what writes it: called with a file open for bytes, and a dict from the paths
        before it to the temporary files that are to take their place.

    Raises
    ------
    InputError
        When a file cannot be written. As a rule all is then as it was; when not even a name could
        be changed any more, the first files may be new.
    """
    written = {}
    try:
        for path, write in writers.items():
            with _blaming(path):
                written[path] = _temporary(path)
                with open(written[path], "wb") as file:
                    write(file, written)
                    _sync(file)
        for path, temporary in written.items():
            with _blaming(path):
                _put(temporary, path)
    finally:
        for temporary in written.values():
            _remove(temporary)


@contextlib.contextmanager
def _blaming(path):
    """Turn what the system refuses into the error that names the file."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{path}: is no ordinary file; choose another name")
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path}: cannot be written ({reason}); free some space or choose another folder"
        ) from error


def _temporary(path):
    """Make an empty file beside `path`; its name tells who writes it."""
    folder, name = os.path.split(path)
    os.makedirs(folder or ".", exist_ok=True)
    prefix = f".{name}{_MARK}{socket.gethostname()}-{os.getpid()}-"
    handle, temporary = tempfile.mkstemp(prefix=prefix, dir=folder or ".")
    os.close(handle)
    return temporary


def _sync(file):
    file.flush()
    os.fsync(file.fileno())


def _put(temporary, path):
    """Give a complete file its name, and put that on disk."""
    os.chmod(temporary, 0o666 & ~_umask())
    os.replace(temporary, path)
    with contextlib.suppress(OSError):  # some file systems cannot, and need not
        handle = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(temporary):
    if temporary is not None:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            os.remove(temporary)


def remove_leftovers(prefix):
    """Remove what `atomic_write` left when its process was killed.

    Parameters
    ----------
    prefix : str
        Path and beginning of the names of the files that were to be written.

    Notes
    -----
    Files of processes that still run, or ran on another machine, stay.
    """
    folder, name = os.path.split(prefix)
    here = f"{_MARK}{socket.gethostname()}-"
    for path in glob.glob(glob.escape(os.path.join(folder, f".{name}")) + f"*{glob.escape(here)}*"):
        process = path.rpartition(here)[2].partition("-")[0]
        if process.isdecimal() and not os.path.exists(f"/proc/{process}"):
            with contextlib.suppress(OSError):
                os.remove(path)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
