"""The outputs of one network in PyTorch and in MXNet."""

import os

import mxnet as mx
import numpy as np
import torch

from benchmarks.exports_values import images, random_network
from igc import symbol as symbols
from igc.pytorch import from_torch
from igc.symbol.graph import parse


def differences(path, image_shape, folder, count=2):
    """Compare a network with random values in both engines.

    Parameters
    ----------
    path : str
        Of the symbol file.
    image_shape : tuple of int
    folder : str
        For files on the way from one to the other.
    count : int
        Images.

    Returns
    -------
    dict of str to dict
        Of "pytorch": "max_abs", the largest difference of what enters the softmax (which would hide
        differences: of large inputs it makes 0 and 1); "max_rel", the norm of the differences
        over the norm of MXNet's values, of the head where that is largest.
    """
    network = random_network(path, image_shape)
    data = images(image_shape, count)
    with torch.no_grad():
        theirs = network(torch.from_numpy(data))
    theirs = theirs if isinstance(theirs, tuple) else (theirs,)
    prefix = os.path.join(folder, "random")
    from_torch(network, prefix, 1)
    # the graph as it was, so that reading it for PyTorch is put to the test, too
    symbol = _without_softmax(symbols.load_symbol(path, operator="stock"))
    executor = symbol.simple_bind(mx.cpu(), data=data.shape, grad_req="null")
    _, arguments, states = symbols.load_checkpoint(prefix, 1, operator="stock")
    executor.copy_params_from(arguments, states, allow_extra_params=True)
    ours = executor.forward(is_train=False, data=mx.nd.array(data))
    pairs = [(a.asnumpy(), b.numpy()) for a, b in zip(ours, theirs, strict=True)]
    pairs = [(a.reshape(b.shape), b) for a, b in pairs]
    found = {
        "max_abs": max(float(np.abs(a - b).max()) for a, b in pairs),
        "max_rel": max(float(np.linalg.norm(a - b) / np.linalg.norm(a)) for a, b in pairs),
    }
    return {"pytorch": found}


def _without_softmax(symbol):
    """Give what enters each head's softmax."""
    internals = symbol.get_internals()
    names = [
        edge.node.inputs[0].node.name if edge.node.op == "SoftmaxOutput" else edge.node.name
        for edge in parse(symbol.tojson(), "the network").heads
    ]
    return mx.sym.Group([internals[f"{name}_output"] for name in names])
