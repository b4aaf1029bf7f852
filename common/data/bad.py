"""Which records of a pack are bad: what verification found, in a small file beside the pack.

``FILE.rec.bad.json`` holds size and time of the pack that it belongs to, so that it is not believed
once the pack has changed.
"""

import json
import os
import sys
from dataclasses import dataclass

from igc.errors import InputError
from igc.files import atomic_write

SHOWN = 20


@dataclass(frozen=True)
class Bad:
    """The bad records of a pack.

    Attributes
    ----------
    records : int
        How many there are, good and bad; a gap without any record counts as one.
    reasons : dict of int to str
        Number of a bad record -> what is wrong with it.
    num_classes : int or None
        Labels had to be less; None: any class was right.
    broken : bool
        Whether the pack cannot be opened by its index: bytes belong to no record, or the first or
        last one is no record of an image.
    """

    records: int
    reasons: dict
    num_classes: int | None
    broken: bool

    def line(self, path_rec):
        """Say in one line what is left out."""
        if not self.reasons:
            return f"all {self.records:,} records of {path_rec} are sound"
        return (
            f"{len(self.reasons):,} of {self.records:,} records of {path_rec} are damaged and left "
            f"out: {numbers(self.reasons)}"
        )


def numbers(values):
    """List numbers, the first ones."""
    values = sorted(values)
    more = f" and {len(values) - SHOWN:,} more" if len(values) > SHOWN else ""
    return ", ".join(map(str, values[:SHOWN])) + more


def path_of(path_rec):
    """Give the path of the file that tells a pack's bad records."""
    return f"{os.fspath(path_rec)}.bad.json"


def keep(path_rec, bad):
    """Write what was found; where that cannot be, say so and go on.

    Parameters
    ----------
    path_rec : str
    bad : Bad

    Returns
    -------
    bool
        Whether it is written.
    """
    content = {
        **_stamp(path_rec),
        "records": bad.records,
        "num_classes": bad.num_classes,
        "broken": bad.broken,
        "bad": [{"record": n, "reason": bad.reasons[n]} for n in sorted(bad.reasons)],
    }
    try:
        with atomic_write(path_of(path_rec), "w") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
    except InputError as error:
        print(f"{error}; until then the pack is verified each time", file=sys.stderr)
        return False
    return True


def read(path_rec, num_classes=None):
    """Read what was found earlier.

    Parameters
    ----------
    path_rec : str
    num_classes : int or None
        What the labels must be less than.

    Returns
    -------
    Bad or None
        None when nothing is kept, or not of the pack as it is now and of these classes.

    Raises
    ------
    InputError
        When the file is damaged; says how to go on.
    """
    path = path_of(path_rec)
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {_WAY_OUT}") from error
    if not _is_sound(content):
        raise InputError(f"{path}: is damaged; {_WAY_OUT}")
    stamp = _stamp(path_rec)
    if {name: content[name] for name in stamp} != stamp or content["num_classes"] != num_classes:
        return None
    return Bad(
        content["records"],
        {entry["record"]: entry["reason"] for entry in content["bad"]},
        num_classes,
        content["broken"],
    )


_WAY_OUT = "remove it, the pack is then verified anew"


def _stamp(path_rec):
    status = os.stat(path_rec)
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _is_sound(content):
    def whole(value, least=0):
        return type(value) is int and least <= value < 1 << 63

    return (
        isinstance(content, dict)
        and all(whole(content.get(name)) for name in ("bytes", "modified_ns"))
        and whole(content.get("records"), 1)
        and "num_classes" in content
        and (content["num_classes"] is None or whole(content["num_classes"], 1))
        and isinstance(content.get("broken"), bool)
        and isinstance(content.get("bad"), list)
        and all(
            isinstance(entry, dict)
            and whole(entry.get("record"))
            and entry["record"] < content["records"]
            and isinstance(entry.get("reason"), str)
            for entry in content["bad"]
        )
    )
