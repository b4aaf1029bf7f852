"""Pack annotated images for detection: what the annotations of PASCAL VOC and of COCO share.

Edges are those of the pixels: in an image that is 500 wide, a box over all of it goes from 0 to
500, as fractions from 0 to 1. A JPEG or PNG file is packed byte by byte unless another size or
quality is asked for.
"""

import contextlib
import math
import os
from dataclasses import dataclass

import numpy as np

from igc.data import folders, recordio
from igc.data.draws import permutation
from igc.data.threads import ordered_map
from igc.detection.boxes import EDGE_TOLERANCE
from igc.detection.boxes import pack as pack_boxes
from igc.errors import InputError
from igc.progress import track


@dataclass(frozen=True)
class Rules:
    """What annotations may be.

    Attributes
    ----------
    known : frozenset of str or None
        The classes of ``--classes``; None: any.
    clip : bool
        Whether boxes that lie outside of their image are cut to it; else they are errors.
    skip_empty : bool
        Whether boxes without area, and VOC's annotations without objects, are left out; else they
        are errors.
    """

    known: frozenset | None = None
    clip: bool = False
    skip_empty: bool = False


@dataclass(frozen=True)
class Object:
    """An object as its annotation tells it.

    Attributes
    ----------
    where : str
        File and number, for messages.
    name : str
        Its class.
    corners : tuple of float
        Left, top, right and bottom edge in pixels, 0 being the image's left and upper edge.
    difficult : bool
    told : str
        The numbers that stand in the file, for messages.
    """

    where: str
    name: str
    corners: tuple
    difficult: bool
    told: str


@dataclass(frozen=True)
class Picture:
    """An image to pack, with its boxes.

    Attributes
    ----------
    path : str
        The image file.
    where : str
        Its annotation, for messages.
    size : (int, int)
        Width and height in pixels, as annotated.
    names : list of str
        The class of each box.
    boxes : numpy.ndarray of float32, shape (boxes, 5)
        Left, top, right and bottom edge as fractions of width and height, difficult.
    clipped, empty : int
        Boxes that were cut to the image; that were left out because they have no area.
    id : int, optional
        Number of the image, kept in the record. Default: that of the record.
    """

    path: str
    where: str
    size: tuple
    names: list
    boxes: np.ndarray
    clipped: int
    empty: int
    id: int | None = None


def picture(path, where, size, objects, rules, image_id=None):
    """Check the objects of an image, and turn them into boxes.

    Parameters
    ----------
    path, where, size, image_id
        As in `Picture`.
    objects : iterable of Object
    rules : Rules

    Returns
    -------
    Picture

    Raises
    ------
    InputError
        When there is no such image, or an object has a class that is not known, lies outside of the
        image, or has no area; names the object.
    """
    if not os.path.isfile(path):
        raise InputError(f"{where}: its image {path} is missing; put it there, or leave it out")
    names, rows, clipped, empty = [], [], 0, 0
    for entry in objects:
        check_class(entry.name, entry.where, rules.known)
        edges = [corner / side for corner, side in zip(entry.corners, size * 2, strict=True)]
        if min(edges) < -EDGE_TOLERANCE or max(edges) > 1 + EDGE_TOLERANCE:
            if not rules.clip:
                raise InputError(
                    f"{entry.where}: its box {entry.told} lies outside of the image of {size[0]} x "
                    f"{size[1]} pixels; correct it, or give --clip to cut boxes to their images"
                )
            clipped += 1
        # In single precision, as the pack holds them: a box must have an area there, too.
        left, top, right, bottom = (np.float32(min(max(edge, 0), 1)) for edge in edges)
        if not (left < right and top < bottom):
            if not rules.skip_empty:
                raise InputError(
                    f"{entry.where}: its box {entry.told} has no area inside of the image; correct "
                    "it, or give --skip-empty to leave such boxes out"
                )
            empty += 1
            continue
        names.append(entry.name)
        rows.append((left, top, right, bottom, entry.difficult))
    boxes = np.array(rows, np.float32).reshape(-1, 5)
    return Picture(path, where, size, names, boxes, clipped, empty, image_id)


