"""The networks whose fused graphs are compared with stock ones; their parameters and images."""

import os
from pathlib import Path
from typing import NamedTuple

import mxnet as mx
import numpy as np

from benchmarks.bound import INPUTS
from benchmarks.engines import ROOT
from igc import heads
from igc import symbol as symbols
from igc.data.datasets import DATASETS
from igc.data.digits import load_digits
from igc.initializer import create
from igc.recipes import is_igcv3
from igc.symbol.graph import parse
from igc.symbol.rewrite import has_permutations
from igc.symbol.shapes import infer_shapes

DIGITS_SHAPE = (3, 32, 32)


class Network(NamedTuple):
    """A network in both forms.

    Attributes
    ----------
    title : str
    name : str
        That of `igc.symbol.list_networks`, or of the file.
    stock, native : mxnet.symbol.Symbol
        The same graph, with MXNet's own permutations and with native ones; neither is fused.
    image_shape : tuple of int
    """

    title: str
    name: str
    stock: mx.sym.Symbol
    native: mx.sym.Symbol
    image_shape: tuple

    @property
    def permutes(self):
        """Whether it has permutations, so that `igc.fuse` must find spans in it."""
        return has_permutations(parse(self.stock.tojson(), self.title))


def build(name, **settings):
    """Build a network of `igc.symbol.list_networks`."""
    stock, native = (
        symbols.get_symbol(name, operator=operator, **settings) for operator in ("stock", "native")
    )
    numbers = " ".join(f"{key}={value}" for key, value in settings.items())
    shape = symbols.find_network(name).image_shape
    return Network(f"{name} {numbers}".strip(), name, stock, native, shape)


def released():
    """Give the authors' graphs in turn; none where they are absent.

    Yields
    ------
    Network
    """
    default = ROOT.parent / "shared" / "reference"
    folder = Path(os.environ.get("IGC_REFERENCE", default)) / "released"
    for path in sorted(folder.glob("*-symbol.json")):
        name = path.name.removesuffix("-symbol.json")
        stock, native = (symbols.load_symbol(str(path), form) for form in ("stock", "native"))
        yield Network(f"released {name}", name, stock, native, (3, 224, 224))


def start(network, seed):
    """Give the parameters that a training of the network begins with.

    Returns
    -------
    arg_params, aux_params : dict of str to mxnet.nd.NDArray
        By the initializer of the network's recipe.
    """
    labels = heads.label_shapes(network.stock, (1,))
    names = [name for name, _ in labels]
    module = mx.mod.Module(network.stock, label_names=names, context=mx.cpu())
    module.bind([("data", (1, *network.image_shape))], labels)
    mx.random.seed(seed)
    np.random.seed(seed)
    module.init_params(create("default" if is_igcv3(network.name) else "igcv1"))
    return module.get_params()


def batch(network, images, seed):
    """Draw images and labels.

    Parameters
    ----------
    network : Network
    images : int
    seed : int

    Returns
    -------
    dict of str to numpy.ndarray
        ``data`` (images, *image_shape) and ``softmax_label`` (images,): handwritten digits for
        networks that take 32x32 images, else noise.
    """
    random = np.random.default_rng(seed)
    if network.image_shape == DIGITS_SHAPE:
        data, labels = digits()
        chosen = random.permutation(len(labels))[:images]
        return dict(zip(INPUTS, (data[chosen], labels[chosen]), strict=True))
    shape = (images, *network.image_shape)
    classes = infer_shapes(network.stock, {"data": shape})[2][0][1]
    return {
        "data": random.standard_normal(shape, "float32"),
        "softmax_label": random.integers(0, classes, images).astype("float32"),
    }


def digits():
    """Give the training images of the digits as networks take them.

    Returns
    -------
    data : numpy.ndarray of float32, shape (1437, 3, 32, 32)
        Less their mean, over their deviation.
    labels : numpy.ndarray of float32, shape (1437,)
    """
    source, dataset = load_digits("train"), DATASETS["digits"]
    scaled = (source.images - np.float32(dataset.mean)) / np.float32(dataset.std)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)), source.labels


def values_of(inputs, arg_params, aux_params):
    """Gather everything that a network is bound with, as NumPy has it."""
    arrays = {**arg_params, **aux_params}
    return {**{name: array.asnumpy() for name, array in arrays.items()}, **inputs}
