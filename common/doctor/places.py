"""What lies on the disk: the data sets, and room for checkpoints."""

import importlib.util
import os
import shutil

from igc.data import bad
from igc.data.datasets import DATASETS
from igc.doctor.finding import NOTE, OK, STOPS, Finding
from igc.errors import InputError

_LITTLE, _NONE = 1 << 30, 64 << 20  # bytes; a checkpoint of the largest network has some 200 MB
_PACKAGED = "digits"


def check_data():
    """Look for every data set where the commands do.

    Returns
    -------
    list of Finding
        One for each that is there, and one for the others.
    """
    found, absent = [], []
    for dataset in DATASETS.values():
        if dataset.name == _PACKAGED:
            continue
        packs = {
            split: os.path.join(dataset.folder, name)
            for split, name in (("train", dataset.train_file), ("test", dataset.test_file))
        }
        there = {split: path for split, path in packs.items() if os.path.isfile(path)}
        if there:
            found.append(_check_packs(dataset, there, packs))
        else:
            absent.append(dataset)
    if importlib.util.find_spec("sklearn") is not None:
        found.insert(0, Finding("digits", OK, "come with scikit-learn"))
    else:
        text = "scikit-learn, which brings them, is not installed"
        state = NOTE if found else STOPS  # what trainings take without --dataset
        found.insert(0, Finding("digits", state, text, "pip install -e ."))
    if absent:
        names = ", ".join(f"{dataset.name} ({dataset.folder})" for dataset in absent)
        mend = "python prepare_data.py --help, and --data-dir for those that lie elsewhere"
        found.append(Finding("other data", OK, f"not here: {names}", mend))
    return found


def _check_packs(dataset, there, packs):
    """Tell of one data set which of its packs are there, and whether they were verified."""
    missing = [packs[split] for split in packs if split not in there]
    if missing:
        text = f"{', '.join(there.values())} is there, {', '.join(missing)} is missing"
        return Finding(dataset.name, NOTE, text, dataset.prepare.removeprefix("run: "))
    texts, unverified, damaged = [], [], []
    for path in there.values():
        try:
            known = bad.read(path, dataset.num_classes) or bad.read(path)
        except InputError as error:
            damaged.append(path)
            texts.append(str(error))
            continue
        if known is None:
            unverified.append(path)
        elif known.reasons:
            damaged.append(path)
            texts.append(known.line(path))
        else:
            texts.append(f"{path} verified, {known.records:,} images")
    if damaged:
        mend = "prepare them anew, or train with --skip-bad-records"
        return Finding(dataset.name, NOTE, "; ".join(texts), mend)
    if unverified:
        text = "; ".join([*texts, f"not verified: {', '.join(unverified)}"])
        mend = f"python prepare_data.py verify {unverified[0]} --num-classes {dataset.num_classes}"
        return Finding(dataset.name, OK, text, mend)
    return Finding(dataset.name, OK, "; ".join(texts))


def check_disk(folder):
    """Check that checkpoints can be written.

    Parameters
    ----------
    folder : str
        The value of ``--log-dir``.
    """
    place = os.path.abspath(folder)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place) or not os.access(place, os.W_OK | os.X_OK):
        mend = f"chmod u+w {place}, or train with another --log-dir"
        return Finding("disk", STOPS, f"{place}: nothing can be written there", mend)
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:,.1f} GB free for checkpoints in {folder}"
    if free < _NONE:
        mend = "free some space, or train with --log-dir on another disk"
        return Finding("disk", STOPS, text, mend)
    if free < _LITTLE:
        mend = "free some space; --checkpoint-epochs keeps fewer checkpoints"
        return Finding("disk", NOTE, text, mend)
    return Finding("disk", OK, text)
