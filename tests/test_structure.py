"""The papers' conditions and equations against brute force and against MXNet."""

import itertools
import math

import facts
import mxnet as mx
import numpy as np
import pytest
from execution import random_values

from igc import symbol as symbols
from igc.errors import InputError
from igc.operator import reorder_reference
from igc.summary import count
from igc.symbol import structure

SHAPE = (1, 3, 32, 32)
BLOCKS = [
    ("plain_igc", {"depth": 8, "primary_partition": 6, "secondary_partition": 2}, "g1_b1"),
    ("plain_igc", {"depth": 8, "primary_partition": 3, "secondary_partition": 5}, "g1_b2"),
    ("plain_igc", {"depth": 8, "primary_partition": 6, "secondary_partition": 2}, "g2_b2"),
    ("resnet_igc", {"depth": 8, "primary_partition": 4, "secondary_partition": 3}, "g1_b1_p2_two1"),
    ("igcv2", {"depth": 8, "width": 16, "branches": (4, 4)}, "g1_b1"),
    ("igcv2", {"depth": 8, "width": 12, "branches": (2, 3, 2)}, "g1_b1"),
    ("igcv3", {"multiplier": 0.25}, "seq-1-block1"),
    ("igcv3_g2g4", {"multiplier": 0.25}, "seq-2-block1"),
]


def chain_of(network, settings, block):
    symbol = symbols.get_symbol(network, 10, operator="stock", **settings)
    return symbol, structure.links(symbol, block, SHAPE)


