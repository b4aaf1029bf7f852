"""Read annotations of COCO: one JSON file for all images of a part.

A box is x, y, width and height in pixels, 0 being the image's left and upper edge. The numbers of
the categories have holes (90 for 80 of them); in the order of these numbers they become classes
from 0 on. A crowd (``iscrowd``) becomes a difficult box: COCO's evaluation counts neither finding
it nor missing it, as VOC's does with difficult ones.
"""

import json
import os
from collections import defaultdict

from igc.data import MOST_PIXELS
from igc.detection.pack import Object, check_class, image_path, number, picture
from igc.errors import InputError
from igc.progress import track

SETS = {"train": ["train2017"], "val": ["val2017"]}
_MOST = 2**63  # what a record's number can be


def places(folder, name):
    """Give the annotations and the folder of the images of a part, as COCO lays them out."""
    return os.path.join(folder, "annotations", f"instances_{name}.json"), os.path.join(folder, name)


def read(path, images, rules):
    """Read an annotation file.

    Parameters
    ----------
    path : str
        The JSON file.
    images : str
        Folder of the images.
    rules : igc.detection.pack.Rules

    Returns
    -------
    pictures : list of igc.detection.pack.Picture
        In the order of the file; those without a box too. `id` is COCO's.
    names : list of str
        The file's categories, in the order of their numbers.

    Raises
    ------
    InputError
        When the file is damaged, misses something, an image is missing, or a box is not sound;
        names the file and the annotation's id.
    """
    content = _load(path)
    for key in ("images", "annotations", "categories"):
        entries = content.get(key)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{path}: has no list {key!r} of objects; take a file of instances")
        if not entries:
            raise InputError(f"{path}: its list {key!r} is empty; take a file of instances")
    categories = _by_id(content["categories"], "category", path)
    for key, entry in categories.items():
        check_class(entry.get("name"), f"{path}, category {key}")
    names = [categories[key]["name"] for key in sorted(categories)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: two categories are called {twice}; rename one")
    pictures = _by_id(content["images"], "image", path)
    objects = defaultdict(list)
    for key, entry in _by_id(content["annotations"], "annotation", path).items():
        where = f"{path}, annotation {key}"
        image, category = (_known(entry, *what, where) for what in _what(pictures, categories))
        objects[image].append((entry, categories[category]["name"], where))
    found = []
    with track(len(pictures), f"reading {os.path.basename(path)}", "images") as progress:
        for key, entry in pictures.items():
            where = f"{path}, image {key}"
            file, size = _file(entry, images, where)
            of_image = (_object(*what) for what in objects[key])
            found.append(picture(file, where, size, of_image, rules, key))
            progress(1)
    return found, names


def _load(path):
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file, object_hook=_without_outline)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged or no JSON ({error}); fetch it anew") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no JSON object; take a file of instances")
    return content


def _without_outline(entry):
    """Drop the polygons as they are read: of COCO's largest file they would take gigabytes."""
    entry.pop("segmentation", None)
    return entry


def _is_id(value):
    return type(value) is int and 0 <= value < _MOST


def _by_id(entries, what, path):
    """Key entries by their ids."""
    found = {}
    for place, entry in enumerate(entries):
        key = entry.get("id")
        if not _is_id(key):
            raise InputError(
                f"{path}: {what} at place {place} has the id {key!r}; give it a number"
            )
        if key in found:
            raise InputError(f"{path}: the id {key} is that of more than one {what}; renumber one")
        found[key] = entry
    return found


def _what(pictures, categories):
    return ("image_id", pictures, "images"), ("category_id", categories, "categories")


def _known(entry, key, known, where_from, where):
    value = entry.get(key)
    if not _is_id(value) or value not in known:
        raise InputError(f"{where}: its {key} is {value!r}, which is not among the {where_from}")
    return value


def _file(entry, folder, where):
    """Give path and size (width, height) of an image."""
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: has no file_name; add it")
    size = entry.get("width"), entry.get("height")
    if not all(type(side) is int and 0 < side <= MOST_PIXELS for side in size):
        raise InputError(
            f"{where}: is {size[0]!r} x {size[1]!r} pixels; write its width and height"
        )
    return image_path(folder, name, where), size


def _object(entry, name, where):
    box = entry.get("bbox")
    values = [number(value) for value in box] if isinstance(box, list) else []
    if len(values) != 4 or None in values:
        raise InputError(f"{where}: its bbox is {box!r}; four numbers are wanted: x, y, w, h")
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise InputError(f"{where}: its iscrowd is {crowd!r}; write 0 or 1")
    x, y, width, height = values
    return Object(where, name, (x, y, x + width, y + height), bool(crowd), f"{box}")
