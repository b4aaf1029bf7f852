"""A small network as a program of src_operator/span/span.h and as stock layers of MXNet."""

import mxnet as mx
import numpy as np

PROGRAM = (
    "conv 0 8 3 3 1 1 1 1 1 0; bn 1 1e-3 0.9 0; relu 2;"
    "conv 3 8 3 3 1 1 1 1 4 0; permute 4 4; conv 5 8 1 1 1 1 0 0 2 0; permute 6 2;"
    "bn 7 1e-3 0.9 1; relu 8; add 9 3;"
    "maxpool 10 3 3 2 2 1 1; globalpool 11; dense 12 5 1"
)
SHAPES = {
    "stem_weight": (8, 3, 3, 3),
    "norm0_gamma": (8,),
    "norm0_beta": (8,),
    "norm0_moving_mean": (8,),
    "norm0_moving_var": (8,),
    "primary_weight": (8, 2, 3, 3),
    "secondary_weight": (8, 4, 1, 1),
    "norm1_gamma": (8,),
    "norm1_beta": (8,),
    "norm1_moving_mean": (8,),
    "norm1_moving_var": (8,),
    "dense_weight": (5, 8),
    "dense_bias": (5,),
}
STATES = [name for name in SHAPES if "moving" in name]
DATA = (4, 3, 9, 7)


def variables(shapes, prefix=""):
    return [mx.sym.Variable(prefix + name, shape=shape) for name, shape in shapes.items()]


def stock(data=None):
    """The layers of PROGRAM, one by one."""
    p = dict(zip(SHAPES, variables(SHAPES), strict=True))

    def conv(x, name, kernel, groups):
        pad = (kernel // 2, kernel // 2)
        return mx.sym.Convolution(
            x,
            p[f"{name}_weight"],
            kernel=(kernel, kernel),
            pad=pad,
            num_filter=8,
            num_group=groups,
            no_bias=True,
        )

    def norm(x, name, fix_gamma):
        inputs = [p[f"{name}_{role}"] for role in ("gamma", "beta", "moving_mean", "moving_var")]
        return mx.sym.BatchNorm(x, *inputs, fix_gamma=fix_gamma, eps=1e-3, momentum=0.9)

    def permute(x, factor):
        x = mx.sym.reshape(x, shape=(0, -4, factor, -1, -2))
        return mx.sym.reshape(mx.sym.swapaxes(x, dim1=1, dim2=2), shape=(0, -3, -2))

    x = mx.sym.Variable("data") if data is None else data
    stem = mx.sym.relu(norm(conv(x, "stem", 3, 1), "norm0", False))
    x = permute(conv(stem, "primary", 3, 4), 4)
    x = permute(conv(x, "secondary", 1, 2), 2)
    x = mx.sym.relu(norm(x, "norm1", True)) + stem
    x = mx.sym.Pooling(x, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max")
    x = mx.sym.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="avg")
    return mx.sym.FullyConnected(
        mx.sym.flatten(x), p["dense_weight"], p["dense_bias"], num_hidden=5
    )


def values_of(shapes, seed=0):
    random = np.random.RandomState(seed)
    values = {}
    for name, shape in shapes.items():
        if name.endswith(("gamma", "var")):
            # Stock BatchNorm writes 1 into a gamma that is fixed.
            values[name] = (
                np.ones(shape) if name == "norm1_gamma" else random.uniform(0.5, 1.5, shape)
            )
        else:
            values[name] = random.normal(0, 0.3, shape)
    return values


def sample(shape, seed=7):
    return np.random.RandomState(seed).normal(0, 1, shape).astype("float32")