@pytest.mark.parametrize(("channels", "groups"), [(6, 2), (6, 3), (12, 4), (5, 5), (5, 1)])
def test_permutation_matrix(channels, groups):
    matrix = structure.permutation_matrix(channels, groups)
    data = np.arange(2 * channels, dtype=np.float32).reshape(2, channels, 1, 1)
    expected = reorder_reference(data, groups)
    assert (np.einsum("oi,nihw->nohw", matrix, data) == expected).all()
    inverse = structure.permutation_matrix(channels, channels // groups)
    assert (inverse == matrix.T).all()


def linear_part(chain, values, data):
    """Compute a block's convolutions and permutations alone."""
    for link in chain:
        if link.kind == "permutation":
            data = mx.nd.array(reorder_reference(data.asnumpy(), link.groups))
            continue
        data = mx.nd.Convolution(
            data,
            mx.nd.array(values[f"{link.name}_weight"]),
            num_filter=link.width,
            kernel=(link.kernel,) * 2,
            pad=(link.kernel // 2,) * 2,
            num_group=link.groups,
            no_bias=True,
        )
    return data.asnumpy()


@pytest.mark.parametrize(("network", "settings", "block"), BLOCKS)
def test_composed_kernel_is_the_block(network, settings, block):
    symbol, chain = chain_of(network, settings, block)
    values = random_values(symbol, SHAPE)
    weights = {
        link.name: values[f"{link.name}_weight"] for link in chain if link.kind == "convolution"
    }
    kernel = structure.composed_kernel(chain, weights)
    assert kernel.shape == (chain[-1].width, chain[0].width_in, 3, 3)
    data = np.random.RandomState(1).normal(size=(2, chain[0].width_in, 7, 6))
    dense = mx.nd.Convolution(
        mx.nd.array(data),
        mx.nd.array(kernel),
        num_filter=len(kernel),
        kernel=(3, 3),
        pad=(1, 1),
        no_bias=True,
    ).asnumpy()
    # the window's place in the chain does not matter: what is outside of the image is 0
    expected = linear_part(chain, values, mx.nd.array(data))
    assert np.abs(dense - expected).max() <= 1e-5 * np.abs(expected).max()


def walk(chain, channel):
    """Follow every path from a channel, one by one."""
    ends = [channel]
    for link in chain:
        if link.kind == "permutation":
            per_group = link.width // link.groups
            ends = [end % per_group * link.groups + end // per_group for end in ends]
        else:
            fan_in, fan_out = link.width_in // link.groups, link.width // link.groups
            ends = [end // fan_in * fan_out + k for end in ends for k in range(fan_out)]
    return ends


@pytest.mark.parametrize(("network", "settings", "block"), BLOCKS)
def test_paths_one_by_one(network, settings, block):
    _, chain = chain_of(network, settings, block)
    counts = structure.paths(chain)
    for channel in range(chain[0].width_in):
        ends = walk(chain, channel)
        assert (np.bincount(ends, minlength=chain[-1].width) == counts[:, channel]).all()


def test_conditions_of_the_papers():
    found = [structure.complementary(structure.paths(chain_of(*block)[1])) for block in BLOCKS]
    assert found == ["strict"] * 6 + ["loose"] * 2
    # IGCV3: 24 paths between any two channels at widths 16, G1 = G2 = 2, expansion 6
    _, chain = chain_of("igcv3", {"blocks": (2, 1, 1, 1, 1, 1, 1)}, "seq-0-block1")
    assert chain[0].width_in == 16
    assert (structure.paths(chain) == 4).all()  # expansion 1
    wide = [
        structure.Link("convolution", "exp", 16, 96, 2),
        structure.Link("permutation", "p", 96, 96, 2),
        structure.Link("convolution", "dw", 96, 96, 96, 3),
        structure.Link("convolution", "linear", 96, 16, 2),
    ]
    assert (structure.paths(wide) == 24).all()
    without = structure.paths([link for link in wide if link.kind == "convolution"])
    assert set(np.unique(without)) == {0, 48}
    assert structure.complementary(without) is None


def test_rule_kin_is_loose():
    settings = {"depth": 8, "primary_partition": 4, "secondary_partition": 2}
    for rule, expected in (("kin", "loose"), ("kout", "strict")):
        _, chain = chain_of("resnet_igc", {**settings, "secondary_rule": rule}, "g2_b1_p2_two1")
        assert structure.complementary(structure.paths(chain)) == expected


@pytest.mark.parametrize(("primary", "secondary"), itertools.product((1, 2, 3, 24), (1, 2, 5)))
@pytest.mark.parametrize("window", [1, 9])
def test_wider_than_regular(primary, secondary, window):
    weights = structure.igc_parameters(primary, secondary, window)
    wider = primary * secondary > structure.regular_width(weights, window) * (1 + 1e-12)
    assert structure.wider_than_regular(primary, secondary, window) == wider


def test_parameters_are_those_of_the_block():
    _, chain = chain_of(*BLOCKS[0])
    assert structure.igc_parameters(6, 2) == sum(
        link.ones().size * link.kernel**2 for link in chain if link.kind == "convolution"
    )


@pytest.mark.parametrize("width", [64, 416])
@pytest.mark.parametrize("layers", [2, 3, 4, 6])
def test_balance_condition_is_the_least(width, layers):
    best = structure.balanced_branches(width, layers)
    assert math.isclose(math.prod(best), width)  # complementary
    least = structure.igcv2_parameters(width, best)
    for first, second in itertools.permutations(range(layers), 2):
        other = list(best)
        other[first] *= 1.1
        other[second] /= 1.1
        assert structure.igcv2_parameters(width, other) > least
    counts = [
        structure.igcv2_parameters(width, structure.balanced_branches(width, number))
        for number in range(1, 15)
    ]
    assert abs(1 + counts.index(min(counts)) - structure.best_layers(width)) < 1


@pytest.mark.parametrize("width", [1, 7, 12, 16, 27, 60, 416])
@pytest.mark.parametrize("layers", [None, 2, 3, 4])
def test_whole_branches_need_the_fewest_weights(width, layers):
    found = structure.whole_branches(width, layers)
    assert math.prod(found) == width and (layers is None or len(found) == layers)
    least = structure.igcv2_parameters(width, found)
    divisors = [k for k in range(1, width + 1) if width % k == 0]
    for number in (1, 2, 3) if layers is None else (layers,):
        for each in itertools.product(divisors, repeat=number):
            if math.prod(each) == width:
                assert structure.igcv2_parameters(width, each) >= least
    assert least >= structure.igcv2_parameters(
        width, structure.balanced_branches(width, len(found))
    ) * (1 - 1e-12)


def test_permutations_without_a_blocks_name():
    """The released graph's have the names that MXNet gives."""
    symbol = symbols.load_symbol(facts.released_file("igcv3"), "stock")
    shape = (1, 3, 224, 224)
    assert structure.first_block(symbol) == "seq-0-block0"
    ours = symbols.get_symbol("igcv3", 1000, operator="stock")
    for block in ("seq-0-block0", "seq-1-block1"):
        chains = [structure.links(net, block, shape) for net in (symbol, ours)]
        shown = [[(link.kind, link.width, link.groups) for link in chain] for chain in chains]
        assert shown[0] == shown[1] and "permutation" in {kind for kind, *_ in shown[0]}


def test_a_long_branch_is_no_projection():
    counted = count(symbols.get_symbol("fuse3", 10, operator="stock", depth=56), SHAPE)
    assert not [layer.name for layer in counted.layers if layer.on_shortcut]
    chain = structure.links(
        symbols.get_symbol("fuse3", 10, operator="stock", depth=14), "g2_b1_p0", SHAPE
    )
    assert [link.kernel for link in chain] == [3]


@pytest.mark.parametrize("shape", [(4, 6, 3, 3), (2, 2, 1, 1), (8, 4, 5, 5)])
def test_regular_convolution_in_four_branches(shape):
    weight = np.random.RandomState(0).normal(size=shape).astype(np.float32)
    data = np.random.RandomState(1).normal(size=(2, shape[1], 7, 7)).astype(np.float32)
    primary, order, secondary = structure.four_branches(weight)
    pad = {"kernel": shape[2:], "pad": (shape[2] // 2,) * 2, "no_bias": True}
    expected = mx.nd.Convolution(
        mx.nd.array(data), mx.nd.array(weight), num_filter=shape[0], **pad
    ).asnumpy()
    twice = mx.nd.array(np.concatenate([data, data], axis=1))
    parts = mx.nd.Convolution(
        twice, mx.nd.array(primary), num_filter=2 * shape[0], num_group=4, **pad
    )
    together = mx.nd.array(parts.asnumpy()[:, order])
    found = mx.nd.Convolution(
        together,
        mx.nd.array(secondary),
        num_filter=shape[0],
        num_group=shape[0],
        kernel=(1, 1),
        no_bias=True,
    ).asnumpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chain_of("plain_igc", {"depth": 8}, "g9_b1"), "no convolution of that name"),
        (lambda: chain_of("half", {"depth": 14}, "g1_b1"), "does not follow g1_b1_p1_two1_conv"),
        (lambda: chain_of("cross", {"depth": 26}, "g1_b1"), "lie side by side"),
        (lambda: structure.four_branches(np.ones((3, 4, 3, 3))), "even numbers of channels"),
        (
            lambda: structure.composed_kernel(
                [structure.Link("convolution", name, 2, 2, 1, 3) for name in "ab"],
                {name: np.ones((2, 2, 3, 3)) for name in "ab"},
            ),
            "b: a second window",
        ),
    ],
)
def test_what_does_not_work(call, message):
    with pytest.raises(InputError, match=message):
        call()
