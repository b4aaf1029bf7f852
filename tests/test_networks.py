"""The networks against the figures of the originals, and against each other."""

import re
import subprocess
import sys
import warnings

import facts
import mxnet as mx
import numpy as np
import pytest
from execution import random_values, train
from small_networks import SMALL, size_of

from igc import operator as native
from igc import symbol as symbols
from igc.errors import InputError, InputWarning
from igc.operator import reorder_reference
from igc.summary import count
from igc.symbol import igcv2, structure
from igc.symbol.layers import Layers

PERMUTING = [name for name in SMALL if "igc" in name]
RECONSTRUCTED = ("igcv1_constwidth", "igcv2_candidate")
CIFAR_STRIDES = (1, 1, 1, 2, 2, 1, 1, 1)

needs_native = pytest.mark.skipif(not native.is_built(), reason="the native operator is not built")


def build(network, operator="stock", **settings):
    return symbols.get_symbol(network, operator=operator, **settings)


def shapes(net, data_shape):
    arguments, outputs, auxiliary = net.infer_shape(data=data_shape)
    return (
        dict(zip(net.list_arguments(), arguments, strict=True)),
        dict(zip(net.list_auxiliary_states(), auxiliary, strict=True)),
        outputs,
    )


@pytest.mark.parametrize("fact", facts.buildable(), ids=lambda fact: fact["name"])
def test_arguments_equal_the_originals(fact):
    net = build(**fact["settings"])
    arguments, auxiliary, outputs = shapes(net, fact["data_shape"])
    assert net.list_outputs() == fact["outputs"]
    classes = fact["settings"].get("num_classes", 10)
    assert outputs == [(1, classes)] * len(fact["outputs"])
    if fact["name"].startswith(RECONSTRUCTED):  # with block names of their own
        assert list(arguments.values()) == list(fact["arguments"].values())
        assert list(auxiliary.values()) == list(fact["auxiliary"].values())
    else:
        assert list(arguments.items()) == list(fact["arguments"].items())
        assert list(auxiliary.items()) == list(fact["auxiliary"].items())


def test_every_network_has_figures():
    with_facts = {fact["settings"]["network"] for fact in facts.buildable()}
    # two are compared with published counts below, two with their figures in test_ssd.py
    with_facts |= {"igcv2_imgnet", "igcv3_cifar", "igcv3_wide", "mobilenetv2_ssd"}
    assert with_facts == set(symbols.list_networks(presets=False))


@pytest.mark.parametrize(
    ("released", "network", "settings"),
    [
        ("resnet_d18", "resnet_imgnet_d18", {"primary_partition": 64}),
        ("resnet_d18_w69", "resnet_imgnet_d18", {"primary_partition": 69}),
        (
            "resnet_gcwf_noshare_imagenet_d18b100",
            "resnet_igc_imgnet_d18",
            {"primary_partition": 100, "block_names": "conv"},
        ),
        (
            "resnet_gcwf_noshare_imagenet_d18b16",
            "resnet_igc_imgnet_d18",
            {
                "primary_partition": 16,
                "secondary_partition": 16,
                "grow": "M",
                "first_stage_multiplier": 1,
                "block_names": "conv",
            },
        ),
        (
            "resnet_gcwf_noshare_imagenet_d18b4",
            "resnet_igc_imgnet_d18",
            {
                "primary_partition": 4,
                "secondary_partition": 32,
                "grow": "M",
                "first_stage_multiplier": 1,
                "block_names": "conv",
            },
        ),
        ("igcv3", "igcv3", {}),
        ("imagenet1k-mnetv2-1_0", "mobilenetv2", {}),
        ("imagenet1k-mnetv2-1_4", "mobilenetv2", {"multiplier": 1.4}),
    ],
)
def test_released_graphs_can_be_built(released, network, settings):
    (fact,) = [fact for fact in facts.load("released") if fact["name"] == f"released_{released}"]
    arguments, auxiliary, _ = shapes(build(network, **settings), fact["data_shape"])
    assert list(arguments.items()) == list(fact["arguments"].items())
    assert list(auxiliary.items()) == list(fact["auxiliary"].items())


