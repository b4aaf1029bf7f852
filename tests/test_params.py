"""``.params`` files: against MXNet's own reading and writing, byte by byte where they are bad."""

import struct
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest

from igc import params
from igc.errors import InputError

DTYPES = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool"]
SHAPES = [(1,), (3, 4), (2, 1, 1), (48, 2, 3, 3), (1, 2, 3, 4, 5)]


def _arrays():
    rng = np.random.default_rng(0)
    return {
        f"arg:{dtype}_{'x'.join(map(str, shape))}": rng.integers(0, 2, shape).astype(dtype)
        if dtype == "bool"
        else (rng.normal(0, 40, shape)).astype(dtype)
        for dtype in DTYPES
        for shape in SHAPES
    }


def _equal(a, b):
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_mxnet_reads_what_is_written(tmp_path):
    arrays, path = _arrays(), str(tmp_path / "a.params")
    params.save(path, arrays)
    _equal({name: array.asnumpy() for name, array in mx.nd.load(path).items()}, arrays)


def test_what_mxnet_writes_is_read(tmp_path):
    arrays, path = _arrays(), str(tmp_path / "a.params")
    mx.nd.save(
        path, {name: mx.nd.array(array, dtype=array.dtype) for name, array in arrays.items()}
    )
    _equal(params.load(path), arrays)


def test_file_without_names(tmp_path):
    path = str(tmp_path / "a.params")
    mx.nd.save(path, [mx.nd.ones((2, 3)), mx.nd.zeros((4,))])
    loaded = params.load(path)
    assert list(loaded) == ["0", "1"] and loaded["0"].shape == (2, 3)


@pytest.mark.parametrize("generation", ["V1", "before V1"])
def test_older_generations(tmp_path, generation):
    data = np.arange(6, dtype="<f4").reshape(2, 3)
    if generation == "V1":
        head = struct.pack("<IiqqiiI", 0xF993FAC8, 2, 2, 3, 1, 0, 0)
    else:
        head = struct.pack("<IIIiiI", 2, 2, 3, 1, 0, 0)
    name = b"arg:w"
    content = struct.pack("<QQQ", 0x112, 0, 1) + head + data.tobytes()
    content += struct.pack("<QQ", 1, len(name)) + name
    path = tmp_path / "old.params"
    path.write_bytes(content)
    np.testing.assert_array_equal(params.load(path)["arg:w"], data)
    np.testing.assert_array_equal(mx.nd.load(str(path))["arg:w"].asnumpy(), data)


def test_every_truncation_names_the_byte(tmp_path):
    path = tmp_path / "a.params"
    params.save(path, {"arg:w": np.ones((2, 3), np.float32), "aux:m": np.ones(2)})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=rf"a\.params.*byte {length}\b"):
            params.load(path)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, struct.pack("<Q", 7), "not a .params file"),
        (16, struct.pack("<Q", 1 << 60), "claims 1152921504606846976 arrays"),
        (28, struct.pack("<i", 1), "sparse"),
        (32, struct.pack("<i", 1000), "claims 1000 dimensions"),
        (36, struct.pack("<q", 1 << 60), "truncated"),
        (36, struct.pack("<q", -1), "claims the shape"),
        (60, struct.pack("<i", 99), "unknown dtype 99"),
    ],
)
def test_bad_headers(tmp_path, at, value, message):
    path = tmp_path / "a.params"
    params.save(path, {"arg:w": np.ones((2, 3), np.float32)})
    content = bytearray(path.read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        params.load(path)


def test_bytes_after_the_end_and_missing_file(tmp_path):
    path = tmp_path / "a.params"
    params.save(path, {"arg:w": np.ones(2)})
    path.write_bytes(path.read_bytes() + b"xy")
    with pytest.raises(InputError, match="2 bytes too many"):
        params.load(path)
    with pytest.raises(InputError, match="No such file"):
        params.load(tmp_path / "none.params")


def test_split_and_join():
    arrays = {"arg:a": np.ones(1), "aux:b": np.zeros(1)}
    arg, aux = params.split(arrays)
    assert list(arg) == ["a"] and list(aux) == ["b"]
    assert list(params.join(arg, aux)) == list(arrays)
    with pytest.raises(InputError, match="'c' is not a checkpoint's name"):
        params.split({"c": np.ones(1)}, "x.params")


def test_a_failed_write_leaves_the_file(tmp_path):
    path = tmp_path / "a.params"
    params.save(path, {"arg:w": np.ones(2)})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        params.save(path, {"arg:w": np.ones(2), "arg:c": np.ones(2, complex)})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.params"]


def test_reading_files_imports_no_mxnet():
    code = "import sys, igc, igc.params, igc.files; sys.exit('mxnet' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
