"""The data sets by name: sizes, classes, normalisation, file names.

Means and deviations are the originals' (IGCV1 ``options.py`` and ``train_imagenet.py``), over the
training images in 0 to 255; those of the digits are computed from `igc.data.digits`.
"""

import os
from dataclasses import dataclass

from igc.data import augment
from igc.data.sources import RecordSource, as_source
from igc.errors import InputError


@dataclass(frozen=True)
class Dataset:
    """What is known about a data set.

    Attributes
    ----------
    name : str
        As ``--dataset`` takes it.
    num_classes, num_train, num_test : int
    image_shape : (int, int, int)
        Channels, height, width of what the network sees.
    mean, std : (float, float, float)
        Of red, green, blue.
    train_file, test_file : str
        Names in the data folder, the originals'; empty where no files are needed.
    test_batch_size : int or None
        The originals' batch in validation where they fixed one (quirk Q22).
    aug_type : int
        Default ``--aug-type`` of ``train_model.py``.
    augmentations : mapping of int to igc.data.augment.Augmentation
        What ``--aug-type`` chooses from.
    class_names : tuple of str
        Empty where there are too many for a table.
    prepare : str
        How to get the files.
    """

    name: str
    num_classes: int
    num_train: int
    num_test: int
    image_shape: tuple
    mean: tuple
    std: tuple
    train_file: str
    test_file: str
    test_batch_size: int | None
    aug_type: int
    augmentations: dict
    class_names: tuple
    prepare: str

    @property
    def folder(self):
        """str: Where the files are looked for unless ``--data-dir`` says."""
        return "imagenet_data" if self.name == "imagenet" else os.path.join("data", self.name)

    def open(self, split, data_dir=None, file=None, open_records=RecordSource):
        """Find the images.

        Parameters
        ----------
        split : {"train", "test"}
        data_dir : str, optional
            The folder of the files, with or without a trailing slash.
        file : str, optional
            Another name than the usual one (``--train-dataset``, ``--val-dataset``).
        open_records : callable
            Makes a source of the path of a pack.

        Returns
        -------
        RecordSource or ArraySource

        Raises
        ------
        InputError
            When a file is missing; says how to prepare it.
        """
        if not self.train_file:
            return as_source(f"{self.name}:{split}")
        file = file or (self.train_file if split == "train" else self.test_file)
        if not data_dir:
            raise InputError(f"--dataset {self.name}: needs --data-dir; {self.prepare}")
        path = os.path.join(data_dir, file)
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file (--data-dir, {split} images); {self.prepare}")
        return open_records(path)


_DIGIT_NAMES = tuple("0123456789")
_CIFAR10_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_SMALL_FILES = {"train_file": "train.rec", "test_file": "test.rec"}

DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="digits",
            num_classes=10,
            num_train=1437,
            num_test=360,
            image_shape=(3, 32, 32),
            mean=(77.804, 77.804, 77.804),
            std=(82.548, 82.548, 82.548),
            train_file="",
            test_file="",
            test_batch_size=None,
            aug_type=1,
            augmentations=augment.DIGITS,
            class_names=_DIGIT_NAMES,
            prepare="it comes with scikit-learn",
        ),
        Dataset(
            name="cifar10",
            num_classes=10,
            num_train=50000,
            num_test=10000,
            image_shape=(3, 32, 32),
            mean=(125.307, 122.950, 113.865),
            std=(62.993, 62.089, 66.705),
            test_batch_size=400,
            aug_type=1,
            augmentations=augment.SMALL,
            class_names=_CIFAR10_NAMES,
            prepare="run: python prepare_data.py cifar10 --out DIR",
            **_SMALL_FILES,
        ),
        Dataset(
            name="cifar100",
            num_classes=100,
            num_train=50000,
            num_test=10000,
            image_shape=(3, 32, 32),
            mean=(129.304, 124.070, 112.434),
            std=(68.170, 65.392, 70.418),
            test_batch_size=None,
            aug_type=1,
            augmentations=augment.SMALL,
            class_names=(),
            prepare="run: python prepare_data.py cifar100 --out DIR",
            **_SMALL_FILES,
        ),
        Dataset(
            name="svhn",
            num_classes=10,
            num_train=604388,
            num_test=26032,
            image_shape=(3, 32, 32),
            mean=(111.609, 113.161, 120.565),
            std=(50.498, 51.259, 50.244),
            test_batch_size=280,
            aug_type=0,
            augmentations=augment.SMALL,
            class_names=_DIGIT_NAMES,
            prepare="run: python prepare_data.py svhn --out DIR",
            **_SMALL_FILES,
        ),
        Dataset(
            name="imagenet",
            num_classes=1000,
            num_train=1281167,
            num_test=50000,
            image_shape=(3, 224, 224),
            mean=(123.37, 112.757, 99.406),
            std=(68.998, 66.093, 68.292),
            train_file="imagenet_train.rec",
            test_file="imagenet_val.rec",
            test_batch_size=None,
            aug_type=2,
            augmentations=augment.SMALL,
            class_names=(),
            prepare="run: python prepare_data.py folder IMAGES --out DIR --names imagenet",
        ),
    )
}


def get_dataset(name):
    """Look a data set up.

    Raises
    ------
    InputError
        Lists the names there are.
    """
    if name not in DATASETS:
        raise InputError(f"--dataset {name}: takes {', '.join(DATASETS)}")
    return DATASETS[name]
