"""The table of data sets, and the digits."""

import os
import subprocess
import sys

import numpy as np
import pytest
from data_packs import images, write

from igc.data import digits
from igc.data.datasets import DATASETS, get_dataset
from igc.data.loaders import open_evaluation, open_training
from igc.errors import InputError


def test_digits_equal_scikit_learns(tmp_path):
    """In a process of its own: importing scikit-learn loads a second OpenMP runtime."""
    path = str(tmp_path / "digits.npz")
    code = (
        "import numpy, sklearn.datasets\n"
        "d = sklearn.datasets.load_digits()\n"
        f"numpy.savez({path!r}, images=d.images, labels=d.target)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, timeout=120)
    images, labels = digits.read_table()
    theirs = np.load(path)
    np.testing.assert_array_equal(images, theirs["images"])
    np.testing.assert_array_equal(labels, theirs["labels"])


def test_reading_digits_does_not_import_scikit_learn():
    code = (
        "import sys\n"
        "from igc.data import digits\n"
        "assert len(digits.load_digits('test')) == 360\n"
        "assert not {'sklearn', 'scipy', 'mxnet'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, timeout=120)


def test_digits_split():
    table, labels = digits.read_table()
    train, test = digits.load_digits("train"), digits.load_digits("test")
    assert (len(train), len(test)) == (1437, 360)
    np.testing.assert_array_equal(test.labels, labels[::5])
    np.testing.assert_array_equal(train.labels[:4], labels[1:5])
    assert sorted(set(train.labels)) == sorted(set(test.labels)) == list(range(10))
    # Bilinear interpolation, plainly: output pixel o lies at (o + 1/2) / 4 - 1/2 of the table.
    at = np.clip((np.arange(32) + 0.5) / 4 - 0.5, 0, 7)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(8)))
    for source, rows in ((test, table[::5]), (train, np.delete(table, np.s_[::5], axis=0))):
        wanted = weights @ (rows * (255 / 16)) @ weights.T
        assert np.abs(source.images - wanted[..., None]).max() <= 1.5
    assert train.images.max() == 255 and train.images.min() == 0


def test_digits_mean_and_deviation():
    images = digits.load_digits("train").images.astype(np.float64)
    dataset = get_dataset("digits")
    np.testing.assert_allclose(images.mean(axis=(0, 1, 2)), dataset.mean, atol=5e-4)
    np.testing.assert_allclose(images.std(axis=(0, 1, 2)), dataset.std, atol=5e-4)


def test_digits_in_loaders():
    dataset = get_dataset("digits")
    settings = {
        "batch_size": 64,
        "image_shape": dataset.image_shape,
        "mean": dataset.mean,
        "std": dataset.std,
        "num_classes": dataset.num_classes,
    }
    train = open_training(
        dataset.open("train"), augmentation=dataset.augmentations[1], seed=0, **settings
    )
    test = open_evaluation("digits:test", **settings)
    assert (train.num_examples, train.num_batches) == (dataset.num_train, 23)
    assert (test.num_examples, test.num_batches) == (dataset.num_test, 6)
    batch = next(train.epoch(0))
    assert batch.data[0].shape == (64, 3, 32, 32)


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install scikit-learn"):
        digits.read_table()
    with pytest.raises(InputError, match="digits:val"):
        digits.load_digits("val")


@pytest.mark.parametrize("name", DATASETS)
def test_table_is_consistent(name):
    dataset = get_dataset(name)
    assert dataset.name == name
    assert dataset.aug_type in dataset.augmentations
    assert len(dataset.mean) == len(dataset.std) == 3
    assert len(dataset.class_names) in (0, dataset.num_classes)


def test_unknown_name():
    with pytest.raises(InputError, match="--dataset mnist: takes digits, cifar10"):
        get_dataset("mnist")


@pytest.mark.parametrize("slash", ["", "/"])
def test_data_dir_with_and_without_slash(tmp_path, slash):
    write(tmp_path / "train.rec", images(3))
    dataset = get_dataset("cifar10")
    assert len(dataset.open("train", f"{tmp_path}{slash}")) == 3
    with pytest.raises(InputError, match=r"test\.rec: no such file .*prepare_data\.py cifar10"):
        dataset.open("test", f"{tmp_path}{slash}")
    with pytest.raises(InputError, match="needs --data-dir; run"):
        dataset.open("train")
    assert len(dataset.open("test", tmp_path, "train.rec")) == 3
