"""Seeded weights and running statistics with which a deep network keeps its scale."""

import numpy as np
import torch

from igc.pytorch import to_torch
from igc.pytorch.roles import roles_of
from igc.pytorch.shapes import parameter_shapes
from igc.symbol import load_graph


def random_network(path, image_shape, seed=0):
    """Build a network with random values.

    Parameters
    ----------
    path : str
        Of the symbol file.
    image_shape : tuple of int
    seed : int

    Returns
    -------
    igc.pytorch.network.Network
        In evaluation mode. Its running statistics are about those of two random images, so that
        what a layer passes on is as large as what it gets.
    """
    graph = load_graph(path)
    shapes = parameter_shapes(graph, roles_of(graph, path), {}, path, image_shape)
    random = np.random.default_rng(seed)
    arrays = {name: _value(name, shape, random) for name, shape in shapes.items()}
    network = to_torch(path, arrays, image_shape)
    for layer in network.layers.children():
        if hasattr(layer, "momentum"):
            layer.momentum, layer.kept = 0.0, layer.momentum
    with torch.no_grad():
        network.train()(torch.from_numpy(images(image_shape, 2, seed)))
    for layer in network.layers.children():
        if hasattr(layer, "momentum"):
            layer.momentum = layer.kept
    arrays = network.arrays()
    for name, array in arrays.items():
        if name.startswith("aux:"):
            array *= random.uniform(0.8, 1.25, array.shape).astype(np.float32)
    network.load_arrays(arrays)
    return network.eval()


def images(image_shape, count, seed=0):
    """Draw normalised images (count, 3, height, width), float32."""
    random = np.random.default_rng(seed + 1000)
    return random.standard_normal((count, *image_shape), np.float32)


def _value(name, shape, random):
    if name.startswith("aux:"):
        return np.ones(shape, np.float32)
    if name.endswith("gamma"):
        value = random.uniform(0.8, 1.2, shape)
    elif name.endswith("beta"):
        # around 0, each normalised ReLU would enlarge rounding errors by a fifth: e^10 in 50 layers
        value = random.normal(1, 0.1, shape)
    elif len(shape) > 1:
        value = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    else:
        value = random.normal(0, 0.1, shape)
    return value.astype(np.float32)
