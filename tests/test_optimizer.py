"""The originals' Nesterov and initialiser against plain references."""

import mxnet as mx
import numpy as np
import pytest

from igc import initializer
from igc.errors import InputError
from igc.optimizer import Nesterov


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
