"""``.params`` files: against MXNet's own reading and writing, byte by byte where they are bad."""

import struct
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest

from igc import params
from igc import symbol as symbols
from igc.errors import InputError
from igc.params.kinds import plain

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
    dense = {"arg:w": np.ones((2, 3), np.float32), "aux:m": np.ones(2)}
    params.save(path, {**dense, **_kinds()})
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
        (28, struct.pack("<i", 7), r"unknown storage type 7 \(byte 28\)"),
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


BFLOATS = np.array([[0x3F80, 0xC040, 0x0001], [0x7F80, 0x8000, 0xFFFF]], np.uint16)
ROWS = np.array([0, 3], np.int64)


def _kinds():
    """An array of each kind that NumPy has none of."""
    return {
        "arg:half": params.BFloat16(BFLOATS),
        "arg:rows": params.RowSparse(np.array([[1, 2], [3, 4]], "f4"), ROWS, (5, 2)),
        "arg:no rows": params.RowSparse(np.zeros((0, 2), "f8"), ROWS[:0], (5, 2)),
        "arg:entries": params.Csr(
            np.array([1, 2, 3], "f4"),
            np.array([0, 1, 1, 3], np.int64),
            np.array([2, 0, 3], np.int64),
            (3, 4),
        ),
    }


def _sparse_of_mxnet():
    matrix = mx.nd.array([[0, 0, 1, 0], [0, 0, 0, 0], [2, 0, 0, 3]])
    return {
        f"arg:{kind} {dtype}": getattr(mx.nd.sparse, make)(matrix.astype(dtype))
        for kind, make in (("rows", "row_sparse_array"), ("entries", "csr_matrix"))
        for dtype in ("float32", "float64", "float16", "int32", "int64", "uint8")
    } | {
        "arg:no rows": mx.nd.sparse.zeros("row_sparse", (3, 2)),
        "arg:no entries": mx.nd.sparse.zeros("csr", (3, 2)),
    }


def test_sparse_arrays_are_read_and_written_as_mxnet_does(tmp_path):
    theirs, ours = str(tmp_path / "theirs.params"), tmp_path / "ours.params"
    arrays = _sparse_of_mxnet()
    mx.nd.waitall()
    mx.nd.save(theirs, arrays)
    loaded = params.load(theirs)
    for name, array in arrays.items():
        kind = {"row_sparse": params.RowSparse, "csr": params.Csr}[array.stype]
        assert isinstance(loaded[name], kind), name
        assert loaded[name].dense().dtype == array.dtype
        np.testing.assert_array_equal(loaded[name].dense(), array.asnumpy(), err_msg=name)
    params.save(ours, loaded)
    assert ours.read_bytes() == (tmp_path / "theirs.params").read_bytes()


def test_sparse_arrays_that_mxnet_saved_before_they_were_computed(tmp_path):
    """MXNet 1.9.1 then writes 0 where the number of stored rows or entries stands first."""
    path = tmp_path / "a.params"
    for name, at in (("arg:rows", 36), ("arg:entries", 36)):
        array = _kinds()[name]
        params.save(path, {name: array})
        content = bytearray(path.read_bytes())
        assert struct.unpack_from("<q", content, at) == array.data.shape[:1]
        content[at : at + 8] = bytes(8)
        path.write_bytes(content)
        np.testing.assert_array_equal(params.load(path)[name].dense(), array.dense())
        np.testing.assert_array_equal(mx.nd.load(str(path))[name].asnumpy(), array.dense())


def test_mxnet_loads_every_kind(tmp_path):
    path = str(tmp_path / "a.params")
    kinds = _kinds()
    params.save(path, kinds)
    loaded = mx.nd.load(path)
    for name, array in kinds.items():
        theirs = loaded[name]
        if name == "arg:half":
            theirs = mx.nd.amp_cast(theirs, dtype="float32")
        else:
            theirs.check_format(full_check=True)
        np.testing.assert_array_equal(theirs.asnumpy(), array.dense(), err_msg=name)
    again = tmp_path / "again.params"
    mx.nd.save(str(again), loaded)
    assert again.read_bytes() == (tmp_path / "a.params").read_bytes()
    for name, array in params.load(path).items():
        assert type(array) is type(kinds[name]), name


def test_bfloat16_widens_exactly():
    wide = params.BFloat16(BFLOATS).dense()
    assert wide.dtype == np.float32
    np.testing.assert_array_equal(wide.view(np.uint32), BFLOATS.astype(np.uint32) << 16)
    assert wide[0].tolist()[:2] == [1.0, -3.0] and np.isinf(wide[1, 0])
    assert params.BFloat16(np.array(0x3F80, np.uint16)).dense().shape == ()
    with pytest.raises(ValueError, match="uint16"):
        params.BFloat16(wide)


