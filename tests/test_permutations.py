"""Permutations folded into weights."""

import mxnet as mx
import numpy as np
import pytest
from execution import forward, random_values

from igc import symbol as symbols
from igc.operator.permutation import reorder_reference
from igc.symbol.attributes import operator_of
from igc.symbol.graph import dump
from igc.symbol.layers import Layers
from igc.symbol.permutations import fold_permutations, normalise_first, order_of
from igc.symbol.rewrite import make_stock
from igc.symbol.shapes import tensor_shapes


def folded(net, shape, change=fold_permutations):
    """Fold a network's permutations; compare both on random values, and give the counts."""
    values = random_values(net, shape)
    arrays = {name: value.astype(np.float32) for name, value in values.items()}
    graph = symbols.graph_of(net)
    before = forward(net, arrays)
    given = {name: array.copy() for name, array in arrays.items()}
    counts = change(graph, arrays, tensor_shapes(net, {"data": shape}))
    for name, array in arrays.items():  # moved, never reckoned with
        np.testing.assert_array_equal(np.sort(array, axis=None), np.sort(given[name], axis=None))
    kinds = [operator_of(node) for node in graph.nodes()]
    make_stock(graph)
    after = forward(mx.sym.load_json(dump(graph)), arrays)
    np.testing.assert_allclose(after, before, rtol=2e-4, atol=1e-6)
    return counts, kinds


@pytest.mark.parametrize(("channels", "groups"), [(12, 3), (12, 1), (12, 12), (35, 5), (1, 1)])
def test_order(channels, groups):
    data = np.random.default_rng(0).random((2, channels, 3))
    expected = reorder_reference(data, groups)
    np.testing.assert_array_equal(data[:, order_of(channels, groups)], expected)


@pytest.mark.parametrize(
    ("name", "settings", "before", "after"),
    [
        # the last one, before the classifier
        ("plain_igc", {"depth": 8, "primary_partition": 6, "secondary_partition": 2}, 12, 11),
        # and those of the first stage, whose M = 1 makes its second convolution a regular one
        ("plain_igc", {"depth": 8, "primary_partition": 6, "secondary_partition": 1}, 12, 7),
        ("IGC-d8-L6M9", {}, 12, 11),
        ("IGC-d8-L64M1", {}, 12, 0),
        # residual additions read what is permuted and what is not
        ("resnet_igc", {"depth": 8, "primary_partition": 6, "secondary_partition": 2}, 12, 12),
    ],
)
def test_networks(name, settings, before, after):
    net = symbols.get_symbol(name, 10, operator="stock", **settings)
    assert folded(net, (2, 3, 32, 32))[0] == (before, after)


def layered(build):
    """Build a small graph of 12 channels that ends in a classifier."""
    layers = Layers("stock", 0.9, 1e-5)
    data = mx.sym.Variable("data")
    out = build(layers, data)
    return mx.sym.FullyConnected(mx.sym.Flatten(out), num_hidden=3, name="fc")


def conv(data, name, groups=1, size=3):
    return mx.sym.Convolution(
        data, kernel=(size, size), pad=(size // 2,) * 2, num_filter=12, num_group=groups, name=name
    )


CASES = {
    "two that undo each other": (
        lambda layers, x: layers.permutation(
            mx.sym.relu(layers.permutation(conv(x, "a", 3), 3, "r1")), 4, "r2"
        ),
        (2, 0),
    ),
    "through batch norm and a channel-wise convolution into a regular one": (
        lambda layers, x: conv(
            conv(mx.sym.BatchNorm(layers.permutation(conv(x, "a", 3), 3, "r"), name="n"), "d", 12),
            "b",
        ),
        (1, 0),
    ),
    "back into a regular convolution": (
        lambda layers, x: conv(
            layers.permutation(mx.sym.BatchNorm(conv(x, "a"), name="n"), 3, "r"), "b", 2
        ),
        (1, 0),
    ),
    "between group convolutions it stays": (
        lambda layers, x: conv(layers.permutation(conv(x, "a", 3), 3, "r"), "b", 4),
        (1, 1),
    ),
    "into the classifier, map and all": (
        lambda layers, x: layers.permutation(conv(x, "a", 3), 3, "r"),
        (1, 1),
    ),
    "what two read stays": (
        lambda layers, x: (lambda p: conv(p, "b") + p)(layers.permutation(conv(x, "a", 3), 3, "r")),
        (1, 1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name):
    build, counts = CASES[name]
    assert folded(layered(build), (2, 12, 5, 5))[0] == counts


def test_batch_norm_comes_first():
    net = layered(
        lambda layers, x: mx.sym.BatchNorm(
            layers.permutation(conv(x, "a", 3), 3, "r"), name="n", fix_gamma=False
        )
    )
    _, kinds = folded(net, (2, 12, 5, 5), normalise_first)
    assert kinds.index("BatchNorm") < kinds.index("Reorder")
