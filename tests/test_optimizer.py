"""The originals' Nesterov and initialiser against plain references."""

import ctypes

import mxnet as mx
import numpy as np
import pytest

from igc import initializer, operator
from igc.errors import InputError
from igc.operator import library, updates
from igc.optimizer import Nesterov

NAMES = ["a_weight", "b_beta", "c_weight", "d_other"]
SHAPES = [(3, 4), (5,), (1031, 1031), (2, 3, 3, 3)]
needs_library = pytest.mark.skipif(not operator.is_built(), reason="the library is not built")


def _reference(weight, grads, rates, momentum, wd, rescale=1.0, clip=None):
    """Nesterov's gradient as Torch has it, in float64."""
    buffer = np.zeros_like(weight)
    for grad, rate in zip(grads, rates, strict=True):
        grad = grad * rescale
        if clip is not None:
            grad = grad.clip(-clip, clip)
        grad = grad + wd * weight
        buffer = momentum * buffer + grad
        weight = weight - rate * (grad + momentum * buffer)
    return weight


def _run(weight, grads, rates, dtype="float64", **params):
    optimizer = Nesterov(learning_rate=rates[0], param_idx2name={0: "a_weight"}, **params)
    array = mx.nd.array(weight, dtype=dtype)
    state = optimizer.create_state(0, array)
    for grad, rate in zip(grads, rates, strict=True):
        optimizer.set_learning_rate(rate)
        optimizer.update(0, array, mx.nd.array(grad, dtype=dtype), state)
    return array.asnumpy()


def test_published_steps():
    """The figures of the originals' update: lr 0.1, and 0.01 at the third step."""
    steps = [
        _run(np.ones(1), [np.full(1, 0.5)] * n, [0.1, 0.1, 0.01][:n], momentum=0.9, wd=0.01)[0]
        for n in (1, 2, 3)
    ]
    np.testing.assert_allclose(steps, [0.9031, 0.765074, 0.747588], atol=5e-7)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("wd", [0.0, 1e-2])
@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_against_reference(momentum, wd, clip, dtype):
    rng = np.random.default_rng(1)
    weight, grads = rng.normal(size=(5, 3)), rng.normal(size=(6, 5, 3))
    rates = [0.1, 0.1, 0.05, 0.05, 0.2, 0.01]
    got = _run(
        weight, grads, rates, dtype, momentum=momentum, wd=wd, clip_gradient=clip, rescale_grad=0.25
    )
    expected = _reference(weight, grads, rates, momentum, wd, 0.25, clip)
    # MXNet takes the bound of the clipping as float32
    tolerance = {"float32": 1e-5, "float64": 1e-12 if clip is None else 1e-6}[dtype]
    np.testing.assert_allclose(got, expected, rtol=tolerance)


def updated(steps=4, dtype="float32", rate=0.1, lr_mult=None, **params):
    """Update four arrays by MXNet's updater, as a training on one device does."""
    rng = np.random.default_rng(0)
    settings = {"momentum": 0.9, "wd": 1e-3, "rescale_grad": 1 / 3, **params}
    optimizer = Nesterov(learning_rate=rate, param_idx2name=dict(enumerate(NAMES)), **settings)
    optimizer.set_wd_mult({})
    optimizer.set_lr_mult(lr_mult or {})
    updater = mx.optimizer.get_updater(optimizer)
    weights = [mx.nd.array(rng.normal(size=shape), dtype=dtype) for shape in SHAPES]
    read_before = []
    for number in range(steps):
        gradients = [mx.nd.array(rng.normal(size=shape), dtype=dtype) for shape in SHAPES]
        if number == 1:
            gradients[0][0, 0] = np.nan
        read_before.append(weights[2] * 2)  # still to be computed when the weights move on
        updater(list(range(len(NAMES))), gradients, weights)
    states = [updater.states[k] for k in range(len(NAMES)) if updater.states[k] is not None]
    assert optimizer.num_update == steps
    return [array.asnumpy() for array in (*weights, *read_before, *states)]


