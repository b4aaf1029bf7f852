"""The classes of a detection pack: a name in each line of a file, in the order of their numbers."""

import glob
import os

from igc.detection.pack import check_class
from igc.errors import InputError

_ORIGINAL = 90  # classes of the original's COCO


def read(path, flag="--classes"):
    """Read names of classes.

    Parameters
    ----------
    path : str
    flag : str
        Where the path comes from, for messages.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        When the file cannot be read, is empty, or has a line that is empty or stands there twice.
    """
    try:
        with open(path, encoding="utf-8") as file:
            names = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise InputError(f"{flag} {path}: cannot be read ({reason})") from error
    while names and not names[-1]:
        names.pop()
    if not names:
        raise InputError(f"{flag} {path}: holds no name; write one of a class in each line")
    first = {}
    for line, name in enumerate(names, 1):
        check_class(name, f"{flag} {path}, line {line}")
        if first.setdefault(name, line) != line:
            raise InputError(f"{flag} {path}, line {line}: {name} is in line {first[name]} already")
    return names


def check_others(folder, written, names):
    """Check that packs that stay in a folder have the classes of those that join them.

    Parameters
    ----------
    folder : str
        The value of ``--out``.
    written : collection of str
        Paths of the packs that are to be written.
    names : list of str

    Raises
    ------
    InputError
        When another pack is there whose classes are others, or not known.
    """
    others = sorted(set(glob.glob(os.path.join(glob.escape(folder), "*.rec"))) - set(written))
    path = os.path.join(folder, "classes.txt")
    if others and not (os.path.exists(path) and read(path, "--out's") == list(names)):
        raise InputError(
            f"{others[0]}: is there from an earlier call, with other classes than these "
            f"{len(names)}; give --classes {path}, choose another --out, or remove it"
        )


def of_flag(given):
    """Read what ``--class-names`` was given.

    Parameters
    ----------
    given : str
        A file, or names separated by commas.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        As `read`.
    """
    if os.path.isfile(given) or ("," not in given and os.path.splitext(given)[1]):
        return read(given, "--class-names")
    names = [name.strip() for name in given.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise InputError(f"--class-names {given}: a name is empty or stands there twice")
    return names


def find(given, count, pack):
    """Find the names of a training's classes.

    Parameters
    ----------
    given : str or None
        A file, or names separated by commas (``--class-names``).
    count : int or None
        How many there are (``--num-class``).
    pack : str
        The training pack; ``classes.txt`` beside it is taken when nothing is given.

    Returns
    -------
    tuple of str
        Numbers where no names are known.

    Raises
    ------
    InputError
        As `read`, and when there are fewer names than classes.
    """
    beside = os.path.join(os.path.dirname(pack), "classes.txt")
    if given is None and not os.path.isfile(beside):
        return tuple(map(str, range(count or _ORIGINAL)))
    names = read(beside, "the classes") if given is None else of_flag(given)
    if count is not None and count > len(names):
        raise InputError(f"--num-class {count}: {given or beside} names only {len(names)} classes")
    return tuple(names[:count])