def test_numpy_shapes(tmp_path):
    """Scalars and empty arrays, as ``mx.npx.save`` writes them; MXNet's flag is this thread's."""
    theirs, ours = str(tmp_path / "theirs.params"), str(tmp_path / "ours.params")
    arrays = {"a": np.array(3.5, np.float32), "b": np.zeros((0, 3), "f4"), "c": np.ones(2, "f4")}
    with mx.util.np_shape(True), mx.util.np_array(True):
        mx.npx.save(theirs, {name: mx.np.array(value) for name, value in arrays.items()})
        params.save(ours, arrays, numpy_shapes=True)
        loaded = mx.npx.load(ours)
    assert {name: value.shape for name, value in loaded.items()} == {
        name: value.shape for name, value in arrays.items()
    }
    assert loaded["a"].item() == 3.5
    read = params.load(theirs)
    assert [value.shape for value in read.values()] == [(), (0, 3), (2,)]
    _equal(read, arrays)
    params.save(ours, arrays)  # V2 has no scalars, but empty arrays
    shapes = {name: value.shape for name, value in mx.nd.load(ours).items()}
    assert shapes == {"a": (1,), "b": (0, 3), "c": (2,)}
    with pytest.raises(TypeError, match="no sparse arrays"):
        params.save(ours, _kinds(), numpy_shapes=True)


def test_arrays_without_a_shape(tmp_path):
    path = str(tmp_path / "a.params")
    for mark, dimensions in ((0xF993FAC9, 0), (0xF993FACA, -1)):
        array = struct.pack("<Iii", mark, 0, dimensions)
        content = struct.pack("<QQQ", 0x112, 0, 1) + array + struct.pack("<Q", 0)
        (tmp_path / "a.params").write_bytes(content)
        assert params.load(path)["0"].shape == (0,)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (36, struct.pack("<q", 1), r"array 0 at byte 24 is sparse and damaged: 2 rows of"),
        (56, struct.pack("<q", 1 << 40), "claims the shape"),
        (32, struct.pack("<i", -1), "is sparse and has no shape"),
        (84, struct.pack("<i", 0), "indices of dtype float32"),
        (84, struct.pack("<i", 12), "no whole numbers"),
        (124, struct.pack("<q", 5), "there is no row 5, 5 of them"),
        (124, struct.pack("<q", -1), "there is no row -1"),
        (124, struct.pack("<q", 0), "a row is stored twice"),
    ],
)
def test_damaged_row_sparse(tmp_path, at, value, message):
    path = tmp_path / "a.params"
    params.save(path, {"w": _kinds()["arg:rows"]})
    content = bytearray(path.read_bytes())
    # 24 mark, 28 storage, 32 the data's shape, 52 the shape, 72 device, 80 dtype, 84 the indices'
    # dtype, 88 their shape, 100 data, 116 indices
    content[at : at + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        params.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indptr": np.array([0, 2, 1, 3])}, "does not share"),
        ({"indptr": np.array([1, 1, 1, 3])}, "does not share"),
        ({"indptr": np.array([0, 1, 3])}, "3 numbers in indptr"),
        ({"indices": np.array([2, 0, 4])}, "no column 4, 4 of them"),
        ({"indices": np.array([2, 0, 0])}, "stored twice"),
        ({"indices": np.array([2.0, 0, 1])}, "indices of dtype float64"),
        ({"data": np.ones(2)}, "data of shape"),
        ({"shape": (3, 4, 1)}, "two dimensions"),
    ],
)
def test_wrong_csr(change, message):
    good = vars(_kinds()["arg:entries"])
    with pytest.raises(ValueError, match=message):
        params.Csr(**{**good, **change})


def test_networks_refuse_sparse_arrays_and_widen_bfloat16():
    kinds = _kinds()
    arg, _ = params.split({"arg:half": kinds["arg:half"]})
    assert arg["half"].dtype == np.float32
    with pytest.raises(InputError, match=r"x\.params: 'arg:rows' is sparse.*convert\.py --dense"):
        params.split({"arg:rows": kinds["arg:rows"]}, "x.params")
    assert plain(kinds["arg:rows"]).shape == (5, 2)
    assert plain(BFLOATS) is BFLOATS


def test_networks_load_bfloat16_and_no_sparse_arrays(tmp_path):
    path = tmp_path / "net-0001.params"
    params.save(path, {"arg:w": _kinds()["arg:half"], "aux:m": np.ones(2)})
    arg, aux = symbols.load_parameters(path)
    assert arg["w"].dtype == np.float32 and aux["m"].dtype == np.float64
    np.testing.assert_array_equal(arg["w"].asnumpy(), params.BFloat16(BFLOATS).dense())
    params.save(path, {"arg:w": _kinds()["arg:entries"]})
    with pytest.raises(InputError, match=r"net-0001\.params: 'arg:w' is sparse \(csr\)"):
        symbols.load_parameters(path)


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
