"""Read annotations of PASCAL VOC: an XML file for each image.

VOC counts pixels from 1, and both ends of a box belong to it: a box over all of an image that is
500 wide has xmin 1 and xmax 500. Its edges are therefore xmin - 1 and xmax, so that its width is
xmax - xmin + 1, as in the areas of VOC's own evaluation (development kit, ``VOCevaldet.m``).
"""

import os
import xml.etree.ElementTree as ElementTree

from igc.data.threads import ordered_map
from igc.detection.pack import Object, image_path, number, picture
from igc.errors import InputError
from igc.progress import track

SETS = {"train": ["trainval"], "val": ["test"]}
_LISTS = os.path.join("ImageSets", "Main")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read(folder, sets, rules, threads):
    """Read the annotations of some images.

    Parameters
    ----------
    folder : str
        Holds ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``; or folders that do.
    sets : list of str
        Names of the lists in ``ImageSets/Main``, after their folder where `folder` holds several
        ("VOC2007/trainval").
    rules : igc.detection.pack.Rules
    threads : int

    Returns
    -------
    list of igc.detection.pack.Picture

    Raises
    ------
    InputError
        When a list, an annotation or an image is missing or damaged, or a box is not sound; names
        the file and the object, counted from 1.
    """
    entries = []
    for name in sets:
        year, name = os.path.split(name)
        root = os.path.join(folder, year)
        entries += [(root, line) for line in _read_list(root, name)]
    with track(len(entries), f"reading {' and '.join(sets)}", "annotations") as progress:
        pictures = []
        for found in ordered_map(lambda entry: read_annotation(*entry, rules), entries, threads):
            pictures.append(found)
            progress(1)
    return pictures


def class_names(pictures):
    """Give the classes that occur, sorted: for all of VOC that is its own order of the twenty."""
    return sorted({name for entry in pictures for name in entry.names})


def read_annotation(folder, name, rules):
    """Read the annotation of an image.

    Parameters
    ----------
    folder : str
        Holds ``Annotations`` and ``JPEGImages``.
    name : str
        Of the annotation, without ``.xml``.
    rules : igc.detection.pack.Rules

    Returns
    -------
    igc.detection.pack.Picture
    """
    path = os.path.join(folder, "Annotations", f"{name}.xml")
    try:
        with open(path, "rb") as file:
            root = ElementTree.fromstring(file.read())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(
            f"{path}: is damaged or no XML ({error}); mend it, or take it out of its list"
        ) from error
    image = image_path(os.path.join(folder, "JPEGImages"), _text(root, "filename", path), path)
    size = tuple(_side(root, side, path) for side in ("width", "height"))
    objects = root.findall("object")
    if not objects and not rules.skip_empty:
        raise InputError(
            f"{path}: holds no object; annotate one, or give --skip-empty to leave such images out"
        )
    read_objects = (_object(entry, f"{path}, object {k}") for k, entry in enumerate(objects, 1))
    return picture(image, path, size, read_objects, rules)


def _read_list(root, name):
    """Give the names of the images of a list."""
    path = os.path.join(root, _LISTS, f"{name}.txt")
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.split() for line in file if not line.isspace()]
    except FileNotFoundError as error:
        folder = os.path.dirname(path)
        there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        # A class's own lists (cat_train.txt) say for every image whether it has one.
        lists = [n[:-4] for n in there if n.endswith(".txt") and "_" not in n]
        shown = f"the lists there: {', '.join(lists)}" if lists else "no list is there"
        raise InputError(
            f"{path}: no such list; choose others with --sets train=LIST,val=LIST ({shown})"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise InputError(f"{path}: cannot be read ({reason})") from error
    if not lines:
        raise InputError(f"{path}: names no image; choose another list with --sets")
    for line in lines:
        if len(line) != 1:
            raise InputError(
                f"{path}: {' '.join(line)!r} is no name of an image alone (a list of one class?); "
                "choose another list with --sets"
            )
    return [line[0] for line in lines]


def _text(element, tag, where):
    found = element.find(tag)
    text = "" if found is None or found.text is None else found.text.strip()
    if not text:
        raise InputError(f"{where}: has no <{tag}>; add it")
    return text


def _side(root, side, path):
    text = _text(root, f"size/{side}", path)
    value = number(text)
    if value is None or value < 1 or value != int(value):
        raise InputError(f"{path}: <size> has the {side} {text}; write the image's, in pixels")
    return int(value)


def _object(element, where):
    name = _text(element, "name", where)
    told, values = [], []
    for tag in _CORNERS:
        text = _text(element, f"bndbox/{tag}", where)
        value = number(text)
        if value is None:
            raise InputError(f"{where}: <{tag}> is {text}, which is no number; correct it")
        told.append(f"{tag} {text}")
        values.append(value)
    difficult = element.find("difficult")
    text = "0" if difficult is None else (difficult.text or "").strip()
    if text not in ("0", "1"):
        raise InputError(f"{where}: <difficult> is {text!r}; write 0 or 1")
    left, top, right, bottom = values
    shown = f"({', '.join(told)}; VOC counts from 1)"
    return Object(where, name, (left - 1, top - 1, right, bottom), text == "1", shown)
