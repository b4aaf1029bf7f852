"""Whole training steps through `igc.pytorch`: native blocks beside PyTorch's own operators."""

import contextlib
import math

import torch
from torch.nn import functional

from benchmarks.gpu.clock import eager_ms, median_ms
from igc.pytorch import to_torch
from igc.pytorch.layers import BatchNorm
from igc.pytorch.roles import roles_of
from igc.pytorch.shapes import parameter_shapes
from igc.symbol.files import load_graph

WAYS = ("native-blocks", "stock", "stock, channels_last")
COMPILED = "stock, compiled"


def arrays_of(network, seed=0):
    """Draw parameters and running statistics.

    Returns
    -------
    dict of str to numpy.ndarray
        By their names in ``.params``.
    """
    source = str(network.path)
    graph = load_graph(source)
    roles = roles_of(graph, source)
    shapes = parameter_shapes(graph, roles, {}, source, network.image_shape)
    generator = torch.Generator().manual_seed(seed)
    arrays = {}
    for name, shape in shapes.items():
        if name.endswith(("_gamma", "_moving_var")):
            values = torch.ones(shape)
        elif name.endswith(("_beta", "_bias", "_moving_mean")):
            values = torch.zeros(shape)
        else:
            fan_in = math.prod(shape[1:])
            values = torch.randn(shape, generator=generator) * math.sqrt(2 / fan_in)
        arrays[name] = values.numpy()
    return arrays


class _PlainBatchNorm(BatchNorm):
    """With PyTorch's own running statistics: a PyTorch network has no upkeep of MXNet's."""

    def forward(self, data, gamma, beta, mean, variance):
        share = 1 - self.momentum
        return torch.batch_norm(data, gamma, beta, mean, variance, True, share, self.eps, True)


def _as_pytorch(module):
    """Put PyTorch's own batch normalisations into a network of `to_torch`, in place."""
    for key, layer in list(module.layers.named_children()):
        if isinstance(layer, BatchNorm):
            assert not (layer.fix_gamma or layer.use_global_stats)
            settings = layer.eps, layer.momentum, layer.fix_gamma, layer.use_global_stats
            module.layers.add_module(key, _PlainBatchNorm(*settings))
    return module


def measure(network, dtype, device, ways=WAYS, quick=False):
    """Time a step: forward and backward pass, and SGD with momentum.

    Parameters
    ----------
    network : Network
    dtype : str
        ``"float32"``, or what autocast computes in.
    device : torch.device
    ways : iterable of str
        Of `WAYS`, or `COMPILED`, which takes a minute to compile.
    quick : bool
        Two images, to try the script.

    Returns
    -------
    dict of str to (float, float)
        Milliseconds by way: of the device alone, and with Python and launches.
    """
    found = {}
    for way in ways:
        step, sets = prepare(network, dtype, device, way, quick)
        least = 2 if quick else 10
        seconds = 0.01 if quick else 0.3
        # captured first: nothing of an earlier pass is then in the way
        captured = median_ms(step, sets, device, seconds, least)
        found[way] = captured, eager_ms(step, sets, device, seconds, least)
    return found


def prepare(network, dtype, device, way, quick=False):
    """Make a step, and what it takes; parameters as those of `measure`.

    Returns
    -------
    (callable, list of torch.Tensor)
    """
    batch = 2 if quick else network.batch
    generator = torch.Generator().manual_seed(1)
    images = torch.randn((batch, *network.image_shape), generator=generator).to(device)
    labels = (torch.arange(batch) % network.classes).to(device)
    operator, _, _ = way.partition(", ")
    module = to_torch(str(network.path), arrays_of(network), network.image_shape, operator)
    module = module.to(device).train()
    module = module if operator == "native-blocks" else _as_pytorch(module)
    if way == "stock, channels_last":
        module = module.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    run = torch.compile(module) if way == COMPILED else module
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=1e-3, momentum=0.9, nesterov=True)

    def step(data):
        optimizer.zero_grad(set_to_none=True)
        with _casting(dtype, device):
            loss = functional.cross_entropy(run(data), labels)
        loss.backward()
        optimizer.step()

    return step, [images]


def _casting(dtype, device):
    if dtype == "float32":
        return contextlib.nullcontext()
    # what is cast in a captured graph must not be taken from the pass before
    return torch.autocast(device.type, getattr(torch, dtype), cache_enabled=False)
