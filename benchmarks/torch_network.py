"""A network as a PyTorch module, built from its steps (`benchmarks.steps`)."""

import torch
from torch import fx, nn
from torch.nn import functional


def build(steps, arrays, channels_last=False):
    """Build the module.

    Parameters
    ----------
    steps : list of dict
        As `benchmarks.steps.steps_of` gives them.
    arrays : dict of str to numpy.ndarray
        Parameters and running statistics by name.
    channels_last : bool
        For inputs of that memory format: permutations then keep it.

    Returns
    -------
    torch.fx.GraphModule
        Takes images (batch, channels, height, width) and returns the logits: the softmax at the end
        is the caller's, since PyTorch's loss contains it.
    """
    root, graph = nn.Module(), fx.Graph()
    results = {"data": graph.placeholder("data")}
    readers = {}
    for step in steps:
        for name in step["inputs"]:
            readers[name] = readers.get(name, 0) + 1
    for number, step in enumerate(steps):
        inputs = [results[name] for name in step["inputs"]]
        # writing into its input is PyTorch's own habit where nobody else reads that
        alone = step["inputs"][0] != "data" and readers[step["inputs"][0]] == 1
        if step["kind"] == "softmax":
            results[step["name"]] = inputs[0]
            continue
        if step["kind"] == "add":
            node = graph.call_function(torch.add, tuple(inputs))
        else:
            layer = _layer(step, arrays, alone, channels_last)
            root.add_module(f"step{number}", layer)
            node = graph.call_module(f"step{number}", tuple(inputs))
        results[step["name"]] = node
    graph.output(results[steps[-1]["name"]])
    return fx.GraphModule(root, graph)


class Permutation(nn.Module):
    """``out[:, j*b + i] = in[:, i*(C/b) + j]``: PyTorch's channel shuffle, in one copy."""

    def __init__(self, groups, channels_last):
        super().__init__()
        self.groups = groups
        self.channels_last = channels_last

    def forward(self, data):
        """Permute the channels of (N, C, H, W)."""
        batch, channels, height, width = data.shape
        if self.channels_last:
            last = data.permute(0, 2, 3, 1)
            split = last.reshape(batch, height, width, self.groups, channels // self.groups)
            mixed = split.transpose(3, 4).reshape(batch, height, width, channels)
            return mixed.permute(0, 3, 1, 2)
        split = data.view(batch, self.groups, channels // self.groups, height, width)
        return split.transpose(1, 2).reshape(batch, channels, height, width)


def decayed(module):
    """Divide the parameters as MXNet's SGD does.

    Returns
    -------
    with_decay, without : list of torch.nn.Parameter
        Weight decay falls on weights and on the scales of batch normalisation, not on shifts.
    """
    with_decay, without = [], []
    for name, parameter in module.named_parameters():
        (without if name.endswith("bias") else with_decay).append(parameter)
    return with_decay, without


def _layer(step, arrays, alone, channels_last):
    kind = step["kind"]
    if kind == "convolution":
        weight = arrays[step["parameters"]["weight"]]
        layer = nn.Conv2d(
            weight.shape[1] * step["groups"],
            weight.shape[0],
            tuple(step["kernel"]),
            tuple(step["stride"]),
            tuple(step["pad"]),
            tuple(step["dilate"]),
            step["groups"],
            "bias" in step["parameters"],
        )
        return _filled(layer, step, arrays, weight="weight", bias="bias")
    if kind == "batch norm":
        count = len(arrays[step["parameters"]["gamma"]])
        layer = nn.BatchNorm2d(count, step["eps"], 1 - step["momentum"])
        names = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "var"}
        return _filled(layer, step, arrays, **names)
    if kind == "relu":
        return nn.ReLU(inplace=alone)
    if kind == "clip":
        return nn.Hardtanh(step["low"], step["high"], inplace=alone)
    if kind == "permutation":
        return Permutation(step["groups"], channels_last)
    if kind == "pool":
        return _pool(step)
    if kind == "flatten":
        return nn.Flatten()
    if kind == "fully connected":
        weight = arrays[step["parameters"]["weight"]]
        layer = nn.Linear(weight.shape[1], weight.shape[0], "bias" in step["parameters"])
        return _filled(layer, step, arrays, weight="weight", bias="bias")
    raise ValueError(f"{step['name']}: no PyTorch layer for {kind!r}")


def _pool(step):
    if step["over_map"]:
        return nn.AdaptiveAvgPool2d(1) if step["how"] == "avg" else nn.AdaptiveMaxPool2d(1)
    window = tuple(step["kernel"]), tuple(step["stride"]), tuple(step["pad"])
    if step["how"] == "max":
        return nn.MaxPool2d(*window, ceil_mode=step["ceil"])
    return nn.AvgPool2d(*window, ceil_mode=step["ceil"], count_include_pad=step["count_pad"])


def _filled(layer, step, arrays, **names):
    with torch.no_grad():
        for own, role in names.items():
            if role in step["parameters"]:
                getattr(layer, own).copy_(torch.from_numpy(arrays[step["parameters"][role]]))
    return layer


def probabilities(logits):
    """Softmax over the classes."""
    return functional.softmax(logits, dim=1)