@pytest.mark.parametrize(
    ("primary", "secondary", "millions"), [(16, 32, 17.668), (450, 2, 19.274), (32, 26, 24.057)]
)
def test_published_igcv1_rows_need_rule_kout(primary, secondary, millions):
    net = build(
        "resnet_igc",
        num_classes=100,
        depth=20,
        primary_partition=primary,
        secondary_partition=secondary,
        secondary_rule="kout",
    )
    assert round(count(net, (1, 3, 32, 32)).papers_parameters / 1e6, 3) == millions


@pytest.mark.parametrize(
    ("settings", "classes", "size", "parameters", "multiply_adds"),
    [
        # without the released files' slips
        ({"multiplier": 0.7, "legacy_width": False}, 1000, 224, 2.502, 174.6),
        ({"multiplier": 1.4, "legacy_width": False}, 1000, 224, 6.024, 590.0),
        # the paper's 2.0 M and 170 M
        (
            {"multiplier": 0.7, "legacy_width": False, "legacy_last": False},
            1000,
            224,
            2.032,
            170.0,
        ),
        # CIFAR-100
        ({"strides": CIFAR_STRIDES}, 100, 32, 2.339, 166.2),
        (
            {"strides": "1,1,1,2,2,1,1,1", "blocks": "1,2,3,4,3,3,1"},
            100,
            32,
            1.495,
            100.5,
        ),
    ],
)
def test_igcv3_variants(settings, classes, size, parameters, multiply_adds):
    summary = count(build("igcv3", num_classes=classes, **settings), (1, 3, size, size))
    assert round(summary.parameters / 1e6, 3) == parameters
    assert round(summary.multiply_adds / 1e6, 1) == multiply_adds


@pytest.mark.parametrize(
    ("preset", "parameters", "multiply_adds"),
    [
        # what is known of the networks without facts: networks.md, 2.4 to 2.8
        ("IGC-L4M32", 12_251_240, 1944.6),
        ("IGC-L16M16", 13_528_296, 2266.0),
        ("IGC-L100M2", 8_637_900, 1264.8),
        ("IGC-d8-L40M2", 39_220, 30.7),
        ("IGC-d8-L64M1", 37_156, 30.5),
        ("IGCV2-C416", 650_308, 123.5),
        ("IGCV3-D", 3_491_688, 313.0),
        ("igcv3_cifar", 2_338_788, 166.2),
        ("igcv3_cifar_0.5x", 1_495_012, 100.5),
        ("igcv3_corrected", 3_491_688, 313.0),
    ],
)
def test_presets(preset, parameters, multiply_adds):
    network = symbols.find_network(preset)
    summary = count(build(preset), (1, *network.image_shape))
    assert summary.parameters == parameters
    assert round(summary.multiply_adds / 1e6, 1) == multiply_adds


@pytest.mark.parametrize(
    ("preset", "parameters", "multiply_adds"),
    [("IGCV2-1.0", 4.1, 564), ("IGCV2-0.5", 1.3, 156), ("IGCV2-0.25", 0.5, 46)],
)
def test_igcv2_imgnet_comes_near_the_published_counts(preset, parameters, multiply_adds):
    summary = count(build(preset), (1, 3, 224, 224))
    assert round(summary.parameters / 1e6, 1) == parameters
    assert summary.multiply_adds / 1e6 == pytest.approx(multiply_adds, rel=0.005)


def test_settings_of_a_preset_can_be_changed():
    net = build("igc-l4m32", secondary_partition=2, num_classes=3)
    arguments, _, outputs = shapes(net, (1, 3, 224, 224))
    assert arguments["g0_conv_weight"] == (8, 3, 7, 7)
    assert outputs == [(1, 3)]


@pytest.mark.parametrize("relus", ["none", "expand+depthwise", ("depthwise", "linear")])
def test_relus_stand_where_they_are_asked_for(relus):
    net = build("igcv3", relus=relus, blocks=(1,) * 7)
    names = {name for name in net.get_internals().list_outputs() if name.endswith("relu6_output")}
    found = {re.sub(r"seq-\d-block0-(\w+)-relu6_output", r"\1", name) for name in names}
    wanted = set() if relus == "none" else set(relus.split("+") if "+" in relus else relus)
    assert {name for name in found if "conv" not in name} == {
        {"expand": "exp"}.get(name, name) for name in wanted
    }


