"""Networks whose interleaved group convolutions are single operators, beside PyTorch's own."""

import copy
import glob
import os
import types
from pathlib import Path

import mxnet as mx
import pytest
import torch
from facts import ROOT
from pairs import pair
from small_networks import SMALL, size_of

from igc import options_evaluate
from igc import symbol as symbols
from igc.errors import InputError
from igc.pytorch import convolution, custom, kernels, run, to_torch
from igc.pytorch.normalisation import NormActivation
from igc.symbol.graph import dump, parse
from igc.symbol.rewrite import guard_permutations, make_native

DIGITS = str(ROOT / "models" / "resnet_igc_d14L24M2_digits")
RELEASED = sorted(glob.glob(str(ROOT / "../shared/reference/released/resnet_gcwf*b4-symbol.json")))
# blocks, permutations by themselves, and convolutions in groups that are in no block: a block of
# plain_igc or igcv2 is one layer of its depth, of resnet_igc two of a block's; igcv3's permutations
# are behind normalisations, which take them over, and three convolutions of each of its blocks are
# in groups; so are the projections of resnet_igc's, and the first of three in igcv2's; igcv2_imgnet
# widens in the second convolution of six of its blocks, where both 1x1 ones take permutations
COUNTS = {
    "plain_igc": (8 - 2, 0, 0),
    "resnet_igc": (8 - 2, 0, 2),
    "resnet_igc_imgnet_d18": (18 - 2, 0, 4),
    "igcv2": (8 - 2, 0, 8 - 2),
    "igcv2_imgnet": (13 - 6, 0, 13 + 2 * 6),
    "igcv3": (0, 0, 3 * (1 + 2 * 5 + 1)),
    "plain": (0, 0, 0),
}


def counts(network):
    targets = [node.target for node in network.graph.nodes]
    kinds = custom.interleaved_group_conv, custom.reorder, convolution.convolve
    return tuple(map(targets.count, kinds))


def both(net, folder, shape):
    """Give a network by PyTorch's operators, the same in blocks, and images."""
    stock, values = pair(net, folder, shape)
    files = folder / "net-symbol.json", folder / "net-0000.params"
    blocks = to_torch(*files, shape[1:], operator="native-blocks")
    return stock, blocks, torch.from_numpy(values["data"])


@pytest.fixture
def small(tmp_path):
    net = symbols.get_symbol("resnet_igc", 4, operator="stock", **SMALL["resnet_igc"])
    return both(net, tmp_path, (2, 3, 32, 32))


def close(found, wanted, tolerance):
    assert found.shape == wanted.shape
    assert (found.double() - wanted.double()).norm() <= tolerance * wanted.double().norm()


def pass_of(network, images):
    """Compute both passes: outputs, the images' gradient, then the parameters'."""
    images = images.clone().requires_grad_()
    network.zero_grad()
    out = network(images)
    out.sin().sum().backward()
    return [out.detach(), images.grad, *(p.grad for p in network.parameters())]


@pytest.mark.parametrize("name", COUNTS)
def test_outputs_and_gradients(name, tmp_path):
    side = size_of(name)
    net = symbols.get_symbol(name, 4, operator="stock", **SMALL[name])
    stock, blocks, images = both(net, tmp_path, (2, 3, side, side))
    assert counts(blocks) == COUNTS[name] and counts(stock) == (0, 0, 0)
    assert list(blocks.state_dict()) == list(stock.state_dict())
    assert blocks.origin == stock.origin, "what MXNet gets back is the same"
    with torch.no_grad():
        close(blocks(images), stock(images), 1e-5)
    for training in (True, False):
        results = [pass_of(n.double().train(training), images.double()) for n in (blocks, stock)]
        for found, wanted in zip(*results, strict=True):
            # behind a linear layer normalisation leaves gradients of rounding errors alone
            assert (found - wanted).norm() <= 1e-9 * wanted.norm() + 1e-12
    for found, wanted in zip(blocks.aux.buffers(), stock.aux.buffers(), strict=True):
        close(found, wanted, 1e-12)


@pytest.mark.parametrize("path", RELEASED, ids=os.path.basename)
def test_a_released_graph(path, tmp_path):
    """Its permutations are the operator `Reorder`, as in the authors' files."""
    assert '"Reorder"' in Path(path).read_text()
    net = symbols.load_symbol(path, operator="stock")
    stock, _, images = both(net, tmp_path, (1, 3, 224, 224))
    blocks = to_torch(path, stock.arrays(), operator="native-blocks")
    assert counts(blocks) == (16, 0, 3)
    with torch.no_grad():
        close(blocks(images), stock(images), 1e-5)


