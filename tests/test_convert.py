"""Parameters as safetensors, and from file to file: bits, names, refusals; and the command."""

import itertools
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from igc import cards, convert, params, safetensors_files
from igc.errors import InputError

pytest.importorskip("safetensors", reason="the extra [export]")

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "models/resnet_igc_d14L24M2_digits-0006.params"
# Found first on PYTHONPATH: nothing of the kind is installed.
HIDE = "import sys\nsys.modules['{name}'] = None\n"


def arrays():
    """Arrays of every type that both formats have, in an order that safetensors would change."""
    rng = np.random.default_rng(0)
    made = {}
    for dtype in ("bool", "int8", "uint8", "float16", "float32", "int32", "float64", "int64"):
        values = rng.integers(0, 2, (3, 5)) if dtype == "bool" else rng.normal(0, 40, (3, 5))
        made[f"arg:{dtype}"] = values.astype(dtype)
    made["aux:ünder/score.0"] = np.array([np.nan, -0.0, np.inf], "f4")
    made["arg:empty"] = np.zeros((0, 3), "f4")
    made["arg:half"] = params.BFloat16(rng.integers(0, 1 << 16, (2, 3)).astype(np.uint16))
    return made


def run(*arguments, cwd, hide=None):
    """Run the command, perhaps where a package is missing."""
    environment = None
    if hide:
        (cwd / "site").mkdir()
        (cwd / "site/sitecustomize.py").write_text(HIDE.format(name=hide))
        environment = {"PYTHONPATH": f"{cwd / 'site'}:{ROOT}", "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, str(ROOT / "convert.py"), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_there_and_back_is_bit_equal(tmp_path):
    files = [tmp_path / name for name in ("a.params", "b.safetensors", "c.params")]
    params.save(files[0], arrays())
    for source, target in itertools.pairwise(files):
        assert convert.convert(source, target) == [f"{target}: {len(arrays())} arrays"]
    assert files[2].read_bytes() == files[0].read_bytes()


def test_scalars_come_back(tmp_path):
    files = [tmp_path / name for name in ("a.params", "b.safetensors", "c.params")]
    scalars = {"w": np.array(3.5, "f4"), "half": params.BFloat16(np.array(5, "u2"))}
    params.save(files[0], scalars, numpy_shapes=True)
    convert.convert(files[0], files[1])
    (_, note) = convert.convert(files[1], files[2])
    assert note == "scalars (w, …): MXNet loads the file under mx.npx.set_np() alone"
    assert files[2].read_bytes() == files[0].read_bytes()


def test_other_programs_read_the_tensors(tmp_path):
    """The library's own reader: names as they are, and where the file comes from."""
    from safetensors import safe_open

    source, target = tmp_path / "a.params", tmp_path / "b.safetensors"
    made = arrays()
    params.save(source, made)
    convert.convert(source, target)
    with safe_open(target, "np") as file:
        assert set(file.keys()) == set(made)
        for name in set(made) - {"arg:half"}:  # NumPy has no bfloat16
            np.testing.assert_array_equal(file.get_tensor(name), made[name])
            assert file.get_tensor(name).dtype == made[name].dtype
        metadata = file.metadata()
    assert metadata["source"] == "a.params"
    assert metadata["source_sha256"] == cards.checksum(source)
    assert json.loads(metadata["order"]) == list(made)


def test_tensors_of_other_programs_are_read(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "a.safetensors"
    save_file({"b": np.ones((2, 3), "f4"), "a": np.arange(4)}, path, {"format": "np"})
    loaded, metadata = safetensors_files.load(path)
    assert set(loaded) == {"a", "b"} and metadata == {"format": "np"}
    np.testing.assert_array_equal(loaded["a"], np.arange(4))
    save_file({"a": np.ones(2, np.uint16)}, path)
    with pytest.raises(InputError, match=r"a\.safetensors: 'a' is U16, which \.params does not"):
        safetensors_files.load(path)


@pytest.mark.parametrize("order", ["[", "7", '["a", 3]', '["none", "a", "a"]'])
def test_an_order_that_somebody_altered(tmp_path, order):
    from safetensors.numpy import save_file

    save_file({"b": np.ones(2), "a": np.ones(3)}, tmp_path / "a.safetensors", {"order": order})
    loaded, _ = safetensors_files.load(tmp_path / "a.safetensors")
    assert sorted(loaded) == ["a", "b"]


def test_every_truncation_and_bad_headers(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors_files.save(path, {"arg:w": np.ones((2, 3), "f4")})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"a\.safetensors: is no safetensors file"):
            safetensors_files.load(path)
    for content in (struct.pack("<Q", 1 << 62) + b"{}", struct.pack("<Q", 2) + b"[]", b"x" * 99):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is no safetensors file"):
            safetensors_files.load(path)


def test_refusals(tmp_path):
    source = tmp_path / "a.params"
    rows = params.RowSparse(np.ones((1, 2), "f4"), np.array([3]), (5, 2))
    params.save(source, {"arg:w": np.ones(2), "arg:rows": rows})
    with pytest.raises(InputError, match=r"'arg:rows' is sparse \(row_sparse\).*--dense"):
        convert.convert(source, tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()
    lines = convert.convert(source, tmp_path / "b.safetensors", dense=True)
    assert lines[1] == "sparse, and dense now: arg:rows"
    convert.convert(source, tmp_path / "b.params", dense=True)
    np.testing.assert_array_equal(params.load(tmp_path / "b.params")["arg:rows"], rows.dense())
    with pytest.raises(InputError, match="is the file that is read"):
        convert.convert(source, f"{tmp_path}/./a.params")
    with pytest.raises(InputError, match="no tensor can have the name"):
        safetensors_files.save(tmp_path / "c.safetensors", {"__metadata__": np.ones(2)})
    with pytest.raises(InputError, match="complex128"):
        safetensors_files.save(tmp_path / "c.safetensors", {"w": np.ones(2, complex)})
    params.save(source, {"rows": rows})
    convert.convert(source, tmp_path / "c.params")
    assert (tmp_path / "c.params").read_bytes() == source.read_bytes()


def test_the_command_without_mxnet(tmp_path):
    done = run(DIGITS, "d.safetensors", cwd=tmp_path, hide="mxnet")
    assert done.stdout == "d.safetensors: 89 arrays\n", done.stderr
    done = run("d.safetensors", "d.params", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "d.params").read_bytes() == DIGITS.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "hide", "message"),
    [
        ((DIGITS, "d.safetensors"), "safetensors", "pip install 'safetensors>=0.8,<0.9'"),
        ((DIGITS, "d.onnx"), None, "d.onnx: the ending must be .params or .safetensors"),
        (("none.params", "d.safetensors"), None, "none.params: cannot be read"),
        ((DIGITS,), None, "target"),
    ],
)
def test_the_command_refuses_in_a_line(tmp_path, arguments, hide, message):
    done = run(*arguments, cwd=tmp_path, hide=hide)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert message in line
