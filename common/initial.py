"""Random weights: those that a training begins with, and those with which engines are compared."""

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
    module.bind([("data", (1, *image_shape))], heads.label_shapes(symbol, (1,)) or None)
    mx.random.seed(seed)
    np.random.seed(seed)  # MXNet's orthogonal initialiser draws from NumPy
    module.init_params(initializer.create(kind))
    return module.get_params()


def kind_of(network, image_shape):
    """Tell which initialiser a network was trained with, as ``--initializer`` names it."""
    images = "cifar" if max(image_shape[1:]) <= 64 else "imagenet"
    return recipes.recipe_of(network, images).initializer


def settled(symbol, arg_params, aux_params, image_shape, seed):
    """Change random weights so that what the network makes of images can be compared.

    With the running statistics of the beginning, zeros and ones, what a deep network passes on
    grows or vanishes beyond all numbers: they are estimated from random images. With shifts of 0,
    each normalised ReLU enlarges rounding errors by a fifth, a hundred of them a million times:
    the shifts (beta) are drawn around 1.

    Returns
    -------
    arg_params, aux_params : dict of str to mxnet.ndarray.NDArray
        New ones.
    """
    random = np.random.default_rng(seed)
    arg_params = {
        name: mx.nd.array(random.normal(1, 0.1, array.shape)) if name.endswith("beta") else array
        for name, array in arg_params.items()
    }
    batch = mx.io.DataBatch([mx.nd.array(images(image_shape, _IMAGES, seed))])
    return arg_params, batchnorm.reestimate(symbol, arg_params, aux_params, [batch], mx.cpu())


def images(image_shape, count, seed=0):
    """Draw normalised images: noise of mean 0 and variance 1.

    Returns
    -------
    numpy.ndarray of float32, shape (count, 3, height, width)
    """
    return np.random.default_rng(seed).standard_normal((count, *image_shape), np.float32)