@needs_library
@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize(
    "changes", [{}, {"lr_mult": {"c_weight": 0.3}}, {"wd": 0.0}, {"rate": 0.0}]
)
def test_one_operator_for_all_arrays_gives_the_same_bits(monkeypatch, clip, changes):
    called = []
    native = updates.nesterov
    monkeypatch.setattr(updates, "nesterov", lambda *given: (called.append(1), native(*given)))
    ours = updated(clip_gradient=clip, **changes)
    assert len(called) == 4
    monkeypatch.setattr(updates, "has_nesterov", lambda arrays: False)
    for found, wanted in zip(ours, updated(clip_gradient=clip, **changes), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert len(called) == 4


@pytest.mark.parametrize("changes", [{"dtype": "float64"}, {"momentum": 0.0}])
def test_what_the_operator_does_not_update(monkeypatch, changes):
    monkeypatch.setattr(updates, "nesterov", lambda *given: pytest.fail("called"))
    assert np.isfinite(updated(**changes)[1]).all()


def test_a_library_without_the_operator(monkeypatch):
    monkeypatch.setattr(updates, "is_built", lambda: False)
    assert not updates.has_nesterov([mx.nd.zeros(3)])


def test_a_library_that_does_not_load(monkeypatch):
    """--operator=stock is the way out of it, and its training goes on without."""

    def load():
        raise InputError("damaged")

    monkeypatch.setattr(updates, "is_built", lambda: True)
    monkeypatch.setattr(updates, "load", load)
    updates._is_there.cache_clear()
    try:
        assert not updates.has_nesterov([mx.nd.zeros(3)])
    finally:
        updates._is_there.cache_clear()


@needs_library
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([mx.nd.zeros(3), mx.nd.zeros(4), mx.nd.zeros(3)], r"\(3\) comes with one of \(4\)"),
        ([mx.nd.zeros(3), mx.nd.zeros(3), mx.nd.zeros(3, dtype="float64")], "float32"),
    ],
)
def test_arrays_that_do_not_fit(arrays, message):
    operator.load()
    with pytest.raises(mx.MXNetError, match=message):
        updates.nesterov(*([array] for array in arrays), [0.1], [0.0], 0.9, 1.0)


@needs_library
def test_kernel_refuses():
    function = ctypes.CDLL(str(library.LIBRARY)).igc_nesterov_cpu
    function.restype = ctypes.c_char_p
    numbers = [ctypes.c_float(value) for value in (0.1, 0, 0.9, 1, -1)]
    wrong = function(ctypes.c_int64(-1), None, None, None, *numbers)
    assert wrong == b"nesterov: the count is negative"
    assert function(ctypes.c_int64(1), None, None, None, *numbers) == b"nesterov: an array is NULL"
    assert function(ctypes.c_int64(0), None, None, None, *numbers) is None


def test_decay_falls_on_gamma_beta_and_bias_too():
    names = dict(enumerate(["a_weight", "a_bias", "b_gamma", "b_beta", "data"]))
    optimizer = Nesterov(wd=0.1, param_idx2name=names)
    assert [optimizer._get_wd(index) for index in names] == [0.1, 0.1, 0.1, 0.1, 0.0]
    stock = mx.optimizer.create("nag", wd=0.1, param_idx2name=names)
    assert [stock._get_wd(index) for index in names] == [0.1, 0.0, 0.1, 0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "shape", "low", "high", "deviation"),
    [
        ("g1_b1_conv1_weight", (96, 2, 3, 3), None, None, np.sqrt(2 / 18)),
        ("fc_weight", (100, 192), -np.sqrt(1 / 192), np.sqrt(1 / 192), np.sqrt(1 / 192 / 3)),
        ("fc_bias", (10,), 0, 0, 0),
        ("g0_bn_gamma", (48,), 1, 1, 0),
        ("g0_bn_beta", (48,), 0, 0, 0),
        ("g0_bn_moving_mean", (48,), 0, 0, 0),
        ("g0_bn_moving_var", (48,), 0, 0, 0),
    ],
)
def test_igcv1_initialisation(name, shape, low, high, deviation):
    mx.random.seed(0)
    array = mx.nd.full(shape, 7)
    initializer.create("igcv1")(mx.init.InitDesc(name), array)
    values = array.asnumpy()
    np.testing.assert_allclose(values.std(), deviation, rtol=0.1, atol=1e-7)
    if low is not None:
        assert values.min() >= low - 1e-6 and values.max() <= high + 1e-6


def test_unknown_initializer():
    with pytest.raises(InputError, match="--initializer best"):
        initializer.create("best")
