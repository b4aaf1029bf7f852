"""Gradients, updates and running statistics of training steps, against MXNet's."""

import mxnet as mx
import numpy as np
import pytest
import torch
from pairs import distance, gradients_of, pair, steps_of
from small_networks import SMALL

import igc.optimizer  # noqa: F401  (MXNet learns the originals' one)
from igc import symbol as symbols
from igc.pytorch import optimizer
from igc.pytorch.loss import cross_entropy

CASES = [
    ("plain_igc", "nesterov"),
    ("resnet_igc", "sgd"),
    ("igcv3_cifar", "sgd"),
    ("igcv2", "nesterov"),
    ("cross", "nesterov"),
    ("ensemble", "nesterov"),
]
RATE, MOMENTUM, DECAY = 0.05, 0.9, 1e-2


def train(module, data, labels, name, steps):
    """Make steps on one batch; the gradients of the first one."""
    updates = optimizer.create(name, module, MOMENTUM, DECAY)
    module.train()
    first = None
    for _ in range(steps):
        updates.zero_grad()
        cross_entropy(module(data), labels, module.origin.heads).backward()
        if first is None:
            first = {name: array.copy() for name, array in gradients_of(module).items()}
        for group in updates.param_groups:
            group["lr"] = RATE
        updates.step()
    return first


def compare(net, folder, name, shape, steps, tolerance):
    module, values = pair(net, folder, shape)
    before = module.arrays()
    labels = np.arange(shape[0]) % 4
    params = {"learning_rate": RATE, "momentum": MOMENTUM, "wd": DECAY}
    gradients, after = steps_of(net, values, labels, name, params, steps)
    ours = train(module, torch.from_numpy(values["data"]), torch.from_numpy(labels), name, steps)
    fixed = {name for name, array in gradients.items() if name not in ours}
    assert all(name.endswith("_gamma") and not gradients[name].any() for name in fixed)
    largest = max(np.linalg.norm(array) for array in gradients.values())
    for key, gradient in ours.items():
        difference = np.linalg.norm(gradient - gradients[key])
        # what the next normalisation undoes has gradients that are rounding errors alone
        assert difference < tolerance * max(np.linalg.norm(gradients[key]), 1e-2 * largest), key
    for key, array in module.arrays().items():
        if key in fixed:
            assert array.tobytes() == before[key].tobytes(), key
        elif np.linalg.norm(after[key]) > 1e-6:
            assert distance(array, after[key]) < tolerance, key


@pytest.mark.parametrize("network, name", CASES)
def test_one_step(network, name, tmp_path):
    net = symbols.get_symbol(network, 4, operator="stock", **SMALL[network])
    compare(net, tmp_path, name, (4, 3, 32, 32), 1, 2e-4)


def test_fixed_gammas_multipliers_and_momentum_over_three_steps(tmp_path):
    data = mx.sym.Variable("data")
    net = mx.sym.BatchNorm(data, fix_gamma=True, eps=2e-5, momentum=0.6, name="first")
    weight = mx.sym.Variable("c_weight", lr_mult=0.5, wd_mult=3.0)
    net = mx.sym.Convolution(net, weight, num_filter=6, kernel=(3, 3), name="c")
    net = mx.sym.BatchNorm(net, fix_gamma=False, momentum=0.9, name="second")
    net = mx.sym.LeakyReLU(net, act_type="leaky", slope=0.1, name="leaky")
    net = mx.sym.FullyConnected(net, num_hidden=4, name="fc")
    net = mx.sym.SoftmaxOutput(net, grad_scale=0.5, name="softmax")
    for name in ("sgd", "nesterov"):
        compare(net, tmp_path, name, (4, 3, 6, 6), 3, 1e-5)
