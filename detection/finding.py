"""Finding objects in image files."""

import os

from igc.data.folders import SUFFIXES
from igc.data.image_files import ImageFiles
from igc.errors import InputError

DRAWN = "-detected.png"  # what the names of our pictures end with
_BATCH = 8


def list_images(paths):
    """Put the images of folders in the place of the folders.

    Parameters
    ----------
    paths : list of str
        Files, taken whatever their names are, and folders, of which images by their name are taken
        in the order of the names; not those of folders inside, nor our own pictures (`DRAWN`).

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        When a folder holds no image.
    """
    found = []
    for path in paths:
        if not os.path.isdir(path):
            found.append(path)
            continue
        names = sorted(name for name in os.listdir(path) if name.lower().endswith(SUFFIXES))
        names = [name for name in names if not name.endswith(DRAWN)]
        if not names:
            raise InputError(f"{path}: a folder without images ({', '.join(SUFFIXES)})")
        found += [os.path.join(path, name) for name in names]
    return found


def pictures_of(paths, folder=None):
    """Name the pictures that are drawn of images.

    Parameters
    ----------
    paths : list of str
    folder : str, optional
        Default: that of each image.

    Returns
    -------
    list of str
        ``NAME-detected.png``.

    Raises
    ------
    InputError
        When two images would have the same one.
    """
    drawn = {}
    for path in paths:
        parent, name = os.path.split(path)
        target = os.path.join(parent if folder is None else folder, f"{_stem(name)}{DRAWN}")
        if target in drawn:
            raise InputError(
                f"{path}: would be drawn into {target}, like {drawn[target]}; give one of them at "
                "a time, or another --out"
            )
        drawn[target] = path
    return list(drawn)


def find(detector, paths, threshold):
    """Find the objects in image files.

    Parameters
    ----------
    detector : igc.detection.detector.Detector
    paths : list of str
        Images of any size and any format that OpenCV reads.
    threshold : float
        The least score.

    Yields
    ------
    path : str
    image : numpy.ndarray of uint8, shape (height, width, 3)
        Red, green, blue.
    detections : numpy.ndarray of float32, shape (k, 6)
        `igc.detection.detector.COLUMNS`, edges in pixels.

    Raises
    ------
    InputError
        When a file is no image; names it. When the network's outputs are no numbers.
    """
    files = ImageFiles(paths)
    for start in range(0, len(paths), _BATCH):
        numbers = range(start, min(start + _BATCH, len(paths)))
        images = [files.read(number)[0] for number in numbers]
        found = detector.detect(images, threshold)
        for number, image, rows in zip(numbers, images, found, strict=True):
            yield paths[number], image, rows


def lines(path, detections, class_names):
    """Write an image's detections in words, the file's name first.

    Returns
    -------
    list of str
    """
    listed = [
        f"  {100 * score:6.2f} %  {class_names[int(kind)]}  "
        f"({left:.0f}, {top:.0f}) to ({right:.0f}, {bottom:.0f})"
        for kind, score, left, top, right, bottom in detections
    ]
    return [path, *(listed or ["  nothing"])]


def entry(path, image, detections, class_names):
    """Write an image's detections as JSON values.

    Returns
    -------
    dict
        ``box`` is left, top, right, bottom in pixels.
    """
    height, width = image.shape[:2]
    rows = [
        {
            "class": int(kind),
            "name": class_names[int(kind)],
            "score": round(score, 6),
            "box": [round(edge, 2) for edge in edges],
        }
        for kind, score, *edges in detections.tolist()
    ]
    return {"file": path, "width": width, "height": height, "detections": rows}


def _stem(name):
    return os.path.splitext(name)[0]
