"""The names of a detector's classes."""

import os

from igc.errors import InputError

_ORIGINAL = 90  # of the original's COCO


def find_class_names(given, count, pack):
    """Find the names of the classes.

    Parameters
    ----------
    given : str or None
        A file with a name in each line, or names separated by commas (``--class-names``).
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
        When the file cannot be read, or there are fewer names than classes.
    """
    beside = os.path.join(os.path.dirname(pack), "classes.txt")
    if given is None and not os.path.isfile(beside):
        return tuple(map(str, range(count or _ORIGINAL)))
    path = given or beside
    if given and not os.path.isfile(given) and ("," in given or not os.path.splitext(given)[1]):
        names = [name.strip() for name in given.split(",")]
    else:
        try:
            with open(path, encoding="utf-8") as file:
                names = [line.strip() for line in file if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: class names cannot be read ({error})") from None
    if not names or not all(names):
        raise InputError(f"--class-names {path}: names no class")
    if count is not None and count > len(names):
        raise InputError(f"--num-class {count}: {path} names only {len(names)} classes")
    return tuple(names[:count])
