"""Weights that a network begins with, and running statistics with which it can be looked at."""

import mxnet as mx
import numpy as np

from igc import batchnorm, heads, initializer, recipes
from igc.symbol.shapes import check_input

_IMAGES = 8


def weights(symbol, image_shape, seed, kind="igcv1-var1"):
    """Initialise a network as a training would.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        With the input ``data``.
    image_shape : tuple of int
        (3, height, width).
    seed : int
        As ``--rand-seed``: a training with it begins with these very weights.
    kind : str
        As ``--initializer``.

    Returns
    -------
    arg_params, aux_params : dict of str to mxnet.ndarray.NDArray

    Raises
    ------
    InputError
        When the network does not take such images.
    """
    check_input(symbol, image_shape)
    module = mx.mod.Module(symbol, label_names=heads.label_names(symbol), context=mx.cpu())
    module.bind([("data", (1, *image_shape))], heads.label_shapes(symbol, (1,)))
    mx.random.seed(seed)
    np.random.seed(seed)  # MXNet's orthogonal initialiser draws from NumPy
    module.init_params(initializer.create(kind))
    return module.get_params()


def kind_of(network, image_shape):
    """Tell which initialiser a network was trained with, as ``--initializer`` names it."""
    images = "cifar" if max(image_shape[1:]) <= 64 else "imagenet"
    return recipes.recipe_of(network, images).initializer


def with_statistics(symbol, arg_params, aux_params, image_shape, seed):
    """Estimate running statistics from random images.

    With those of the beginning, zeros and ones, what a deep network passes on grows or vanishes
    beyond all numbers.

    Returns
    -------
    dict of str to mxnet.ndarray.NDArray
        New auxiliary states.
    """
    batch = mx.io.DataBatch([mx.nd.array(images(image_shape, _IMAGES, seed))])
    return batchnorm.reestimate(symbol, arg_params, aux_params, [batch], mx.cpu())


def images(image_shape, count, seed=0):
    """Draw normalised images: noise of mean 0 and variance 1.

    Returns
    -------
    numpy.ndarray of float32, shape (count, 3, height, width)
    """
    return np.random.default_rng(seed).standard_normal((count, *image_shape), np.float32)
