"""The published archives of CIFAR-10, CIFAR-100 and SVHN: fetched, checked and read."""

import hashlib
import io
import os
import pickle
import tarfile
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from lzma import LZMAError

import numpy as np

from igc.errors import InputError
from igc.files import atomic_write
from igc.progress import track

_BLOCK = 1 << 20
# What damaged archives make of tarfile, the decompressors and NumPy.
_DAMAGE = (OSError, EOFError, tarfile.TarError, zlib.error, LZMAError, ValueError, KeyError)
_TIMEOUT = 60  # seconds without a byte
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_SVHN = "http://ufldl.stanford.edu/housenumbers/"


@dataclass(frozen=True)
class Archive:
    """A file that its authors publish.

    Attributes
    ----------
    url : str
    sha256 : str
    """

    url: str
    sha256: str

    @property
    def file(self):
        """str: Name of the file."""
        return self.url.rpartition("/")[2]


# The first of each data set is the one that is downloaded.
CIFAR10 = (
    Archive(
        _CIFAR + "cifar-10-binary.tar.gz",
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    Archive(
        _CIFAR + "cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
)
CIFAR100 = (
    Archive(
        _CIFAR + "cifar-100-binary.tar.gz",
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
    Archive(
        _CIFAR + "cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
)
SVHN_TRAIN = Archive(
    _SVHN + "train_32x32.mat", "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"
)
SVHN_EXTRA = Archive(
    _SVHN + "extra_32x32.mat", "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3"
)
SVHN_TEST = Archive(
    _SVHN + "test_32x32.mat", "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"
)


def fetch(archive, folder, checksum=True):
    """Download an archive, unless it is in the folder already.

    Parameters
    ----------
    archive : Archive
    folder : str
        Where it is kept.
    checksum : bool
        Whether its bytes must be the published ones.

    Returns
    -------
    str
        Path of the file.

    Raises
    ------
    InputError
        When it cannot be fetched or its checksum is wrong; a wrong download is not kept.
    """
    path = os.path.join(folder, archive.file)
    if os.path.exists(path):
        check(path, (archive,), checksum)
        return path
    digest = hashlib.sha256()
    with atomic_write(path) as file:
        # Failures of the network must not read like failures of the disk.
        for block in _download(archive):
            digest.update(block)
            file.write(block)
        if checksum and digest.hexdigest() != archive.sha256:
            raise InputError(
                f"{archive.url}: the download has the sha256 {digest.hexdigest()} instead of "
                f"{archive.sha256}; try again, or give the file with --from"
            )
    return path


def check(path, archives, checksum=True):
    """Check that a file is one of some published archives.

    Raises
    ------
    InputError
        When it is missing or has another checksum.
    """
    digest = hashlib.sha256()
    try:
        with (
            open(path, "rb") as file,
            track(os.path.getsize(path), f"checking {os.path.basename(path)}", "bytes") as progress,
        ):
            while checksum and (block := file.read(_BLOCK)):
                digest.update(block)
                progress(len(block))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if checksum and digest.hexdigest() not in {archive.sha256 for archive in archives}:
        raise InputError(
            f"{path}: has the sha256 {digest.hexdigest()}, which is not that of "
            f"{' or '.join(archive.file for archive in archives)}; fetch it anew from "
            f"{archives[0].url}, or give --no-checksum"
        )


def read_cifar(path, num_classes):
    """Read an archive of CIFAR, in its binary or its Python version.

    Parameters
    ----------
    path : str
    num_classes : {10, 100}

    Returns
    -------
    train, test : (numpy.ndarray of uint8 (n, 32, 32, 3), numpy.ndarray of int64 (n,))
        Images and (fine) labels, in the order of the archive.
    class_names : list of str
    """
    train, test, names = [], [], None
    try:
        with tarfile.open(path) as archive:
            for member in sorted(archive.getmembers(), key=lambda member: member.name):
                name = os.path.basename(member.name)
                if not member.isfile():
                    continue
                data = archive.extractfile(member).read()
                if name in ("batches.meta.txt", "fine_label_names.txt"):
                    names = data.decode().split()
                elif name in ("batches.meta", "meta"):
                    meta = _unpickle(data)
                    names = meta.get(b"fine_label_names") or meta[b"label_names"]
                    names = [name.decode() for name in names]
                elif name.startswith(("data_batch", "train")):
                    train.append(_cifar_images(name, data, num_classes))
                elif name.startswith("test"):
                    test.append(_cifar_images(name, data, num_classes))
    except _DAMAGE as error:
        raise InputError(
            f"{path}: cannot be read as an archive of CIFAR ({_first_line(error)})"
        ) from error
    if not train or not test or names is None:
        raise InputError(f"{path}: holds no training images, no test images or no class names")
    if len(names) != num_classes:
        raise InputError(f"{path}: holds {len(names)} classes, not {num_classes}")
    return _joined(train), _joined(test), names


def read_svhn(path):
    """Read a file of SVHN's cropped digits.

    Returns
    -------
    images : numpy.ndarray of uint8, shape (n, 32, 32, 3)
    labels : numpy.ndarray of int64, shape (n,)
        The file writes the digit 0 as 10; here it is 0.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise InputError("svhn: its files need SciPy; run: pip install scipy") from error
    try:
        content = loadmat(path)
        images, labels = content["X"], content["y"].reshape(-1)
        if images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3):
            raise ValueError(f"X is {images.dtype} of shape {images.shape}")
    except Exception as error:  # whatever SciPy makes of a damaged file
        raise InputError(
            f"{path}: cannot be read as a file of SVHN ({_first_line(error)})"
        ) from error
    return np.moveaxis(images, 3, 0), labels.astype(np.int64) % 10


def _download(archive):
    """Give the bytes of an archive in blocks."""
    try:
        with urllib.request.urlopen(archive.url, timeout=_TIMEOUT) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
            got = 0
            with track(size or None, f"downloading {archive.file}", "bytes") as progress:
                while block := answer.read(_BLOCK):
                    got += len(block)
                    progress(len(block))
                    yield block
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{archive.url}: cannot be downloaded ({reason}); fetch it elsewhere and give it "
            "with --from"
        ) from error
    if got < size:
        raise InputError(f"{archive.url}: broke off after {got} of {size} bytes; try again")


def _cifar_images(name, data, num_classes):
    """Read one file: records of labels and planes (binary), or a pickled dictionary (Python)."""
    if name.endswith(".bin"):
        width = 3072 + (1 if num_classes == 10 else 2)  # CIFAR-100: coarse label, fine label
        if len(data) % width:
            raise InputError(f"{name}: {len(data)} bytes are no multiple of {width}; cut short?")
        records = np.frombuffer(data, np.uint8).reshape(-1, width)
        planes, labels = records[:, -3072:], records[:, -3073].astype(np.int64)
    else:
        content = _unpickle(data)
        planes = np.asarray(content[b"data"], np.uint8)
        labels = np.asarray(content[b"labels" if num_classes == 10 else b"fine_labels"], np.int64)
    return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _first_line(error):
    """Shorten the message of another library; tarfile lists a line for each format it tried."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].rstrip(":")


def _joined(parts):
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries, lists, bytes and arrays; a pickle that asks for more is refused."""

    def find_class(self, module, name):
        if (module, name) in (
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        ):
            return np.zeros(0).__reduce__()[0]
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        raise InputError(f"the archive asks for {module}.{name}, which its data do not need")


def _unpickle(data):
    try:
        return _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, IndexError, TypeError, AttributeError) as error:
        raise InputError(f"a batch of the archive cannot be read ({error})") from error