def check_class(name, where, known=None):
    """Raise InputError where a name is no line of text, or is not among the known classes."""
    if not (isinstance(name, str) and name and name.isprintable() and name == name.strip()):
        raise InputError(f"{where}: {name!r} is no name of a class; write one in a line")
    if known is not None and name not in known:
        raise InputError(
            f"{where}: its class {name} is not in the file of --classes; add it there, or remove "
            "what has this class"
        )


def image_path(folder, name, where):
    """Find an image that an annotation names.

    Raises
    ------
    InputError
        When the name leads out of the folder.
    """
    if os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == os.pardir:
        raise InputError(f"{where}: its image {name} is outside of {folder}; name one inside")
    return os.path.join(folder, name)


def number(value):
    """Read a number, whatever holds it; None where it is none, or not finite."""
    try:
        value = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def with_boxes(part, pictures):
    """Leave out the images without a box, and say what was left out or cut.

    Parameters
    ----------
    part : str
        What the pack is called, for messages.
    pictures : list of Picture

    Returns
    -------
    kept : list of Picture
    lines : list of str

    Raises
    ------
    InputError
        When none is left, or an image is there twice.
    """
    seen = {}
    for entry in pictures:
        if entry.path in seen:
            raise InputError(
                f"{entry.where}: its image {entry.path} is in {part} already, by "
                f"{seen[entry.path]}; remove one of the two"
            )
        seen[entry.path] = entry.where
    kept = [entry for entry in pictures if len(entry.boxes)]
    if not kept:
        raise InputError(
            f"{pictures[0].where}: neither it nor the {len(pictures) - 1:,} others of {part} have "
            "a box; annotate some"
        )
    lines = []
    if len(kept) < len(pictures):
        count = len(pictures) - len(kept)
        lines.append(f"{part}: {count:,} of {len(pictures):,} images have no box and are left out")
    if count := sum(entry.empty for entry in pictures):
        lines.append(f"{part}: {count:,} boxes have no area and are left out")
    if count := sum(entry.clipped for entry in pictures):
        lines.append(f"{part}: {count:,} boxes are cut to their images")
    return kept, lines


def shared_line(parts):
    """Say how many images the parts have in common; None where they have none."""
    paths = [path for pictures in parts.values() for path in {entry.path for entry in pictures}]
    shared = len(paths) - len(set(paths))
    return f"{shared:,} images are in more than one of {', '.join(parts)}" if shared else None


def write(parts, names, threads, resize=0, quality=None):
    """Write packs, shuffled once; all appear when the last one is complete, or none does.

    Parameters
    ----------
    parts : dict of str to list of Picture
        By the path of the ``.rec`` file.
    names : sequence of str
        The classes; a class's place is its number.
    threads : int
    resize, quality : int
        As for `igc.data.folders.pack_files`.

    Raises
    ------
    InputError
        When an image cannot be decoded, or has another size than its annotation says.
    """
    numbers = {name: number for number, name in enumerate(names)}

    def load(entry):
        payload, (height, width) = folders.encoded(entry.path, resize, quality)
        if (width, height) != entry.size:
            raise InputError(
                f"{entry.where}: says that {entry.path} is {entry.size[0]} x {entry.size[1]} "
                f"pixels, and it is {width} x {height} (as its EXIF data turn it); correct the one "
                "that is wrong"
            )
        kinds = np.array([numbers[name] for name in entry.names], np.float32)
        return pack_boxes(np.column_stack([kinds, entry.boxes])), payload, entry.id

    with contextlib.ExitStack() as stack:
        for path, pictures in parts.items():
            writer = stack.enter_context(recordio.RecordWriter(path))
            shuffled = [pictures[k] for k in permutation(0, 0, len(pictures))]
            with track(len(pictures), f"packing {os.path.basename(path)}", "images") as progress:
                for label, payload, image_id in ordered_map(load, shuffled, threads):
                    writer.write(label, payload, image_id)
                    progress(1)
