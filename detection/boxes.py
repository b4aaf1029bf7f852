"""The label of a detection record.

A pack for detection holds, for each image, one vector: the width H of the header, the width W of
an object, H - 2 further values, and W values for each object: class, left, top, right and bottom
edge as fractions of the image's width and height, and, where W is 6 or more, whether the object is
difficult. MXNet's detection iterators read the same (the documentation of ``ImageDetRecordIter``).
"""

import numpy as np

from igc.data.sources import check_label
from igc.errors import InputError

HEADER, OBJECT = 2, 6
COLUMNS = ("class", "left", "top", "right", "bottom", "difficult")
EDGE_TOLERANCE = 1e-4  # fractions are rounded: half a pixel of the largest images


def parse(label, where, num_classes=None):
    """Read the boxes of an image.

    Parameters
    ----------
    label : array_like of float
        The record's labels.
    where : str
        File and record, for messages.
    num_classes : int, optional
        Classes must be 0 to `num_classes` - 1. Default: any whole numbers from 0 on.

    Returns
    -------
    numpy.ndarray of float32, shape (boxes, 6)
        `COLUMNS`, edges within 0 and 1; difficult is 0 where the record does not say.

    Raises
    ------
    InputError
        When the label is no such vector, has no box, or one that is empty or lies outside of the
        image, or a class that is not known.
    """
    label = np.ravel(np.asarray(label, np.float32))
    if label.size < HEADER or not np.isfinite(label).all():
        raise InputError(
            f"{where} has {label.size} label(s) where a header and boxes are wanted (a pack for "
            "classification?); make one with: python prepare_data.py voc or coco"
        )
    header, width = label[:2]
    objects = label[int(min(max(header, 0), label.size)) :]
    if header != int(header) or width != int(width) or header < HEADER or width < OBJECT - 1:
        raise InputError(
            f"{where}: its header says {header:g} values of its own and {width:g} for each object, "
            f"where at least {HEADER} and {OBJECT - 1} are wanted; pack it anew"
        )
    if not objects.size:
        raise InputError(f"{where} has no box; leave images without objects out of the pack")
    if objects.size % int(width):
        raise InputError(
            f"{where} has {objects.size} values for its boxes, which is no multiple of {width:g}; "
            "pack it anew"
        )
    objects = objects.reshape(-1, int(width))
    boxes = np.zeros((len(objects), OBJECT), np.float32)
    boxes[:, : min(OBJECT, objects.shape[1])] = objects[:, :OBJECT]
    check(boxes, where, num_classes)
    boxes[:, 1:5] = boxes[:, 1:5].clip(0, 1)
    return boxes


def check(boxes, where, num_classes=None):
    """Check boxes as `parse` gives them.

    Raises
    ------
    InputError
        Names the file, the record, and the box.
    """
    for number, (kind, left, top, right, bottom, _) in enumerate(boxes):
        name = f"{where}, box {number}"
        check_label(float(kind), num_classes, name)
        edges = f"({left:g}, {top:g}) to ({right:g}, {bottom:g})"
        if min(left, top) < -EDGE_TOLERANCE or max(right, bottom) > 1 + EDGE_TOLERANCE:
            raise InputError(
                f"{name} from {edges} lies outside of its image (0 to 1); pack it anew"
            )
        if not (left < right and top < bottom):
            raise InputError(f"{name} from {edges} is empty; correct or remove it and pack anew")


def pack(boxes):
    """Write boxes as the label of a record.

    Parameters
    ----------
    boxes : numpy.ndarray, shape (boxes, 6)
        As `parse` gives them.

    Returns
    -------
    numpy.ndarray of float32, shape (2 + 6 * boxes,)
    """
    return np.concatenate([[HEADER, OBJECT], np.ravel(boxes)]).astype(np.float32)


def table(boxes, rows, where):
    """Fill a label of fixed size, as networks take it.

    Parameters
    ----------
    boxes : numpy.ndarray, shape (boxes, 6)
    rows : int
        How many boxes a label holds.
    where : str
        File and record, for the message.

    Returns
    -------
    numpy.ndarray of float32, shape (rows, 6)
        Rows without a box are -1.

    Raises
    ------
    InputError
        When there are more boxes than rows.
    """
    if len(boxes) > rows:
        raise InputError(
            f"{where} has {len(boxes)} boxes, and --label-width holds {rows}; give at least "
            f"{4 + HEADER + OBJECT * len(boxes)}"
        )
    filled = np.full((rows, OBJECT), -1, np.float32)
    filled[: len(boxes)] = boxes
    return filled