@pytest.mark.parametrize(("depth", "counts"), [(24, "1, 2, 2"), (110, None)])
def test_dmrnet_warns_of_depths_that_do_not_divide(depth, counts):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build("cross", depth=depth)
    assert [issubclass(entry.category, InputWarning) for entry in caught] == (
        [True] if counts else []
    )
    for entry in caught:
        assert f"the stages get {counts} blocks" in str(entry.message)


@pytest.mark.parametrize(
    ("width", "branches", "expected"),
    [(16, (4, 4), 1), (12, (4, 3), 1), (12, (2, 2, 3), 1), (8, (4, 4), 2), (27, (3, 3, 3), 1)],
)
def test_igcv2_block_has_so_many_paths(width, branches, expected):
    layers = Layers("stock", bn_momentum=0.9, bn_eps=1e-5)
    groups = [width // branch for branch in branches]
    block = igcv2.block(layers, layers.data(), width, width, groups, "block")
    linear = block.get_internals()[f"block_reorder{len(branches) + 1}_output"]
    found = paths_of(linear, width, width)
    assert (found == expected).all()


@pytest.mark.parametrize("multiplier", [0.25, 0.5, 0.6, 0.75, 1.3, 1.4, 2.0])
@pytest.mark.parametrize("network", ["igcv3", "igcv3_wider", "igcv3_g2g4"])
def test_igcv3_splits_at_every_multiplier(network, multiplier):
    for legacy in (True, False):
        net = build(
            network, multiplier=multiplier, legacy_width=legacy, legacy_last=legacy, num_classes=7
        )
        assert shapes(net, (1, 3, 64, 64))[2] == [(1, 7)]


@pytest.mark.parametrize("name", sorted(SMALL))
def test_every_parameter_gets_a_gradient(name):
    net = build(name, num_classes=4, **SMALL[name])
    output, gradients = train(net, random_values(net, (3, 3, size_of(name), size_of(name))))
    assert output.shape == (3, 4)
    assert np.allclose(output.sum(axis=1), 1, atol=1e-5)
    for parameter, gradient in gradients.items():
        if not parameter.endswith("label"):
            assert np.isfinite(gradient).all(), parameter
            assert np.abs(gradient).max() > 0, parameter


@needs_native
@pytest.mark.parametrize("name", PERMUTING)
def test_native_and_stock_compute_the_same(name):
    size = size_of(name)
    stock, guarded = (
        build(name, operator, num_classes=4, **SMALL[name]) for operator in ("stock", "native")
    )
    assert "Reorder" not in stock.tojson()
    assert '"Reorder"' in guarded.tojson()
    assert stock.list_arguments() == guarded.list_arguments()
    permutations = [n for n in guarded.get_internals().list_outputs() if "identity" in n]
    assert permutations
    for identity in permutations:  # the layers have the same names in both
        assert identity.replace("_identity", "") in stock.get_internals().list_outputs()
    values = random_values(stock, (2, 3, size, size))
    expected, expected_gradients = train(stock, values)
    output, gradients = train(guarded, values)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-6)
    for parameter, gradient in expected_gradients.items():
        scale = np.abs(gradient).max() + 1e-12
        assert np.abs(gradients[parameter] - gradient).max() <= 1e-3 * scale, parameter


