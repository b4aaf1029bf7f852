"""Re-estimation of running statistics in PyTorch, as `igc.batchnorm` does it in MXNet."""

import torch

from igc.pytorch.layers import BatchNorm
from igc.pytorch.spans import Span


def reestimate(network, batches):
    """Put each running mean and variance to those of all images of some batches, in place.

    Parameters
    ----------
    network : igc.pytorch.network.Network
    batches : iterable of torch.Tensor
        Images (n, 3, H, W) on the network's device.
    """
    sums, images, hooks = {}, 0, []

    def add(key, states, mean, variance, count):
        found = torch.stack([mean.double(), variance.double() + mean.double() ** 2]) * count
        sums[key] = states, sums.get(key, (None, 0))[1] + found

    def watch(layer, inputs):
        data, _, _, *states = inputs
        wide = data.detach().float()
        axes = [axis for axis in range(data.ndim) if axis != 1]
        variance, mean = torch.var_mean(wide, axes, correction=0)
        add(layer, states, mean, variance, len(data))

    def read(span, inputs, output):
        # it has forgotten all batches but this one
        states = [inputs[1 + k] for k in span.states]
        for place in range(0, len(states), 2):
            pair = states[place : place + 2]
            add((span, place), pair, *pair, len(output))

    layers = [layer for layer in network.modules() if isinstance(layer, BatchNorm)]
    spans = [layer for layer in network.modules() if isinstance(layer, Span)]
    kept = [buffer.clone() for buffer in network.aux.buffers()]
    mode = network.training
    try:
        hooks = [layer.register_forward_pre_hook(watch) for layer in layers]
        hooks += [span.register_forward_hook(read) for span in spans]
        for span in spans:
            span.forgets = True
        network.train()  # the layers below normalise by the batch, as in training
        for batch in batches:
            network(batch)
            images += len(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for span in spans:
            span.forgets = False
        network.train(mode)
        for buffer, before in zip(network.aux.buffers(), kept, strict=True):
            buffer.copy_(before)
    for (mean, variance), total in sums.values():
        first, second = total / images
        mean.copy_(first)
        variance.copy_((second - first**2).clamp(min=0))
