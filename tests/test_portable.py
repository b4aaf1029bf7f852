"""The CPU sources as a processor that is not x86-64 gets them."""

import ctypes

import pytest
from interleaved_cases import CASES as INTERLEAVED
from interleaved_cases import Kernels, close
from kernel_builds import build, compiler, copy_for_another_processor, sources
from test_span_kernels import CASES, check_result, check_step, right, train

from igc.operator.native_span import NativeSpan

pytestmark = pytest.mark.slow

NAMES = ("resnet_igc_kin_L5M3", "imagenet_grow_L", "igcv3_g2g4", "dense_layers", "add_limited")


@pytest.fixture(scope="module")
def portable(tmp_path_factory):
    """A library without what is behind __x86_64__, and without the files that need more."""
    cxx, folder = compiler(), tmp_path_factory.mktemp("portable")
    copy_for_another_processor(folder)
    library = folder / "libportable.so"
    flags = ["-fPIC", "-fopenmp", "-Wall", "-Wextra", "-Werror"]
    link = ["-shared", "-Wl,-z,defs"]
    build(cxx, sources(folder, x86=False), folder, library, flags, link)
    return library


def test_its_kernels(portable):
    function = ctypes.CDLL(str(portable)).igc_span_isas
    function.restype = ctypes.c_char_p
    assert function() == b"portable"


@pytest.mark.parametrize("name", NAMES)
def test_spans(portable, name):
    case = CASES[name]
    inputs, result, step = right(case)
    span = NativeSpan(case.program, case.shape[1:], library=portable)
    check_result(span.infer(inputs.data, inputs.parameters, threads=2), result)
    check_step(case, train(span, inputs, 2), step)


def test_interleaved_convolutions(portable):
    kernels = Kernels(portable)
    for case in INTERLEAVED:
        *inputs, head = case.values("float32")
        want, gradients = case.want(inputs, head)
        found = [head.copy(), *(array.copy() for array in inputs)]
        assert kernels.forward(case, inputs, found[0]) is None
        assert kernels.backward(case, head, inputs, found[1:]) is None
        for one, other in zip(found, (want, *gradients), strict=True):
            close(one, other)
