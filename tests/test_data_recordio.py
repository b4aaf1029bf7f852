"""RecordIO packs: our reader and writer against MXNet's, and damaged files."""

import errno
import os
import struct

import mxnet as mx
import numpy as np
import pytest

from igc.data import frames, index, recordio
from igc.errors import InputError

MAGIC = struct.pack("<I", frames.MAGIC)
PAYLOADS = [
    b"",
    b"a",
    b"1234567",
    MAGIC,
    MAGIC * 3,
    b"1234" + MAGIC + b"5678" + MAGIC + b"9",
    b"123" + MAGIC + b"x",  # not at a multiple of 4: stays whole
    bytes(range(256)) * 5,
    b"tail" + MAGIC,
]


def write(path, payloads, labels=None):
    with recordio.RecordWriter(path) as writer:
        for number, payload in enumerate(payloads):
            writer.write(number if labels is None else labels[number], payload)
    return str(path)


def image(seed=0, height=8, width=9):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_own_reader_reads_own_writer(tmp_path):
    path = write(tmp_path / "a.rec", PAYLOADS)
    file = recordio.RecordFile(path)
    assert len(file) == len(PAYLOADS)
    for number, payload in enumerate(PAYLOADS):
        record = file.read(number)
        assert (record.payload, record.label, record.id) == (payload, number, number)


def test_mxnet_reads_own_writer(tmp_path):
    path = write(tmp_path / "a.rec", PAYLOADS)
    reader = mx.recordio.MXIndexedRecordIO(index.path_of(path), path, "r")
    for number, payload in enumerate(PAYLOADS):
        header, content = mx.recordio.unpack(reader.read_idx(number))
        assert (content, header.label, header.id) == (payload, number, number)


def test_own_reader_reads_mxnet_writer_in_any_order_of_the_index(tmp_path):
    path, idx = str(tmp_path / "a.rec"), str(tmp_path / "a.idx")
    writer = mx.recordio.MXIndexedRecordIO(idx, path, "w")
    for number, payload in enumerate(PAYLOADS):
        header = mx.recordio.IRHeader(0, float(number), number, 0)
        writer.write_idx(number, mx.recordio.pack(header, payload))
    writer.close()
    lines = (tmp_path / "a.idx").read_text().splitlines()
    (tmp_path / "a.idx").write_text("\n".join(reversed(lines)) + "\n")
    file = recordio.RecordFile(path)
    assert [file.read(k).payload for k in range(len(file))] == PAYLOADS
    assert [file.read(k).label for k in range(len(file))] == list(range(len(PAYLOADS)))


def test_records_with_several_labels(tmp_path):
    """Silent error 9: each record of a detection pack gives just its own labels."""
    labels = [[2, 6, 0, 0.1, 0.2, 0.3, 0.4, 0], [2, 6, *range(60)], [7.5]]
    path = write(tmp_path / "a.rec", [b"x", b"yy", b"zzz"], labels)
    file = recordio.RecordFile(path)
    for number, label in enumerate(labels):
        record = file.read(number)
        np.testing.assert_array_equal(record.label, np.array(label, np.float32))
        assert record.payload == [b"x", b"yy", b"zzz"][number]
    reader = mx.recordio.MXIndexedRecordIO(index.path_of(path), path, "r")
    np.testing.assert_array_equal(
        mx.recordio.unpack(reader.read_idx(1))[0].label, np.array(labels[1], np.float32)
    )


def test_missing_index_is_built_and_kept(tmp_path):
    path = write(tmp_path / "a.rec", PAYLOADS)
    path_idx = tmp_path / "a.idx"
    text = path_idx.read_text()
    path_idx.unlink()
    file = recordio.RecordFile(path)
    assert file.read(5).payload == PAYLOADS[5]
    assert path_idx.read_text() == text


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS])
def test_missing_index_that_cannot_be_written(tmp_path, monkeypatch, capsys, reason):
    path = write(tmp_path / "a.rec", PAYLOADS)
    (tmp_path / "a.idx").unlink()

    def refuse(*arguments, **settings):
        raise OSError(reason, os.strerror(reason))

    # root may write anywhere
    monkeypatch.setattr("tempfile.mkstemp" if reason == errno.EROFS else "os.fsync", refuse)
    assert recordio.RecordFile(path).read(5).payload == PAYLOADS[5]
    assert os.listdir(tmp_path) == ["a.rec"]
    (line,) = capsys.readouterr().err.splitlines()
    assert f"a.idx: cannot be written ({os.strerror(reason)})" in line
    assert line.endswith("the index is built at each start")


def test_writer_leaves_the_old_pack_when_it_fails(tmp_path):
    path = write(tmp_path / "a.rec", [b"old"])
    with pytest.raises(RuntimeError), recordio.RecordWriter(path) as writer:
        writer.write(0, b"new")
        raise RuntimeError
    assert recordio.RecordFile(path).read(0).payload == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a.idx", "a.rec"]


@pytest.mark.parametrize("keep_index", [True, False])
@pytest.mark.parametrize("cut", [1, 9, 30])
def test_cut_short(tmp_path, cut, keep_index):
    path = write(tmp_path / "a.rec", [b"x" * 20] * 3)
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) - cut)
    if not keep_index:
        (tmp_path / "a.idx").unlink()
    with pytest.raises(InputError, match=r"a\.rec: record 2 .*cut short at byte 104"):
        recordio.RecordFile(path)


def test_cut_short_by_whole_records(tmp_path):
    path = write(tmp_path / "a.rec", [b"x" * 20] * 3)
    with open(path, "r+b") as file:
        file.truncate(52)
    with pytest.raises(InputError, match=r"a\.rec: record 1 should start at byte 52.*cut short"):
        recordio.RecordFile(path)


def test_damage_is_found_where_it_is(tmp_path):
    path = write(tmp_path / "a.rec", [b"x" * 20] * 3)
    with open(path, "r+b") as file:
        file.seek(52)
        file.write(b"oops")
    with pytest.raises(InputError, match=r"a\.rec: record 1 is damaged at byte 52"):
        recordio.RecordFile(path).read(1)
    (tmp_path / "a.idx").unlink()
    with pytest.raises(InputError, match=r"a\.rec: record 1 is damaged at byte 52"):
        index.build(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\t0\n1\tx\n", "is no index"),
        ("0\t0\n1\n", "is no index or cut short"),
        ("0\t99999999999999999999\n", "is no index"),
        ("", "is empty"),
        ("0\t4\n", "first record of .* at byte 4 instead of 0"),
        ("0\t-52\n1\t0\n", "first record of .* at byte -52 instead of 0"),
        ("0\t0\n1\t8\n", "puts record 1 of .* at byte 8, but it starts at byte 52"),
        ("0\t0\n1\t8\n2\t12\n", "no record starts at byte 12"),
        ("0\t0\n1\t0\n", "puts two records at byte 0"),
        ("0\t0\n1\t52\n", r"last of its 2 records ends at byte 104, but .*a\.rec has 156 bytes"),
    ],
)
def test_wrong_index(tmp_path, text, message):
    path = write(tmp_path / "a.rec", [b"x" * 20] * 3)
    (tmp_path / "a.idx").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        recordio.RecordFile(path)
    assert "a.idx" in str(caught.value)


def test_an_index_cut_anywhere_is_blamed(tmp_path):
    path = write(tmp_path / "a.rec", [b"x" * (7 * k) for k in range(13)])
    whole = (tmp_path / "a.idx").read_text()
    last_line = whole.rindex("\t")
    for length in range(len(whole) - 1):  # without its last line break it is whole
        (tmp_path / "a.idx").write_text(whole[:length])
        with pytest.raises(InputError, match=r"^\S+a\.idx: .*(remove it, it is built anew)"):
            recordio.RecordFile(path)
    assert length > last_line
    (tmp_path / "a.idx").unlink()
    assert len(recordio.RecordFile(path)) == 13


@pytest.mark.parametrize("missing", [1, 2])
def test_a_record_that_the_index_leaves_out(tmp_path, missing):
    """In the middle it shows when the record before it is read, so that opening stays quick."""
    path = write(tmp_path / "a.rec", [b"x" * 20] * 4)
    lines = (tmp_path / "a.idx").read_text().splitlines(keepends=True)
    del lines[missing]
    (tmp_path / "a.idx").write_text("".join(lines))
    file = recordio.RecordFile(path)
    message = (
        rf"a\.idx: puts record {missing} of .*a\.rec at byte {52 * missing + 52}, but it starts"
    )
    with pytest.raises(InputError, match=message):
        file.read(missing - 1)


@pytest.mark.parametrize("number", [0, 1])
def test_a_wrong_byte_in_the_middle_of_the_index(tmp_path, number):
    path = write(tmp_path / "a.rec", [b"x" * 20] * 4)
    (tmp_path / "a.idx").write_text("0\t0\n1\t5\n2\t104\n3\t156\n")
    with pytest.raises(
        InputError, match=r"a\.idx: puts record 1 .* at byte 5, but it starts at byte 52"
    ):
        recordio.RecordFile(path).read(number)


def test_a_wrong_length_in_the_pack_is_not_blamed_on_the_index(tmp_path):
    path = write(tmp_path / "a.rec", [b"x" * 20] * 4)
    for length in (30, 60):
        with open(path, "r+b") as file:
            file.seek(52 + 4)
            file.write(struct.pack("<I", length))
        with pytest.raises(InputError, match=r"a\.rec: record 1 (is damaged|.*cut short)"):
            recordio.RecordFile(path).read(1)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(InputError, match=r"no\.rec: cannot be read"):
        recordio.RecordFile(tmp_path / "no.rec")
    (tmp_path / "empty.rec").touch()
    with pytest.raises(InputError, match=r"empty\.rec: holds no records"):
        recordio.RecordFile(tmp_path / "empty.rec")


def test_record_without_header(tmp_path):
    body = b"".join(frames.split_parts(b"short"))
    (tmp_path / "a.rec").write_bytes(body)
    with pytest.raises(InputError, match=r"record 0 at byte 0 is too short"):
        recordio.RecordFile(tmp_path / "a.rec")


def test_png_is_lossless_and_colours_keep_their_order(tmp_path):
    picture = image()
    path = write(tmp_path / "a.rec", [recordio.encode(picture)])
    np.testing.assert_array_equal(recordio.decode(recordio.RecordFile(path).read(0)), picture)
    np.testing.assert_array_equal(
        mx.image.imdecode(recordio.encode(picture), to_rgb=True).asnumpy(), picture
    )


@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize("keep", [0, 10, 0.6, -3])
def test_undecodable_images(tmp_path, extension, keep):
    payload = recordio.encode(image(height=40, width=40), extension)
    keep = int(keep * len(payload)) if isinstance(keep, float) else keep
    path = write(tmp_path / "a.rec", [payload, payload[:keep]])
    file = recordio.RecordFile(path)
    recordio.decode(file.read(0))
    with pytest.raises(InputError, match=r"a\.rec: record 1 holds no image"):
        recordio.decode(file.read(1))
