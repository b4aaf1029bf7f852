"""Pack folders of images, one folder for each class."""

import os
from dataclasses import dataclass

import cv2

from igc.data import recordio
from igc.data.draws import permutation
from igc.data.threads import ordered_map
from igc.errors import InputError
from igc.files import atomic_write
from igc.progress import track

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_TEST_FOLDERS = ("val", "test", "validation")
_QUALITY = 95
_KEPT = {b"\xff\xd8": ".jpg", b"\x89P": ".png"}  # what is packed as it is when no resize is asked


@dataclass(frozen=True)
class Listing:
    """The images of a folder.

    Attributes
    ----------
    class_names : list of str
        Sorted; their places are the labels.
    train, test : list of (str, int)
        Path and label of each image.
    skipped : list of str
        Files that are no images by their name.
    """

    class_names: list
    train: list
    test: list
    skipped: list


def list_folder(folder, test_fraction=None, seed=0):
    """Find the images and their classes.

    Parameters
    ----------
    folder : str
        Holds ``train`` and ``val`` (or ``test``, ``validation``) with a folder for each class, or
        the class folders themselves.
    test_fraction : float, optional
        Of each class, how much becomes test images; for a folder without ``val``.
    seed : int
        Chooses them.

    Returns
    -------
    Listing

    Raises
    ------
    InputError
        When there are no images, the classes of both parts differ, or `test_fraction` leaves a
        class without training or without test images.
    """
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: no such folder")
    skipped = []
    train_folder = os.path.join(folder, "train")
    if os.path.isdir(train_folder):
        if test_fraction is not None:
            raise InputError(f"{folder}: holds train/ already; leave --test-fraction out")
        found = [n for n in _TEST_FOLDERS if os.path.isdir(os.path.join(folder, n))]
        if len(found) != 1:
            raise InputError(
                f"{folder}: beside train/ one of {', '.join(_TEST_FOLDERS)} is wanted, "
                f"{len(found)} are there"
            )
        train = _list_classes(train_folder, skipped)
        test = _list_classes(os.path.join(folder, found[0]), skipped)
        if different := sorted(set(train) ^ set(test)):
            raise InputError(
                f"{folder}: the classes of train/ and {found[0]}/ differ: "
                f"{', '.join(different[:5])}"
            )
    else:
        if test_fraction is None:
            raise InputError(
                f"{folder}: has no train/; give --test-fraction (0.1, or 0 for training images "
                "alone)"
            )
        if not 0 <= test_fraction < 1:
            raise InputError(f"--test-fraction {test_fraction}: must be 0 or more and less than 1")
        train, test = _list_classes(folder, skipped), {}
        for name, paths in train.items():
            order = permutation(seed, 0, len(paths))
            count = round(test_fraction * len(paths))
            if test_fraction and not 0 < count < len(paths):
                raise InputError(
                    f"{os.path.join(folder, name)}: --test-fraction {test_fraction} makes {count} "
                    f"of its {len(paths)} images test images; each part needs one: choose another "
                    "fraction, or 0 for training images alone"
                )
            test[name] = [paths[k] for k in sorted(order[:count])]
            train[name] = [paths[k] for k in sorted(order[count:])]
    names = sorted(train)
    return Listing(
        names,
        [(path, label) for label, name in enumerate(names) for path in train[name]],
        [(path, label) for label, name in enumerate(names) for path in test[name]],
        skipped,
    )


def pack_files(path_rec, files, threads, resize=0, quality=None):
    """Pack image files, shuffled once, so that readers that shuffle only nearby do well too.

    Parameters
    ----------
    path_rec : str
    files : list of (str, int)
        Path and label.
    threads : int
    resize : int
        Length of the short side; 0 packs JPEG and PNG files byte by byte as they are.
    quality : int, optional
        Encode as JPEG of this quality. Default: JPEG of quality 95 for what was one, else PNG.

    Raises
    ------
    InputError
        When an image cannot be decoded; names the file.
    """

    def load(entry):
        path, label = entry
        return label, encoded(path, resize, quality)[0]

    shuffled = [files[k] for k in permutation(0, 0, len(files))]
    _write(path_rec, ordered_map(load, shuffled, threads), len(files))


def pack_arrays(path_rec, parts, threads):
    """Pack images without loss, as PNG, in the order given.

    Parameters
    ----------
    path_rec : str
    parts : iterable of (images, labels)
        Arrays uint8 (n, height, width, 3) and int (n,); one part is held at a time.
    threads : int
    """

    def load(entry):
        image, label = entry
        return int(label), recordio.encode(image)

    entries = (entry for images, labels in parts for entry in zip(images, labels, strict=True))
    _write(path_rec, ordered_map(load, entries, threads), None)


def write_class_names(path, names):
    """Write a class name in each line."""
    with atomic_write(path, "w") as file:
        file.writelines(f"{name}\n" for name in names)


def encoded(path, resize=0, quality=None):
    """Read an image file and give the bytes to pack.

    Parameters
    ----------
    path : str
    resize, quality : int
        As for `pack_files`.

    Returns
    -------
    payload : bytes
    size : (int, int)
        Height and width of the image in the file.

    Raises
    ------
    InputError
        When it cannot be read or decoded; names the file.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    image = recordio.decode_image(data)
    if image is None:
        raise InputError(
            f"{path}: is cut short, damaged or no image ({len(data)} bytes); mend or remove it"
        )
    size, kind = image.shape[:2], _KEPT.get(data[:2])
    if kind and not resize and quality is None:
        return data, size
    if resize:
        image = _short_side(image, resize)
    if quality is None and kind != ".jpg":
        return recordio.encode(image), size
    return recordio.encode(image, ".jpg", quality or _QUALITY), size


def _write(path_rec, records, count):
    with (
        recordio.RecordWriter(path_rec) as writer,
        track(count, f"packing {os.path.basename(path_rec)}", "images") as progress,
    ):
        for label, payload in records:
            writer.write(label, payload)
            progress(1)


def _list_classes(folder, skipped):
    """Give the sorted image paths of each class folder that has any."""
    classes = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.is_dir() or entry.name.startswith("."):
            skipped.append(entry.path)
            continue
        paths = []
        for parent, folders, names in os.walk(entry.path):
            folders.sort()
            for name in sorted(names):
                chosen = paths if name.lower().endswith(SUFFIXES) else skipped
                chosen.append(os.path.join(parent, name))
        if not paths:
            raise InputError(f"{entry.path}: a class without images ({', '.join(SUFFIXES)})")
        classes[entry.name] = paths
    if not classes:
        raise InputError(f"{folder}: holds no folders with images, one for each class")
    return classes


def _short_side(image, side):
    height, width = image.shape[:2]
    factor = side / min(height, width)
    size = (max(side, round(width * factor)), max(side, round(height * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=method)
