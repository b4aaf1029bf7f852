"""Makes the files of a case: the network in stock form, random weights, random images."""

import numpy as np

from benchmarks.cases import settings_of
from benchmarks.folder import Folder
from benchmarks.steps import steps_of
from igc import params
from igc import symbol as symbols
from igc.summary import count
from igc.symbol.shapes import infer_shapes

# Running statistics are taken over at least so many images.
STATISTICS_BATCH = 8


def network(name):
    """Build a network by its short name, in stock operators.

    Returns
    -------
    symbol : mxnet.symbol.Symbol
    image_shape : tuple of int

    Raises
    ------
    InputError
        When the name or its numbers do not work.
    """
    found, settings = settings_of(name)
    symbol = symbols.get_symbol(found, operator="stock", **settings)
    return symbol, symbols.find_network(found).image_shape


def make(case, path):
    """Write the files.

    Parameters
    ----------
    case : benchmarks.cases.Case
    path : str
        An empty folder.

    Returns
    -------
    int
        Multiply-adds of the network for one image.
    """
    symbol, image_shape = network(case.network)
    data_shape = (case.batch, *image_shape)
    random = np.random.default_rng(0)
    arg_params, aux_params = weights(symbol, image_shape, random)
    images = random.standard_normal(data_shape, np.float32)
    num_classes = infer_shapes(symbol, {"data": data_shape})[2][0][1]
    labels = random.integers(0, num_classes, case.batch)

    folder = Folder(path)
    symbols.save_symbol(symbol, f"{folder.prefix}-symbol.json")
    params.save(f"{folder.prefix}-0000.params", params.join(arg_params, aux_params))
    steps = steps_of(symbol.tojson(), case.network)
    folder.write(steps, {**arg_params, **aux_params}, images, labels)
    return count(symbol, (1, *image_shape)).multiply_adds


def weights(symbol, image_shape, random):
    """Draw weights so that activations stay sane.

    Weights as He et al. ("Delving Deep into Rectifiers", 2015) draw them; scales of batch
    normalisation near 1; running statistics are those of a batch of random images, as after a
    training. Shifts are above 0, so that most ReLUs pass: with shifts of 0 a rounding error of
    plain, depth 38, grows a thousandfold on its way, and engines could not be compared.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
    image_shape : tuple of int
    random : numpy.random.Generator

    Returns
    -------
    arg_params, aux_params : dict of str to numpy.ndarray
    """
    shape = (STATISTICS_BATCH, *image_shape)
    arguments, auxiliary, _ = infer_shapes(symbol, {"data": shape})
    arg_params = {}
    for name, size in arguments.items():
        if name == "data" or name.endswith("label"):
            continue
        if name.endswith("weight"):
            deviation = np.sqrt(2 / np.prod(size[1:]))
            values = random.standard_normal(size) * deviation
        elif name.endswith("gamma"):
            values = random.uniform(0.8, 1.2, size)
        elif name.endswith("beta"):
            values = random.uniform(0.5, 1.0, size)
        else:
            values = random.uniform(-0.1, 0.1, size)
        arg_params[name] = values.astype(np.float32)
    images = random.standard_normal(shape, np.float32)
    return arg_params, _statistics(symbol, images, arg_params, auxiliary)


def _statistics(symbol, images, arg_params, auxiliary):
    # here and not above, so that the command can set MXNet's threads before it is imported
    import mxnet as mx

    from igc.batchnorm import reestimate

    def arrays(values):
        return {name: mx.nd.array(value) for name, value in values.items()}

    neutral = {name: np.ones(size, np.float32) for name, size in auxiliary.items()}
    batch = mx.io.DataBatch([mx.nd.array(images)])
    found = reestimate(symbol, arrays(arg_params), arrays(neutral), [batch], mx.cpu())
    return {name: array.asnumpy() for name, array in found.items()}
