"""igc.operator: loading the native library, and what it says to bad input."""

import subprocess
import sys
import threading

import mxnet as mx
import numpy as np
import pytest

from igc import operator
from igc.errors import InputError
from igc.operator import reorder


@pytest.fixture(autouse=True, scope="module")
def loaded():
    operator.load()


@pytest.mark.parametrize("factor", [0, -2, 2.0, "2", None, True])
@pytest.mark.parametrize("kind", [mx.sym, mx.nd])
def test_branch_factor_that_is_no_positive_integer(factor, kind):
    data = mx.sym.Variable("data") if kind is mx.sym else mx.nd.ones((1, 6, 2))
    with pytest.raises(InputError, match=r"igc1_reorder.*positive integer, not") as caught:
        reorder(data, factor, name="igc1_reorder")
    assert repr(factor) in str(caught.value)


def test_branch_factor_that_does_not_divide():
    with pytest.raises(InputError, match=r"'igc1'.* 5 does not divide the 48 channels.*\(1, 48, 2"):
        reorder(mx.nd.ones((1, 48, 2)), 5, name="igc1")
    symbol = reorder(mx.sym.Variable("data"), 5, name="igc1")
    for _ in range(2):  # earlier errors must not be in the way
        with pytest.raises((mx.MXNetError, RuntimeError)) as caught:
            symbol.simple_bind(mx.cpu(), data=(1, 48, 2))
        assert "operator igc1:" in str(caught.value)
        assert "branch_factor 5 does not divide the 48 channels" in str(caught.value)
        assert str(caught.value).count("Reorder: ") == 1


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "the attribute branch_factor is missing"),
        ({"branch_factor": 0}, "positive integer, not '0'"),
        ({"branch_factor": "3x"}, "positive integer, not '3x'"),
        ({"branch_factor": 10**30}, "positive integer, not '1000"),
    ],
)
def test_raw_operator_with_bad_attributes(attributes, message):
    with pytest.raises(mx.MXNetError, match=message):
        mx.sym.Reorder(mx.sym.Variable("data"), **attributes)


def test_raw_operator_with_bad_data():
    with pytest.raises(mx.MXNetError, match="float16, float32 or float64"):
        mx.nd.Reorder(mx.nd.ones((1, 6), dtype="int32"), branch_factor=2)
    with pytest.raises(mx.MXNetError, match=r"data of shape \(6\) has no channels"):
        mx.nd.Reorder(mx.nd.ones(6), branch_factor=2)
    symbol = mx.sym.Reorder(mx.sym.Variable("data"), branch_factor=2)
    with pytest.raises(mx.MXNetError, match=r"\(\?, 6, 2\) is not fully known"):
        symbol.infer_shape(data=(0, 6, 2))


def test_bad_data():
    with pytest.raises(InputError, match="Symbol or an NDArray, not ndarray"):
        reorder(np.ones((1, 6)), 2)
    with pytest.raises(InputError, match="has no channels"):
        reorder(mx.nd.ones(6), 2)


def test_load_is_idempotent_and_takes_threads():
    failures = []

    def attempt():
        try:
            operator.load()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert mx.nd.__name__ == "mxnet.ndarray"  # MXNet's own loader overwrites it


def run(code, **options):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def test_a_library_loaded_by_hand_counts():
    code = (
        "import igc, mxnet as mx; from igc import operator; from igc.operator import library\n"
        "mx.library.load(str(library.LIBRARY), verbose=False)\n"
        "print(operator.reorder(mx.nd.arange(6).reshape((1, 6)), 2).asnumpy().tolist())"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]]"


def test_not_built(tmp_path):
    code = (
        "import sys, pathlib; from igc import operator; from igc.operator import library\n"
        "library.LIBRARY = pathlib.Path(sys.argv[1]) / 'libigc_operator.so'\n"
        "assert not operator.is_built()\n"
        "import mxnet as mx; operator.reorder(mx.nd.ones((1, 6)), 2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("igc.errors.InputError: the native operator is ")
    assert "make venv" in done.stderr.splitlines()[-1]


def test_a_broken_library(tmp_path):
    broken = tmp_path / "libigc_operator.so"
    broken.write_bytes(b"no library")
    code = (
        "import sys, pathlib; from igc import operator; from igc.operator import library\n"
        f"library.LIBRARY = pathlib.Path({str(broken)!r})\n"
        "operator.load()"
    )
    done = run(code)
    assert done.returncode == 1
    assert "InputError: MXNet could not load" in done.stderr.splitlines()[-1]


def test_importing_does_not_import_mxnet():
    done = run("import sys, igc.operator; print('mxnet' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr
