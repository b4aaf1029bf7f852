"""Run networks on random values."""

import mxnet as mx
import numpy as np

from igc.symbol.shapes import infer_shapes


def random_values(net, data_shape, seed=0):
    """Draw a value for every input, parameter and running statistic that keeps outputs finite."""
    arguments, auxiliary, _ = infer_shapes(net, {"data": data_shape})
    random = np.random.RandomState(seed)
    values = {}
    for name, shape in {**arguments, **auxiliary}.items():
        if name.endswith(("gamma", "var")):
            values[name] = random.uniform(0.5, 1.5, shape)
        elif name.endswith("label"):
            values[name] = random.randint(0, 3, shape)
        elif name.endswith("weight"):
            values[name] = random.normal(0, np.sqrt(1 / np.prod(shape[1:])), shape)
        else:
            values[name] = random.normal(0, 1 if name == "data" else 0.1, shape)
    return values


def forward(net, values):
    """Compute the first output without training."""
    executor = _bind(net, values, "null")
    return executor.forward(is_train=False)[0].asnumpy()


def train(net, values):
    """Compute the first output and every gradient."""
    executor = _bind(net, values, "write")
    output = executor.forward(is_train=True)[0].asnumpy()
    executor.backward()
    return output, {name: array.asnumpy() for name, array in executor.grad_dict.items()}


def _bind(net, values, grad_req):
    executor = net.simple_bind(mx.cpu(), data=values["data"].shape, grad_req=grad_req)
    for name, array in {**executor.arg_dict, **executor.aux_dict}.items():
        array[:] = values[name]
    return executor
