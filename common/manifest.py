"""The manifest of a checkpoint: which files it has, with their sha256, and where the run stood.

It is written last, so that a checkpoint with a manifest is complete. JSON, such as::

    {"format": 1, "run": "5f0c…", "files": {"net-0003.params": {"bytes": 1234, "sha256": "…"}},
     "standing": {"epoch": 3, …}, "sha256": "…"}

The last entry is the hash of the others, written as `json.dumps` with sorted keys.
"""

import hashlib
import json
import os
from dataclasses import dataclass

from igc.errors import InputError
from igc.standing import Standing

FORMAT = 1
_LARGEST = 1 << 20  # bytes; ours have about one thousand
# what reading something else ends with
_NOT_ONE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Attributes
    ----------
    path : str
    run : str
        Identifies the run that wrote the checkpoint.
    files : dict of str to (int, str)
        Bytes and sha256 of each file, by its name; all lie beside the manifest.
    standing : igc.standing.Standing
    """

    path: str
    run: str
    files: dict
    standing: Standing


def write(file, run, written, standing):
    """Write a manifest over files that are complete.

    Parameters
    ----------
    file : file object
        Open for bytes.
    run : str
    written : dict of str to str
        By the path that each file will have, in the manifest's folder, the one that it has.
    standing : igc.standing.Standing
    """
    content = {
        "format": FORMAT,
        "run": run,
        "files": {
            os.path.basename(path): {"bytes": os.path.getsize(now), "sha256": _sha256(now)}
            for path, now in written.items()
        },
        "standing": standing.to_json(),
    }
    content["sha256"] = _sha256_of(content)
    file.write(json.dumps(content, indent=1).encode() + b"\n")


def read(path):
    """Read a manifest.

    Parameters
    ----------
    path : str

    Returns
    -------
    Manifest

    Raises
    ------
    InputError
        When it cannot be read or is none.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise ValueError(f"more than {_LARGEST:,} bytes")
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {str(content['format'])[:20]}, not {FORMAT}")
        said = content.pop("sha256")
        if said != _sha256_of(content):
            raise ValueError("altered: its own sha256 is another one")
        run, files = content["run"], content["files"]
        if not isinstance(run, str) or not files:
            raise ValueError("no run or no files")
        files = {_plain(name): _checked(entry) for name, entry in files.items()}
        return Manifest(path, run, files, Standing.from_json(content["standing"]))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except _NOT_ONE as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path}: is no checkpoint's manifest ({reason})") from error


def verify(manifest, only=None):
    """Compare the files with what the manifest says of them.

    Parameters
    ----------
    manifest : Manifest
    only : collection of str, optional
        Paths of the files to look at, in the manifest's folder; default: all. One that is there
        and is not in the manifest is refused.

    Raises
    ------
    InputError
        Names the file that is missing, cut short or altered.
    """
    folder = os.path.dirname(manifest.path)
    names = manifest.files if only is None else {os.path.basename(path) for path in only}
    for name in sorted(set(names) - set(manifest.files)):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            raise InputError(f"{path}: is not among the files of {manifest.path}")
    for name, (size, digest) in manifest.files.items():
        path = os.path.join(folder, name)
        if name not in names:
            continue
        try:
            found = os.path.getsize(path)
            if found != size:
                raise InputError(f"{path}: is cut short or altered: {found:,} of {size:,} bytes")
            if _sha256(path) != digest:
                raise InputError(f"{path}: is altered: its sha256 is not {manifest.path}'s")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _sha256_of(content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _plain(name):
    if name in ("", ".", "..") or os.path.basename(name) != name or not name.isprintable():
        raise ValueError(f"{name!r} is no file's name")
    return name


def _checked(entry):
    size, digest = entry["bytes"], entry["sha256"]
    if type(size) is not int or size < 0:
        raise ValueError("a size is no number of bytes")
    if not isinstance(digest, str) or len(digest) != 64:
        raise ValueError("a sha256 is none")
    return size, digest
