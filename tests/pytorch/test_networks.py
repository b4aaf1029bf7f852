"""Every network and released graph computes in PyTorch what it does in MXNet."""

import glob
import os
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
import torch
from pairs import outputs_of, pair
from small_networks import SMALL, size_of

import igc.params
from igc import symbol as symbols
from igc.pytorch import from_torch, names, to_torch
from igc.pytorch.heads import probabilities

ROOT = Path(__file__).resolve().parent.parent.parent
RELEASED = sorted(glob.glob(str(ROOT / "../shared/reference/released/*-symbol.json")))


@pytest.mark.parametrize("network", sorted(SMALL))
def test_outputs_of_every_network(network, tmp_path):
    net = symbols.get_symbol(network, 4, operator="stock", **SMALL[network])
    side = size_of(network)
    module, values = pair(net, tmp_path, (1, 3, side, side))
    assert not module.training
    with torch.no_grad():
        ours = probabilities(module(torch.from_numpy(values["data"])), module.origin.heads)
    for ours_, theirs in zip(ours, outputs_of(net, values), strict=True):
        assert np.linalg.norm(ours_.numpy() - theirs) < 1e-5 * np.linalg.norm(theirs)
    entries = [names.to_name(key) for key in module.state_dict()]
    args = [name for name in net.list_arguments() if name != "data" and not name.endswith("label")]
    wanted = [f"arg:{name}" for name in args]
    assert entries == wanted + [f"aux:{name}" for name in net.list_auxiliary_states()]


@pytest.mark.parametrize("path", RELEASED, ids=os.path.basename)
def test_released_graphs_are_translated(path):
    """The figures are in benchmarks/results/exports.csv; here, shapes and a small image."""
    from igc.pytorch.roles import roles_of
    from igc.pytorch.shapes import parameter_shapes

    graph = symbols.load_graph(path)
    shapes = parameter_shapes(graph, roles_of(graph, path), {}, path)
    net = symbols.load_symbol(path, operator="stock")
    arguments, _, states = net.infer_shape(data=(1, 3, 224, 224))
    theirs = dict(zip(net.list_arguments(), arguments, strict=True))
    theirs = {f"arg:{n}": s for n, s in theirs.items() if n != "data" and "label" not in n}
    theirs.update((f"aux:{n}", s) for n, s in zip(net.list_auxiliary_states(), states, strict=True))
    assert shapes == theirs
    arrays = {name: np.full(shape, 0.01, np.float32) for name, shape in shapes.items()}
    with torch.no_grad():
        assert to_torch(path, arrays)(torch.ones(1, 3, 224, 224)).shape[0] == 1


def test_the_digits_model_there_and_back(tmp_path):
    """What comes back is the file, bit for bit, and MXNet loads it."""
    prefix = ROOT / "models/resnet_igc_d14L24M2_digits"
    module = to_torch(f"{prefix}-symbol.json", f"{prefix}-0006.params")
    symbol, params = from_torch(module, tmp_path / "back", 6)
    assert Path(params).read_bytes() == Path(f"{prefix}-0006.params").read_bytes()
    assert Path(symbol).name == "back-symbol.json"
    net, _, _ = mx.model.load_checkpoint(str(tmp_path / "back"), 6)
    assert net.list_arguments() == mx.sym.load(f"{prefix}-symbol.json").list_arguments()
    again = igc.params.load(params)
    assert all(module.arrays()[name].tobytes() == again[name].tobytes() for name in again)


def test_several_heads_predict_their_mean(tmp_path):
    net = symbols.get_symbol("ensemble", 4, operator="stock", depth=8)
    module, values = pair(net, tmp_path, (2, 3, 32, 32))
    data = torch.from_numpy(values["data"])
    with torch.no_grad():
        assert len(module(data)) == 8
        predicted = module.probabilities(data).numpy()
    np.testing.assert_allclose(predicted, np.mean(outputs_of(net, values), axis=0), atol=1e-6)