def test_native_files_are_understood(small, tmp_path):
    graph = parse((tmp_path / "net-symbol.json").read_text())
    make_native(graph)
    guard_permutations(graph)
    (tmp_path / "native-symbol.json").write_text(dump(graph))
    arrays = small[0].arrays()
    found = to_torch(tmp_path / "native-symbol.json", arrays, operator="native-blocks")
    assert found.code == small[1].code


def changed(name):
    """Write what is nearly an interleaved group convolution: how, and what is left of it."""
    first = {"kernel": (3, 3), "pad": (1, 1), "num_filter": 12, "num_group": 6, "no_bias": True}
    second = {"kernel": (1, 1), "num_filter": 12, "num_group": 2, "no_bias": True}
    factors, sym = [6, 2], mx.sym
    first |= {"bias": {"no_bias": False}, "dilation": {"dilate": (2, 2)}}.get(name, {})
    first |= {"filters": {"num_filter": 24}, "half size": {"stride": (2, 1)}}.get(name, {})
    second |= {
        "second bias": {"no_bias": False},
        "second kernel": {"kernel": (3, 3), "pad": (1, 1)},
        "second stride": {"stride": (2, 2)},
        "second padding": {"pad": (1, 1)},
    }.get(name, {})
    factors = {"factor": [2, 2], "second factor": [6, 6]}.get(name, factors)

    def permuted(net, factor):
        net = sym.reshape(net, shape=(0, -4, factor, -1, -2))
        return sym.reshape(sym.swapaxes(net, dim1=1, dim2=2), shape=(0, -3, -2))

    one = sym.Convolution(sym.Variable("data"), name="one", **first)
    mixed = permuted(one, factors[0])
    between = sym.relu(mixed) if name == "ReLU" else mixed
    two = sym.Convolution(between, name="two", **second)
    if name == "no second":
        return two
    out = permuted(two, factors[1])
    if name == "twice":
        three = sym.Convolution(out, name="three", **second)
        return permuted(three, 2)
    heads = {"read by others": [out + one], "first is head": [out, mixed]}
    return sym.Group(heads.get(name, [out]))


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("nothing", (1, 0)),
        ("half size", (1, 0)),
        ("twice", (1, 1)),
        *((name, (0, 2)) for name in ("bias", "dilation", "filters", "second bias", "ReLU")),
        *((name, (0, 2)) for name in ("second kernel", "second stride", "second padding")),
        *((name, (0, 2)) for name in ("factor", "second factor", "read by others")),
        ("first is head", (0, 2)),
        ("no second", (0, 1)),
    ],
)
def test_what_is_a_block(name, left, tmp_path):
    stock, blocks, images = both(changed(name), tmp_path, (2, 6, 8, 7))
    found, alone, _ = counts(blocks)
    taken = sum(node.kwargs.get("permute", False) for node in blocks.graph.nodes)
    assert (found, alone + taken) == left
    with torch.no_grad():
        found, wanted = (torch.utils._pytree.tree_leaves(n(images)) for n in (blocks, stock))
    for one, other in zip(found, wanted, strict=True):
        close(one, other, 1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_numbers(small, dtype):
    _, blocks, images = small
    with torch.autocast("cpu", dtype):
        results = pass_of(blocks.train(), images)
    assert all(torch.isfinite(found).all() for found in results)
    assert results[0].dtype == dtype and results[-1].dtype == torch.float32
    blocks.eval()
    with torch.no_grad():
        wanted = blocks(images)
        with torch.autocast("cpu", dtype):
            close(blocks(images), wanted, 0.03)
        close(blocks.to(dtype)(images.to(dtype)), wanted, 0.03)


def test_channels_last(small):
    _, blocks, images = small
    with torch.no_grad():
        wanted = blocks(images)
        last = blocks.to(memory_format=torch.channels_last)
        close(last(images.contiguous(memory_format=torch.channels_last)), wanted, 1e-5)


def test_copies_compute_the_same(small):
    _, blocks, images = small
    twin = copy.deepcopy(blocks)
    assert counts(twin) == counts(blocks)
    with torch.no_grad():
        assert torch.equal(twin(images), blocks(images))


def test_compiled_and_exported(small):
    _, blocks, images = small
    compiled = torch.compile(blocks, backend="aot_eager", fullgraph=True)
    for training in (True, False):
        wanted = pass_of(blocks.train(training), images)
        results = pass_of(compiled.train(training), images)
        for found, one in zip(results, wanted, strict=True):
            assert (found - one).norm() <= 1e-4 * one.norm() + 1e-5
    program = torch.export.export(blocks, (images,))
    called = [node.target for node in program.graph.nodes]
    assert called.count(torch.ops.igc.interleaved_group_conv.default) == 6
    with torch.no_grad():
        close(program.module()(images), blocks(images), 1e-6)


@pytest.mark.parametrize(
    ("device", "flags", "built", "chosen", "note"),
    [
        ("cpu", {}, True, "native", None),
        ("cpu", {"operator": "native-all"}, True, "native-all", None),
        ("cpu", {"operator": "native-blocks"}, True, "native-blocks", None),
        ("cpu", {"operator": "native-blocks"}, False, "native-blocks", "not built for the CPU"),
        ("cpu", {"amp": "bf16"}, True, "stock", None),
        ("cpu", {"amp": "bf16", "operator": "native"}, True, "native-blocks", "single blocks"),
        ("cpu", {"amp": "bf16", "operator": "native"}, False, "stock", "not built for the CPU"),
        ("cuda", {}, True, "native-blocks", None),
        ("cuda", {}, False, "stock", "not built for GPUs"),
        ("cuda", {"amp": "fp16"}, True, "native-blocks", None),
        ("cuda", {"channels_last": True}, True, "stock", None),
        ("cuda", {"amp": "fp16", "operator": "native-all"}, True, "native-blocks", "single"),
        ("cuda", {"operator": "native"}, True, "native-blocks", "--operator=native: runs of"),
        ("cuda", {"operator": "stock"}, True, "stock", None),
    ],
)
def test_what_a_training_takes(device, flags, built, chosen, note, monkeypatch):
    monkeypatch.setattr(custom, "engine", lambda device: "native" if built else "PyTorch")
    monkeypatch.setattr(run.native, "is_built", lambda: built)
    options = {"operator": None, "amp": None, "channels_last": False, **flags}
    given = types.SimpleNamespace(options=types.SimpleNamespace(**options), notes=[])
    assert run._operator(given, torch.device(device)) == chosen
    assert note in given.notes[0] if note else not given.notes


def test_evaluations_take_it_in_pytorch():
    flags = [f"--model-prefix={DIGITS}", "--load-epoch=6", "--operator=native-blocks"]
    assert options_evaluate.parse([*flags, "--engine=pytorch"]).engine == "pytorch"
    with pytest.raises(InputError, match="native-blocks: is PyTorch's; add --engine=pytorch"):
        options_evaluate.parse(flags)


def test_it_needs_no_library(small, monkeypatch):
    monkeypatch.setattr(custom.kernels, "available", lambda device_type: False)
    stock, blocks, images = small
    with torch.no_grad():
        close(blocks(images), stock(images), 1e-6)


def test_it_is_a_choice():
    with pytest.raises(InputError, match="choose one of stock, native, native-all, native-blocks"):
        to_torch(f"{DIGITS}-symbol.json", f"{DIGITS}-0006.params", operator="blocks")


def test_normalisations_take_their_activations(small):
    layers = [m for m in small[1].modules() if isinstance(m, NormActivation)]
    kinds = [layer.activation for layer in layers]
    # of a residual block's two, the second is added first; two blocks change the width
    assert (kinds.count("relu"), kinds.count("none")) == (1 + 3, 3 + 2)
    assert not any(isinstance(m, NormActivation) for m in small[0].modules())


@pytest.mark.parametrize("name", ["resnet_igc", "igcv3"])
def test_a_training_pass_by_the_cuda_sources(name, tmp_path, on_gpu, monkeypatch):
    """The whole network as on a GPU; what is PyTorch's own there runs on the CPU."""
    side = 32 if name == "resnet_igc" else 64
    net = symbols.get_symbol(name, 4, operator="stock", **SMALL[name])
    stock, blocks, images = both(net, tmp_path, (2, 3, side, side))
    called, true = [], kernels.group_conv_backward
    monkeypatch.setattr(
        kernels, "group_conv_backward", lambda *given: called.append(1) or true(*given)
    )
    wanted = pass_of(stock.double().train(), images.double())
    found = pass_of(blocks.double().train(), images.double())
    assert len(called) == counts(blocks)[2]
    for one, true in zip(found, wanted, strict=True):
        assert (one - true).norm() <= 1e-9 * true.norm() + 1e-12
    for one, true in zip(blocks.aux.buffers(), stock.aux.buffers(), strict=True):
        close(one, true, 1e-12)
