"""Spans at the edges: few threads, many images, values that are no numbers, wide strides."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from igc.operator.native_span import NativeSpan, supports

NET = "conv 0 8 3 3 1 1 1 1 1 0; bn 1 1e-5 0.9 0; relu 2; globalpool 3; dense 4 3 1"


def parameters_of(span, seed=0):
    random = np.random.RandomState(seed)
    return [random.uniform(0.1, 1, shape).astype("float32") for shape in span.parameter_shapes]


def test_fewer_threads_than_asked():
    code = (
        "import numpy as np, test_span_limits as t\n"
        "span = t.NativeSpan(t.NET, (2, 5, 6))\n"
        "data = np.random.RandomState(1).randn(4, 2, 5, 6).astype('float32')\n"
        "one = span.infer(data, t.parameters_of(span), threads=1)\n"
        "many = span.infer(data, t.parameters_of(span), threads=8)\n"
        "assert (one == many).all() and np.isfinite(one).all()\n"
    )
    environment = {**os.environ, "OMP_THREAD_LIMIT": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_many_images_in_a_row():
    span = NativeSpan("conv 0 8 1 1 1 1 0 0 1 0; dense 1 3 1", (2, 1, 1), isa="portable")
    parameters = parameters_of(span)
    data = np.random.RandomState(0).randn(100_000, 2, 1, 1).astype("float32")
    want = np.einsum("ni,oi->no", data[:, :, 0, 0], parameters[0][:, :, 0, 0])
    want = want @ parameters[1].T + parameters[2]
    got = span.infer(data, parameters, threads=1)
    np.testing.assert_allclose(got.reshape(want.shape), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("limit", ["relu 1", "clip 1 0 6"])
def test_what_is_no_number_stays_so(limit):
    span = NativeSpan(f"conv 0 8 1 1 1 1 0 0 1 0; {limit}", (2, 3, 3))
    weight = np.full(span.parameter_shapes[0], np.nan, "float32")
    data = np.ones((2, 2, 3, 3), "float32")
    assert np.isnan(span.infer(data, [weight])).all()
    assert np.isnan(span.forward(data, [weight])).all()


def test_normalisation_behind_two_averages():
    program = "globalpool 0; globalpool 1; bn 2 1e-5 0.9 0; dense 3 2 0"
    random = np.random.RandomState(3)
    data = random.randn(5, 8, 3, 3).astype("float32")
    gradient = random.randn(5, 2).astype("float32")
    found = []
    for reference in (False, True):
        span = NativeSpan(program, data.shape[1:], reference)
        parameters = parameters_of(span)
        span.forward(data, parameters)
        found.append(span.backward(data, parameters, gradient)[0])
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def test_a_wide_stride():
    span = NativeSpan("conv 0 8 1 1 1 1000 0 0 1 0", (1, 3, 2001))
    weight = np.ones(span.parameter_shapes[0], "float32")
    data = np.random.RandomState(0).randn(1, 1, 3, 2001).astype("float32")
    assert (span.infer(data, [weight]) == np.repeat(data[..., ::1000], 8, axis=1)).all()


def test_too_many_weights_are_refused():
    assert "too many weights" in supports("conv 0 1000000 99 99 1 1 0 0 1 0", 1_000_000)


def test_lanes_are_not_wasted():
    # a block that widens 48 channels to 96 and one that widens them to 192, in 24 groups: where
    # groups and members divide by eight alike, one layout must serve both convolutions and shortcut
    layers, width, size, floats, tensor = [], 48, 16, 0, 0
    for partition in (4, 8):
        wide, start = 2 * width, tensor
        statements = [
            (f"conv {{}} {wide} 3 3 2 2 1 1 24 0", None),
            ("permute {} 24", None),
            (f"conv {{}} {wide} 1 1 1 1 0 0 {partition} 0", None),
            (f"permute {{}} {partition}", None),
            ("bn {} 1e-5 0.9 0", None),
            (f"conv {{}} {wide} 1 1 2 2 0 0 24 0", start),
            ("bn {} 1e-5 0.9 0", None),
        ]
        for text, source in statements:
            layers.append(text.format(len(layers) if source is None else source))
        layers.append(f"add {len(layers)} {len(layers) - 2}")
        layers.append(f"relu {len(layers)}")
        tensor, width, size = len(layers), wide, size // 2
        floats += 4 * width * size * size  # two convolutions, the shortcut, the sum
    span = NativeSpan(";".join(layers), (48, 16, 16))
    parameters = parameters_of(span)
    data = np.random.RandomState(0).randn(64, 48, 16, 16).astype("float32")
    result = span.forward(data, parameters)
    span.backward(data, parameters, result)
    assert span.bytes < 3 * 64 * 4 * floats
