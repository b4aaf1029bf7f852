"""Packs with bad records: they are found, named, kept in mind, and left out when asked."""

import json
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from data_packs import collect, evaluation, images, training, write
from test_commands import TINY, fine, refused, run

from igc.data import bad, frames, index, recordio, skip, verify
from igc.data.survey import survey
from igc.errors import InputError

COUNT = 40
BAD = (7, 21, 33)


def payloads(count=COUNT):
    """Encode images that the tests then damage."""
    return [recordio.encode(picture) for picture in images(count)]


def pack(path, contents, labels=None):
    """Write a pack of encoded images, the label of each its number modulo 10."""
    with recordio.RecordWriter(path) as writer:
        for number, content in enumerate(contents):
            writer.write(number % 10 if labels is None else labels[number], content)
    return str(path)


@pytest.fixture
def damaged(tmp_path):
    """A pack of 40 whose records 7, 21 and 33 hold no image."""
    contents = payloads()
    return pack(tmp_path / "a.rec", [c[:60] if k in BAD else c for k, c in enumerate(contents)])


def overwrite(path, at, content):
    """Write over bytes of a file."""
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(content)


def insert(path, at, content):
    """Put bytes between those of a file; the index beside it is gone."""
    with open(path, "rb") as file:
        whole = file.read()
    with open(path, "wb") as file:
        file.write(whole[:at] + content + whole[at:])
    os.remove(index.path_of(path))


def starts(path):
    """Tell where a whole pack's records begin."""
    return index.build(path).tolist()


def open_sound(path, told=None, **changes):
    """Open a pack without its bad records."""
    told = [] if told is None else told
    return skip.open_sound(path, **{"num_classes": 10, "threads": 2, "tell": told.append} | changes)


def labels_of(source):
    return [int(source.read(number)[1]) for number in range(len(source))]


def test_a_whole_pack_is_surveyed_as_it_is_indexed(tmp_path):
    path = pack(tmp_path / "a.rec", [*payloads(5), b"1234" + frames.FRAME.pack(frames.MAGIC, 1)])
    found = survey(path)
    assert found.starts.tolist() == starts(path) and not found.gaps
    assert found.ends.tolist() == [*starts(path)[1:], os.path.getsize(path)]


@pytest.mark.parametrize("with_index", [True, False])
def test_survey_of_records_that_are_overwritten(tmp_path, with_index):
    """The index tells how many there were; without it they are one gap."""
    path = pack(tmp_path / "a.rec", payloads(8))
    begin = starts(path)
    overwrite(path, begin[2], bytes(begin[5] - begin[2]))
    if not with_index:
        os.remove(index.path_of(path))
    found = survey(path)
    assert sorted(found.gaps) == ([2, 3, 4] if with_index else [2])
    assert found.starts.tolist() == (begin if with_index else begin[:3] + begin[5:])


@pytest.mark.parametrize("garbage", [b"x" * 40, b"x" * 41, b"\x0a\x23\xd7\xce" * 5])
def test_survey_of_garbage_between_two_records(tmp_path, garbage):
    path = pack(tmp_path / "a.rec", payloads(6))
    begin = starts(path)
    insert(path, begin[3], garbage)
    found = survey(path)
    moved = [*begin[:4], *(start + len(garbage) for start in begin[3:])]
    assert list(found.gaps) == [3] and found.starts.tolist() == moved
    source = open_sound(path)
    assert labels_of(source) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("length", [4, 300, 1 << 28])
@pytest.mark.parametrize("number", [0, 3, 5])
def test_survey_of_a_wrong_length(tmp_path, length, number):
    """A length that is too large swallows no other record."""
    path = pack(tmp_path / "a.rec", payloads(6))
    begin = starts(path)
    overwrite(path, begin[number] + 4, struct.pack("<I", length))
    os.remove(index.path_of(path))
    source = open_sound(path)
    assert labels_of(source) == [k for k in range(6) if k != number]


def test_survey_of_a_pack_that_is_cut_short(tmp_path):
    path = pack(tmp_path / "a.rec", payloads(6))
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) - 50)
    assert list(survey(path).gaps) == [5]
    assert labels_of(open_sound(path)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("with_index", [True, False])
@pytest.mark.parametrize("number", [0, 3, 5])
def test_a_record_without_room_for_an_image(tmp_path, with_index, number):
    """Its frame is sound, so the walk passes it; at the ends a pack does not open with it."""
    contents = [
        recordio._HEADER.pack(0, k, k, 0) + content for k, content in enumerate(payloads(6))
    ]
    contents[number] = b"short"
    records = [b"".join(frames.split_parts(content)) for content in contents]
    path = str(tmp_path / "a.rec")
    Path(path).write_bytes(b"".join(records))
    if with_index:
        index.write(index.path_of(path), np.cumsum([0, *map(len, records[:-1])]))
    for _ in range(2):
        assert labels_of(open_sound(path)) == [k for k in range(6) if k != number]


def test_survey_of_what_is_no_pack(tmp_path):
    (tmp_path / "a.rec").write_bytes(b"no pack at all" * 100)
    with pytest.raises(InputError, match=r"a\.rec: holds no record"):
        survey(tmp_path / "a.rec")


def test_bad_records_are_left_out_and_named(damaged):
    told = []
    source = open_sound(damaged, told)
    assert told == [f"3 of 40 records of {damaged} are damaged and left out: 7, 21, 33"]
    assert len(source) == 37
    assert labels_of(source) == [k % 10 for k in range(COUNT) if k not in BAD]
    assert source.where(7) == f"{damaged}: record 8"
    kept = json.loads(Path(bad.path_of(damaged)).read_text())
    assert [entry["record"] for entry in kept["bad"]] == list(BAD)
    assert "record 21 holds no image" in kept["bad"][1]["reason"]


def test_a_wrong_label_is_bad_and_many_are_an_error(tmp_path):
    labels = [k % 10 for k in range(COUNT)]
    labels[5], labels[6], labels[9] = 17, float("nan"), -1
    path = pack(tmp_path / "a.rec", payloads(), labels)
    assert len(open_sound(path)) == COUNT - 3
    with pytest.raises(InputError, match=r"20 of 40 records are bad, too many .*label 17, which"):
        open_sound(path, num_classes=5)


def test_what_was_found_is_used_again(damaged, monkeypatch):
    open_sound(damaged)
    looked = []
    monkeypatch.setattr(verify, "inspect", lambda *a, **k: looked.append(a) or 1 / 0)
    assert len(open_sound(damaged)) == 37 and not looked
    with pytest.raises(ZeroDivisionError):  # labels are judged anew for other classes
        open_sound(damaged, num_classes=11)
    os.utime(damaged)
    with pytest.raises(ZeroDivisionError):  # the pack has changed
        open_sound(damaged)


def test_a_damaged_note_is_named(damaged):
    open_sound(damaged)
    path = Path(bad.path_of(damaged))
    text = path.read_text()
    for content in (text[:100], text.replace('"records": 40', '"records": 3'), "[1]", "[" * 9999):
        path.write_text(content)
        with pytest.raises(InputError, match=r"a\.rec\.bad\.json: .*remove it"):
            open_sound(damaged)


def test_a_note_that_cannot_be_written(damaged, monkeypatch, capsys):
    def refuse(*arguments, **settings):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert len(open_sound(damaged)) == 37
    assert "bad.json: cannot be written (Read-only file system)" in capsys.readouterr().err
    assert not os.path.exists(bad.path_of(damaged))


@pytest.mark.parametrize("side", [32, 80])
def test_batches_are_those_of_a_pack_that_never_had_them(tmp_path, side):
    """Also from a broken pack; the draws depend on seed, epoch and image number alone."""
    contents = [recordio.encode(picture) for picture in images(COUNT, side, side)]
    sound = [content for k, content in enumerate(contents) if k not in BAD]
    labels = [k % 10 for k in range(COUNT) if k not in BAD]
    wanted = pack(tmp_path / "sound.rec", sound, labels)
    path = pack(tmp_path / "a.rec", [c[:60] if k in BAD else c for k, c in enumerate(contents)])
    overwrite(path, starts(path)[21], b"garbage!")
    for epoch in (0, 3):
        sources = open_sound(path), wanted
        for a, b in zip(*(collect(training(s), epoch) for s in sources), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(*(collect(evaluation(s)) for s in (open_sound(path), wanted)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_other_place_of_an_index(damaged, tmp_path):
    os.rename(index.path_of(damaged), tmp_path / "other.idx")
    assert len(open_sound(damaged, path_idx=str(tmp_path / "other.idx"))) == 37
    assert not os.path.exists(index.path_of(damaged))


def test_verify_names_all_and_keeps_them(tmp_path):
    contents = payloads(60)
    path = pack(tmp_path / "a.rec", [c if k % 2 else c[:60] for k, c in enumerate(contents)])
    line = refused_line(run("prepare_data.py", "verify", path, cwd=tmp_path))
    assert "30 of 60 records are wrong: " in line
    assert re.search(
        r"record 4 .*; and 27 more: 6, 8, .*, 44 and 7 more; all are in \S+bad.json", line
    )
    kept = json.loads((tmp_path / "a.rec.bad.json").read_text())
    assert [entry["record"] for entry in kept["bad"]] == list(range(0, 60, 2))


def test_verify_goes_on_after_a_broken_place(tmp_path):
    path = pack(tmp_path / "a.rec", [c if k != 30 else c[:60] for k, c in enumerate(payloads())])
    overwrite(path, starts(path)[11], b"garbage!")
    line = refused_line(run("prepare_data.py", "verify", path, cwd=tmp_path))
    assert "2 of 40 records are wrong: " in line
    assert re.search(r"record 11: .*damaged at byte \d+.*; .*record 30 holds no image", line)


def refused_line(process):
    refused(process, "")
    return process.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a damaged training pack and a sound test pack."""
    folder = tmp_path_factory.mktemp("runs")
    contents = payloads()
    contents = [c[:60] if k in BAD else c for k, c in enumerate(contents)]
    overwrite(pack(folder / "train.rec", contents), 0, b"")
    write(folder / "test.rec", images(12, seed=1))
    return folder


COMMON = ["--dataset=cifar10", "--data-dir=.", "--gpus="]
TRAIN = [*TINY, *COMMON, "--batch-size=8", "--num-epochs=1", "--rand-seed=3", "--model-prefix=net_"]


@pytest.mark.parametrize("script", ["train_model.py", "train_imagenet.py"])
def test_training_stops_at_a_bad_record(runs, tmp_path, script):
    for path in runs.iterdir():
        if path.suffix in (".rec", ".idx"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    if script == "train_model.py":
        arguments = TRAIN
    else:
        arguments = [*TINY, "--data-train=train.rec", "--data-val=test.rec", "--batch-size=8"]
        arguments += ["--num-epochs=1", "--image-shape=3,32,32", "--num-classes=10", "--gpus="]
    refused(run(script, *arguments, cwd=tmp_path), r"train\.rec: record (7|21|33) holds no image")


def test_training_without_them(runs):
    printed = run("train_model.py", *TRAIN, "--skip-bad-records", cwd=runs)
    text = fine(printed) + printed.stderr
    assert "3 of 40 records of ./train.rec are damaged and left out: 7, 21, 33" in text
    assert "37 training and 12 test images" in text
    (prefix,) = {str(p)[: -len("-0001.params")] for p in runs.rglob("*-0001.params")}
    scored = ["--model-prefix", prefix, *COMMON, "--split=train"]
    refused(run("evaluate.py", *scored, cwd=runs), r"train\.rec: record (7|21|33) holds no image")
    printed = run("evaluate.py", *scored, "--skip-bad-records", cwd=runs)
    assert "37" in fine(printed)
    assert "3 of 40 records of ./train.rec are damaged and left out: 7, 21, 33" in printed.stderr


def test_imagenet_training_without_them(runs):
    arguments = [*TINY, "--data-train=train.rec", "--data-val=test.rec", "--batch-size=8"]
    arguments += ["--num-epochs=1", "--image-shape=3,32,32", "--num-classes=10", "--gpus="]
    arguments += ["--model-prefix=imagenet/", "--skip-bad-records"]
    printed = run("train_imagenet.py", *arguments, cwd=runs)
    text = fine(printed) + printed.stderr
    assert "3 of 40 records of train.rec are damaged and left out: 7, 21, 33" in text
