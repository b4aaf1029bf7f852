"""prepare_data.py as a command: archives, folders, verification, errors."""

import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_packs import images, write

from igc.data import archives, recordio
from igc.errors import InputError

SCRIPT = Path(__file__).resolve().parent.parent / "prepare_data.py"


def run(*arguments, fails=False):
    """Run the command; give standard output, or the line on standard error when it must fail."""
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=120,
        check=False,
    )
    assert result.returncode == (2 if fails else 0), result.stderr
    if fails:
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: ")
        return line
    return result.stdout


def read(path):
    """Give images and labels of a pack."""
    file = recordio.RecordFile(path)
    records = [file.read(k) for k in range(len(file))]
    return [recordio.decode(r) for r in records], [r.label for r in records]


def add(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def cifar_records(pictures, labels, coarse):
    rows = []
    for picture, label in zip(pictures, labels, strict=True):
        head = bytes([3, label]) if coarse else bytes([label])
        rows.append(head + picture.transpose(2, 0, 1).tobytes())
    return b"".join(rows)


class Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did, which wrote the published archives."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_string(self, text):
        data = text.encode("latin1") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = save_string


def python2_pickle(content):
    """Pickle in protocol 2 as Python 2 did."""
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue()


def make_cifar(path, classes, python):
    """Write an archive in the layout of CIFAR; give its training and test images."""
    pictures = images(2 * classes, seed=1)
    labels = [k % classes for k in range(2 * classes)]
    names = [f"class{k}" for k in range(classes)]
    test = pictures[:classes]
    fine = "fine_labels" if classes == 100 else "labels"

    def pickled(part, numbers):
        planes = part.transpose(0, 3, 1, 2).reshape(len(part), -1)
        return python2_pickle({b"data": planes, fine.encode(): numbers})

    with tarfile.open(path, "w:gz") as archive:
        if classes == 10:
            folder = "cifar-10-batches-py/" if python else "cifar-10-batches-bin/"
            for k in range(5):
                rows = slice(4 * k, 4 * k + 4)
                if python:
                    add(
                        archive,
                        f"{folder}data_batch_{k + 1}",
                        pickled(pictures[rows], labels[rows]),
                    )
                else:
                    data = cifar_records(pictures[rows], labels[rows], False)
                    add(archive, f"{folder}data_batch_{k + 1}.bin", data)
            last = ("test_batch", "batches.meta") if python else ("test_batch.bin", None)
        else:
            folder = "cifar-100-python/" if python else "cifar-100-binary/"
            if python:
                add(archive, folder + "train", pickled(pictures, labels))
            else:
                add(archive, folder + "train.bin", cifar_records(pictures, labels, True))
            last = ("test", "meta") if python else ("test.bin", None)
        if python:
            key = b"fine_label_names" if classes == 100 else b"label_names"
            add(archive, folder + last[0], pickled(test, labels[:classes]))
            meta = python2_pickle({key: [n.encode() for n in names]})
            add(archive, folder + last[1], meta)
        else:
            text = "batches.meta.txt" if classes == 10 else "fine_label_names.txt"
            add(archive, folder + last[0], cifar_records(test, labels[:classes], classes == 100))
            add(archive, folder + text, "\n".join(names).encode() + b"\n\n")
        add(archive, folder + "readme.html", b"<p>")
    return pictures, test


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("classes", [10, 100])
def test_cifar(tmp_path, classes, python):
    train, test = make_cifar(tmp_path / "archive.tar.gz", classes, python)
    out = tmp_path / "out"
    text = run(
        f"cifar{classes}", "--from", tmp_path / "archive.tar.gz", "--out", out, "--no-checksum"
    )
    assert f"{2 * classes} records, every one decodes" in text
    for name, wanted in (("train", train), ("test", test)):
        pictures, labels = read(out / f"{name}.rec")
        np.testing.assert_array_equal(pictures, wanted)
        assert labels == [k % classes for k in range(len(wanted))]
        assert (out / f"{name}.idx").exists()
    names = (out / "classes.txt").read_text().split()
    assert names == [f"class{k}" for k in range(classes)]


def test_svhn(tmp_path):
    from scipy.io import savemat

    parts = {}
    for seed, name in enumerate(("train", "extra", "test")):
        parts[name] = images(20, seed=seed), np.arange(20) % 10
        digits = np.where(parts[name][1] == 0, 10, parts[name][1])[:, None].astype(np.uint8)
        content = {"X": np.moveaxis(parts[name][0], 0, 3), "y": digits}
        savemat(tmp_path / f"{name}_32x32.mat", content, do_compression=True)
    run("svhn", "--from", tmp_path, "--out", tmp_path / "out", "--no-checksum")
    pictures, labels = read(tmp_path / "out" / "train.rec")
    np.testing.assert_array_equal(pictures, np.concatenate([parts["train"][0], parts["extra"][0]]))
    assert labels == [k % 10 for k in range(40)]
    pictures, labels = read(tmp_path / "out" / "test.rec")
    np.testing.assert_array_equal(pictures, parts["test"][0])
    (tmp_path / "extra_32x32.mat").write_bytes(b"no matrix")
    line = run("svhn", "--from", tmp_path, "--out", tmp_path / "new", "--no-checksum", fails=True)
    assert "extra_32x32.mat: cannot be read as a file of SVHN" in line


def test_wrong_checksum(tmp_path):
    make_cifar(tmp_path / "a.tar.gz", 10, False)
    line = run("cifar10", "--from", tmp_path / "a.tar.gz", "--out", tmp_path / "out", fails=True)
    assert "a.tar.gz: has the sha256" in line and "--no-checksum" in line
    assert not (tmp_path / "out").exists()


def test_damaged_archive_leaves_the_old_packs(tmp_path):
    make_cifar(tmp_path / "a.tar.gz", 10, False)
    arguments = ("cifar10", "--from", tmp_path / "a.tar.gz", "--out", tmp_path, "--no-checksum")
    run(*arguments)
    before = (tmp_path / "train.rec").read_bytes()
    data = (tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(data[: len(data) // 2])
    assert "a.tar.gz: cannot be read as an archive of CIFAR" in run(*arguments, fails=True)
    assert (tmp_path / "train.rec").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08" + bytes(100)])
def test_what_is_no_archive(tmp_path, content):
    (tmp_path / "a.tar.gz").write_bytes(content)
    arguments = ("--from", tmp_path / "a.tar.gz", "--out", tmp_path / "out", "--no-checksum")
    line = run("cifar10", *arguments, fails=True)
    assert "a.tar.gz: cannot be read as an archive of CIFAR" in line


def test_archives_damaged_anywhere(tmp_path):
    make_cifar(tmp_path / "a.tar.gz", 10, False)
    data = (tmp_path / "a.tar.gz").read_bytes()
    refused = 0
    for at in range(0, len(data), len(data) // 40):
        (tmp_path / "b.tar.gz").write_bytes(data[:at] + b"\xff" * 500 + data[at + 500 :])
        try:
            archives.read_cifar(tmp_path / "b.tar.gz", 10)
        except InputError as error:
            assert "b.tar.gz: " in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 20  # where the bytes still make sense only the checksum can tell


def test_archive_of_the_other_cifar(tmp_path):
    make_cifar(tmp_path / "a.tar.gz", 100, True)
    arguments = ("--from", tmp_path / "a.tar.gz", "--out", tmp_path / "out", "--no-checksum")
    assert "a.tar.gz" in run("cifar10", *arguments, fails=True)


def test_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        add(archive, "cifar-10-batches-py/data_batch_1", pickle.dumps(Evil(), protocol=2))
    with pytest.raises(InputError, match=r"asks for posix\.mkdir"):
        archives.read_cifar(tmp_path / "a.tar.gz", 10)
    assert not (tmp_path / "made").exists()


def test_download(tmp_path):
    """From a file: URL, which takes the same way as https."""
    content = os.urandom(3 << 20)
    (tmp_path / "there.bin").write_bytes(content)
    url = (tmp_path / "there.bin").as_uri()
    good = archives.Archive(url, hashlib.sha256(content).hexdigest())
    path = archives.fetch(good, str(tmp_path / "here"))
    assert Path(path).read_bytes() == content
    (tmp_path / "there.bin").unlink()
    assert archives.fetch(good, str(tmp_path / "here")) == path  # not fetched again
    with pytest.raises(InputError, match=r"there\.bin: cannot be downloaded .* --from"):
        archives.fetch(good, str(tmp_path / "elsewhere"))
    (tmp_path / "there.bin").write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"the download has the sha256"):
        archives.fetch(good, str(tmp_path / "elsewhere"))
    assert os.listdir(tmp_path / "elsewhere") == []


def make_folder(root, counts, side=40, extension=".png", seed=0):
    """Write class folders; give the images by path relative to root."""
    for k, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number, picture in enumerate(images(count, side, side + 10, seed=seed + k)):
            (root / name / f"{number}{extension}").write_bytes(recordio.encode(picture, extension))


def test_folder_with_train_and_val(tmp_path):
    make_folder(tmp_path / "in" / "train", {"cat": 7, "ant": 5}, extension=".jpg")
    make_folder(tmp_path / "in" / "val", {"cat": 2, "ant": 3}, seed=9)
    (tmp_path / "in" / "train" / "cat" / "notes.txt").write_text("no image")
    out = tmp_path / "out"
    text = run("folder", tmp_path / "in", "--out", out, "--names", "imagenet")
    assert "1 files are no images" in text and "notes.txt" in text
    assert (out / "classes.txt").read_text() == "ant\ncat\n"
    file = recordio.RecordFile(out / "imagenet_train.rec")
    packed = sorted((file.read(k).label, file.read(k).payload) for k in range(len(file)))
    wanted = sorted(
        (float(path.parent.name == "cat"), path.read_bytes())
        for path in (tmp_path / "in" / "train").rglob("*.jpg")
    )
    assert packed == wanted  # as they were, byte by byte
    assert [file.read(k).label for k in range(12)] != sorted(file.read(k).label for k in range(12))
    assert sorted(read(out / "imagenet_val.rec")[1]) == [0, 0, 0, 1, 1]


def test_folder_is_split_by_class(tmp_path):
    make_folder(tmp_path / "in", {"a": 10, "b": 20})
    run("folder", tmp_path / "in", "--out", tmp_path / "out", "--test-fraction", "0.2")
    train, test = (read(tmp_path / "out" / f"{name}.rec") for name in ("train", "test"))
    assert (train[1].count(0), train[1].count(1)) == (8, 16)
    assert (test[1].count(0), test[1].count(1)) == (2, 4)
    both = {picture.tobytes() for picture in train[0]} | {picture.tobytes() for picture in test[0]}
    assert len(both) == 30


def test_folder_of_training_images_alone(tmp_path):
    make_folder(tmp_path / "in", {"a": 3, "b": 2})
    run("folder", tmp_path / "in", "--out", tmp_path / "out", "--test-fraction", "0")
    assert sorted(os.listdir(tmp_path / "out")) == ["classes.txt", "train.idx", "train.rec"]


def test_folder_resized(tmp_path):
    make_folder(tmp_path / "in", {"a": 2, "b": 2}, extension=".jpg")
    arguments = ("folder", tmp_path / "in", "--test-fraction", "0", "--resize", "20")
    run(*arguments, "--out", tmp_path / "out")
    file = recordio.RecordFile(tmp_path / "out" / "train.rec")
    for k in range(4):
        assert file.read(k).payload[:2] == b"\xff\xd8"
        assert recordio.decode(file.read(k)).shape == (20, 25, 3)
    run(*arguments, "--out", tmp_path / "small", "--quality", "10")
    sizes = [os.path.getsize(tmp_path / folder / "train.rec") for folder in ("out", "small")]
    assert sizes[1] < sizes[0]


def test_packs_take_exactly_their_own_images(tmp_path):
    """Silent error 8: im2rec packs every list whose name begins alike."""
    make_folder(tmp_path / "set", {"a": 3, "b": 2})
    make_folder(tmp_path / "set100", {"a": 4, "b": 4}, seed=50)
    for name, count in (("set", 5), ("set100", 8)):
        run("folder", tmp_path / name, "--out", tmp_path / "out" / name, "--test-fraction", "0")
        assert len(recordio.RecordFile(tmp_path / "out" / name / "train.rec")) == count


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda f: None, (), "has no train/; give --test-fraction"),
        (lambda f: None, ("--test-fraction", "1"), "--test-fraction 1.0"),
        (lambda f: None, ("--test-fraction", "nan"), "--test-fraction nan"),
        (
            lambda f: None,
            ("--test-fraction", "0.9"),
            "in/a: --test-fraction 0.9 makes 3 of its 3 images test images; each part needs one",
        ),
        (
            lambda f: None,
            ("--test-fraction", "0.1"),
            "in/a: --test-fraction 0.1 makes 0 of its 3 images test images; each part needs one",
        ),
        (lambda f: (f / "c").mkdir(), ("--test-fraction", "0"), "c: a class without images"),
        (
            lambda f: (f / "a" / "1.png").write_bytes(b"\x89PNG nonsense"),
            ("--test-fraction", "0"),
            "1.png: is cut short, damaged or no image (13 bytes); mend or remove it",
        ),
        (lambda f: None, ("--quality", "0"), "argument --quality: '0' is not a number from 1"),
        (lambda f: None, ("--resize", "-1"), "argument --resize: '-1' is not a number at least 0"),
        (lambda f: (f / "train").mkdir(), (), "one of val, test, validation is wanted, 0 are"),
    ],
)
def test_bad_folders(tmp_path, change, arguments, message):
    make_folder(tmp_path / "in", {"a": 3, "b": 2})
    change(tmp_path / "in")
    line = run("folder", tmp_path / "in", "--out", tmp_path / "out", *arguments, fails=True)
    assert message in line
    assert not (tmp_path / "out" / "train.rec").exists()


def test_a_test_pack_of_an_earlier_call_is_not_mixed_with_new_training_images(tmp_path):
    make_folder(tmp_path / "in", {"a": 3, "b": 3})
    out = tmp_path / "out"
    run("folder", tmp_path / "in", "--out", out, "--test-fraction", "0.3")
    before = (out / "train.rec").read_bytes()
    line = run("folder", tmp_path / "in", "--out", out, "--test-fraction", "0", fails=True)
    assert "out/test.rec: is there from an earlier call" in line and "remove it" in line
    assert (out / "train.rec").read_bytes() == before
    (out / "test.rec").unlink()
    run("folder", tmp_path / "in", "--out", out, "--test-fraction", "0")
    assert len(recordio.RecordFile(out / "train.rec")) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: command"),
        (("mnist",), "invalid choice: 'mnist'"),
        (("cifar10",), "the following arguments are required: --out"),
        (("cifar10", "--out", "x", "--form", "y"), "unrecognized arguments: --form y"),
        (("cifar10", "--out", "x", "--thr", "2"), "unrecognized arguments: --thr 2"),
        (
            ("verify", "x.rec", "--threads", "0"),
            "argument --threads: '0' is not a number from 1 to",
        ),
        (("verify", "x.rec", "--num-classes=-3"), "--num-classes: '-3' is not a number from 1 to"),
        (("folder", "x", "--out", "y", "--test-fraction", "few"), "--test-fraction: invalid float"),
    ],
)
def test_bad_command_lines(arguments, message):
    line = run(*arguments, fails=True)
    assert message in line and "(see --help)" in line


