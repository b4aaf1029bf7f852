"""Writing files so that nothing saved is ever lost or half-written."""

import contextlib
import os
import tempfile

from igc.errors import InputError


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
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{path}: is no ordinary file; choose another name")
    folder = os.path.dirname(path) or "."
    temporary = None
    try:
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=folder)
        with open(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path}: cannot be written ({reason}); free some space or choose another folder"
        ) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.remove(temporary)


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