@pytest.mark.parametrize("operator", ["stock", pytest.param("native", marks=needs_native)])
@pytest.mark.parametrize(
    ("channels", "groups"), [(6, 2), (6, 3), (12, 4), (5, 5), (5, 1), (96, 24)]
)
def test_permutation_is_the_index_formula(operator, channels, groups):
    layers = Layers(operator, bn_momentum=0.9, bn_eps=1e-5)
    net = layers.permutation(layers.data(), groups, "deal")
    assert net.list_outputs() == ["deal_output"]
    data = np.random.RandomState(0).normal(size=(2, channels, 3, 5)).astype(np.float32)
    executor = net.simple_bind(mx.cpu(), data=data.shape)
    output = executor.forward(data=mx.nd.array(data))[0].asnumpy()
    for i in range(groups):
        for j in range(channels // groups):
            assert (output[:, j * groups + i] == data[:, i * (channels // groups) + j]).all()
    assert (output == reorder_reference(data, groups)).all()


@pytest.mark.parametrize(("primary", "secondary"), [(24, 2), (2, 24), (5, 3), (1, 7), (7, 1)])
def test_igc_has_one_path_per_pair_of_channels(primary, secondary):
    width = primary * secondary
    assert (paths(width, width, primary, secondary) == 1).all()


@pytest.mark.parametrize(("primary", "secondary"), [(4, 3), (3, 4), (6, 2)])
def test_second_permutation_undoes_the_first(primary, secondary):
    width = primary * secondary
    layers = Layers("stock", bn_momentum=0.9, bn_eps=1e-5)
    block = layers.igc(layers.data(), width, primary, secondary, "block")
    linear = block.get_internals()["block_reorder2_output"]
    executor = linear.simple_bind(mx.cpu(), data=(2, width, 5, 5))
    for name, groups in (("conv1", primary), ("conv2", secondary)):
        weight = executor.arg_dict[f"block_{name}_weight"]
        identity = np.zeros(weight.shape)
        for channel in range(width):  # each channel gives itself
            middle = weight.shape[2] // 2
            identity[channel, channel % (width // groups), middle, middle] = 1
        weight[:] = identity
    data = np.random.RandomState(0).normal(size=(2, width, 5, 5)).astype(np.float32)
    assert (executor.forward(data=mx.nd.array(data))[0].asnumpy() == data).all()


@pytest.mark.parametrize("network", sorted(SMALL))
def test_batch_norm_has_the_originals_constants(network):
    attributes = build(network).attr_dict()
    norms = {
        (values["momentum"], values["eps"], values["fix_gamma"])
        for name, values in attributes.items()
        if "momentum" in values
    }
    momentum = "0.99" if network in ("plain", "plain_igc", "ensemble") else "0.9"
    detectors = ("igcv3_wide", "mobilenetv2_ssd")  # the IGCV3 repository's detection/
    eps = "1e-05" if network.startswith(("igcv3", "mobilenet")) else "2e-05"
    eps = "0.001" if network in detectors else eps
    assert norms == {(momentum, eps, "False")}


def test_rule_kin_has_two_paths_where_the_width_doubles():
    assert (paths(12, 24, primary=6, secondary=12 // 6) == 2).all()
    assert (paths(12, 24, primary=6, secondary=24 // 6) == 1).all()


def paths(width_in, width, primary, secondary):
    """Count the paths from each input channel (row) to each output channel of an IGC block."""
    layers = Layers("stock", bn_momentum=0.9, bn_eps=1e-5)
    block = layers.igc(layers.data(), width, primary, secondary, "block")
    return paths_of(block.get_internals()["block_reorder2_output"], width_in, width)


def paths_of(linear, width_in, width):
    """Count the paths from each input channel (row) to each output channel of linear layers."""
    executor = linear.simple_bind(mx.cpu(), data=(width_in, width_in, 1, 1))
    for array in executor.arg_dict.values():
        array[:] = 1
    one_hot = mx.nd.array(np.eye(width_in).reshape(width_in, width_in, 1, 1))
    return executor.forward(data=one_hot)[0].asnumpy().reshape(width_in, width)


def test_secondary_rule_changes_only_the_down_sampling_blocks():
    settings = {"depth": 14, "primary_partition": 6, "secondary_partition": 2}
    kin, kout = (
        shapes(build("resnet_igc", secondary_rule=rule, **settings), (1, 3, 32, 32))[0]
        for rule in ("kin", "kout")
    )
    different = [name for name in kin if kin[name] != kout[name]]
    assert different == ["g2_b1_p2_two1_conv2_weight", "g3_b1_p2_two1_conv2_weight"]


@pytest.mark.parametrize(("depth", "blocks"), [(22, [3, 3, 4]), (21, [3, 3, 3]), (24, [3, 4, 4])])
@pytest.mark.parametrize("network", ["resnet", "resnet_igc"])
def test_remainder_drop_is_the_originals_rule(network, depth, blocks):
    with pytest.raises(InputError, match=r"depth - 2 must divide by 6, as in 20 or 26"):
        build(network, depth=depth)
    net = build(network, depth=depth, primary_partition=4, remainder="drop")
    names = set(re.findall(r"g(\d)_b(\d+)", " ".join(net.list_arguments())))
    assert [sum(group == str(number) for group, _ in names) for number in (1, 2, 3)] == blocks


def test_permute_linear_adds_permutations_alone():
    without, with_it = (build("igcv3", permute_linear=value) for value in (False, True))
    assert without.list_arguments() == with_it.list_arguments()
    assert with_it.tojson().count('"SwapAxis"') == 2 * without.tojson().count('"SwapAxis"') == 64


def test_a_network_is_built_the_same_every_time():
    first, second = (build("resnet_igc", **SMALL["resnet_igc"]) for _ in range(2))
    assert first.tojson() == second.tojson()
    assert "_plus0_output" in first.get_internals().list_outputs()  # as in the released files


def test_names_without_regard_to_case():
    assert build("IGCV3").list_arguments() == build("igcv3").list_arguments()
    assert symbols.list_networks("IGCV3*", presets=False) == [
        "igcv3",
        "igcv3_cifar",
        "igcv3_g2g4",
        "igcv3_wide",
        "igcv3_wider",
    ]
    assert symbols.list_networks(presets=False) == sorted(SMALL)
    assert set(symbols.list_networks()) > set(SMALL)
    assert symbols.list_networks("nothing*") == []


def test_networks_are_listed_without_mxnet():
    script = (
        "import sys, igc.symbol as s; print(s.list_networks(presets=False), 'mxnet' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == f"{sorted(SMALL)} False"


def test_settings_are_told_with_default_and_help():
    settings = symbols.settings_of("Plain_IGC")
    assert settings["secondary_partition"].default == 1
    for network in symbols.list_networks():
        for name, setting in symbols.settings_of(network).items():
            assert setting.name == name
            assert setting.help
    assert build("plain_igc", depth="8", primary_partition="24").list_arguments()


@pytest.mark.parametrize(
    ("network", "settings", "message"),
    [
        ("plian", {}, "did you mean plain[?]"),
        ("igcv4", {}, "did you mean igcv3"),
        ("zzz", {}, "Known: cross, "),
        ("IGC-L4M23", {}, "did you mean IGC-L4M32"),
        ("plain", {"multiplier": 1.0}, "plain does not take multiplier; it takes depth, "),
        ("plain", {"depth": 21}, "must divide by 3, as in 20 or 23"),
        ("plain_igc", {"depth": 2}, "at least 5"),
        ("plain_igc", {"depth": 20.5}, "whole number"),
        ("plain_igc", {"primary_partition": 0}, "primary_partition=0 .* at least 1"),
        ("plain_igc", {"primary_partition": "many"}, "whole number"),
        ("plain_igc", {"width_growth": 3}, "choose 2 or 1"),
        ("resnet", {"depth": 22}, "as in 20 or 26"),
        ("resnet_igc", {"secondary_rule": "kmid"}, "choose kin or kout"),
        ("resnet_imgnet_d18", {"depth": 34}, "only 18 exists"),
        (
            "resnet_igc_imgnet_d18",
            {"primary_partition": 5, "secondary_partition": 3, "first_stage_multiplier": 1},
            "15 channels do not split into 10 groups",
        ),
        ("igcv3", {"multiplier": 0}, "above 0"),
        ("igcv3", {"multiplier": -1.0}, "above 0"),
        ("igcv3", {"multiplier": float("nan")}, "above 0"),
        ("mobilenetv2", {"multiplier": 0.01}, "too small"),
        ("igcv3", {"multiplier": 0.1}, "too small"),
        ("igcv3", {"blocks": (1, 2, 3)}, "7 whole numbers"),
        ("igcv3", {"strides": "1,1,1,2,2,1,1"}, "8 whole numbers"),
        ("igcv3", {"legacy_width": "maybe"}, "1 [(]on[)] or 0"),
        ("igcv3", {"groups": "2"}, "2 whole numbers"),
        ("igcv3", {"relus": "middle"}, "join some of expand, depthwise, linear with [+]"),
        ("IGCV3-W", {"blocks": "1"}, "7 whole numbers"),
        ("igcv2", {"branches": "8,5"}, "416 channels do not split into branches of 5"),
        ("igcv2", {"branches": ""}, "whole numbers; of one: it must be a whole number, at least 1"),
        ("igcv2", {"depth": 21}, "as in 20 or 23"),
        ("igcv2_imgnet", {"multiplier": 0.3}, "channels do not split into 8 groups"),
        ("cross", {"depth": 13}, "leaves a stage without blocks; 14 is the least"),
        ("fuse6", {"depth": 4}, "at least 5"),
        ("cross", {"depth": 2001}, "at most 2000"),
        ("ensemble", {"depth": 2001}, "at most 2000"),
        ("resnet", {"depth": 2002}, "at most 2000"),
        ("igcv2_imgnet", {"multiplier": 0.001}, "leaves no channels"),
        ("igcv3", {"blocks": (10**20, *(1,) * 6)}, "7 whole numbers; of one: it must be at most"),
        ("igcv3", {"groups": (100_000, 99_999)}, "igcv3: cannot be built"),
        ("plain", {"primary_partition": 10**5, "secondary_partition": 10**5}, "cannot be built"),
        ("cross", {"widen_factor": 0}, "at least 1"),
        ("ensemble", {"depth": 4}, "at least 5"),
        ("symbol_cross", {"depth": 101}, "does not take depth"),
        ("dmr_cross_2016", {"depth": 34}, "choose 50 or 101 or 152"),
        ("plain", {"num_classes": 0}, "num_classes=0"),
        ("plain", {"operator": "fast"}, "choose native or stock"),
    ],
)
def test_what_cannot_be_built_says_what_can(network, settings, message):
    with pytest.raises(InputError, match=message):
        symbols.get_symbol(network, **{"operator": "stock", **settings})


def test_operator_must_be_built(monkeypatch):
    monkeypatch.setattr(native, "is_built", lambda: False)
    with pytest.raises(InputError, match="operator='stock'"):
        symbols.get_symbol("plain_igc")
    assert symbols.get_symbol("plain", depth=8).name == "softmax"  # permutes nothing


@pytest.mark.parametrize(
    ("network", "works", "fails", "advice"),
    [
        ("plain", [(3, 32, 32)], [(3, 48, 48), (3, 16, 16), (3, 224, 224)], "3,32,32 work"),
        ("plain_igc", [(3, 32, 32)], [(3, 64, 64)], "3,32,32 work"),
        ("resnet", [(3, 32, 32), (3, 48, 40)], [], ""),
        ("resnet_imgnet_d18", [(3, 224, 224)], [(3, 32, 32), (3, 256, 256)], "3,224,224 work"),
        ("igcv3", [(3, 32, 32), (3, 224, 224)], [(0, 32, 32), (3, 32)], "height, width"),
    ],
)
def test_check_input(network, works, fails, advice, capsys):
    net = build(network, **SMALL[network])
    for shape in works:
        symbols.check_input(net, shape)
    for shape in fails:
        with pytest.raises(InputError, match=advice):
            symbols.check_input(net, shape)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("multiplier", "block", "joined", "most"),
    [
        (1.0, "b1", 1, 1),
        (1.0, "b13", 1, 64),
        (0.5, "b1", 1 / 2, 1),
        (0.5, "b2", 1, 1),
        (0.5, "b13", 1, 32),
        (0.25, "b1", 1 / 4, 1),
        (0.25, "b2", 1 / 2, 1),
        (0.25, "b4", 1, 1),
        (0.25, "b13", 1, 16),
    ],
)
def test_igcv2_imgnet_leaves_its_condition(multiplier, block, joined, most):
    """As its docstring, README.md and TRAINING.md say."""
    net = symbols.get_symbol("igcv2_imgnet", operator="stock", multiplier=multiplier)
    counts = structure.paths(structure.links(net, block, (1, 3, 224, 224)))
    assert (counts > 0).mean() == joined
    assert counts.max() == most


def test_own_defaults_and_notes():
    own = [name for name in symbols.list_networks() if symbols.find_network(name).own_defaults]
    presets = set(symbols.list_networks()) - set(symbols.list_networks(presets=False))
    assert set(own) == {*presets, "igcv2", "igcv2_imgnet"}
    notes = {name: symbols.find_network(name).note for name in symbols.list_networks()}
    assert notes["IGCV2-0.25"] == notes["igcv2_imgnet"] == "reconstruction"
    assert notes["igcv3_cifar_0.5x"] == notes["igcv3_cifar_0.7x"] == "reconstruction, depth guessed"
    assert notes["IGC-d8-L64M1"] == "Xception, reconstruction" and notes["igcv3"] == ""