def test_help_of_a_command():
    text = run("folder", "--help")
    assert "prepare_data.py folder" in text and "--test-fraction F" in text


def test_no_mxnet_is_needed(tmp_path):
    path = write(tmp_path / "a.rec", images(4))
    code = (
        "import sys\n"
        "sys.modules['mxnet'] = None\n"
        "from igc.data import prepare\n"
        f"options = prepare.parse(['verify', {path!r}])\n"
        "print(*options.run(options), sep='\\n')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )
    assert "4 records, every one decodes" in result.stdout, result.stderr


def test_classes_that_differ(tmp_path):
    make_folder(tmp_path / "in" / "train", {"a": 3, "b": 2})
    make_folder(tmp_path / "in" / "val", {"a": 3, "c": 2})
    line = run("folder", tmp_path / "in", "--out", tmp_path / "out", fails=True)
    assert "the classes of train/ and val/ differ: b, c" in line


def test_verify(tmp_path):
    path = write(tmp_path / "a.rec", images(20, 33, 44))
    text = run("verify", path, "--num-classes", 10)
    assert "20 records, every one decodes" in text and "height 33, width 44" in text
    assert "10 classes, labels 0 to 9, 2 images in each" in text
    assert "record 9 has the label 9" in run("verify", path, "--num-classes", 9, fails=True)
    assert "1 of 11 classes are empty: 10" in run("verify", path, "--num-classes", 11, fails=True)


@pytest.mark.parametrize(
    ("label", "word"),
    [(float("nan"), "nan"), (float("inf"), "inf"), (1.5, "1.5"), (-1, "-1"), ([-2], "-2")],
)
def test_verify_names_labels_that_are_no_classes(tmp_path, label, word):
    path = write(tmp_path / "a.rec", images(3), [0, label, 1])
    line = run("verify", path, fails=True)
    assert f"1 of 3 records are wrong: {path}: record 1 has the label {word}, which is no" in line


def test_verify_of_labels_in_vectors(tmp_path):
    """A vector of one label is a class; one of several must hold boxes."""
    one = write(tmp_path / "one.rec", images(4), [[0], [1], 1, [1]])
    assert "2 classes, labels 0 to 1, 1 to 3 images in each" in run("verify", one)
    several = write(tmp_path / "several.rec", images(2), [[0, -1.5], [1, float("nan"), 2]])
    line = run("verify", several, fails=True)
    assert "2 of 2 records are wrong" in line and "record 0 has no box" not in line
    assert "record 1 has 3 label(s) where a header and boxes are wanted" in line


def test_verify_names_damaged_records(tmp_path):
    path = tmp_path / "a.rec"
    with recordio.RecordWriter(path) as writer:
        for k, picture in enumerate(images(6)):
            payload = recordio.encode(picture)
            writer.write(k, payload if k not in (2, 4) else payload[:50])
    line = run("verify", path, fails=True)
    assert "2 of 6 records are wrong" in line and "record 2 " in line and "record 4 " in line


def test_verify_finds_an_index_that_misses_records(tmp_path):
    path = write(tmp_path / "a.rec", images(4))
    lines = (tmp_path / "a.idx").read_text().splitlines()
    (tmp_path / "a.idx").write_text("\n".join(lines[:2]) + "\n")
    assert "a.idx: the last of its 2 records ends at byte" in run("verify", path, fails=True)
    (tmp_path / "a.idx").write_text("\n".join(lines[:1] + lines[2:]) + "\n")
    assert "a.idx: lists 3 of the 4 records" in run("verify", path, fails=True)


def test_verify_of_missing_file(tmp_path):
    assert "no.rec: cannot be read" in run("verify", tmp_path / "no.rec", fails=True)


def test_grey_and_transparent_images(tmp_path):
    """A grey PNG and a PNG with transparency become three channels."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    grey = images(1)[0][..., 0]
    cv2.imwrite(str(tmp_path / "in" / "a" / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "in" / "a" / "alpha.png"), np.dstack([grey] * 4))
    run("folder", tmp_path / "in", "--out", tmp_path / "out", "--test-fraction", "0")
    for picture in read(tmp_path / "out" / "train.rec")[0]:
        np.testing.assert_array_equal(picture, np.dstack([grey] * 3))
