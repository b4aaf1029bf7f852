"""Which image shapes a network takes."""

import contextlib
import io
import json
import math
import re

from igc.errors import InputError
from igc.symbol.expand import SHAPE_ATTRIBUTE, SPAN
from igc.symbol.graph import parse
from igc.symbol.rewrite import PERMUTATION

MOST_ELEMENTS = (1 << 31) - 1  # of an array of MXNet
COMMON_SIZES = (32, 224, 28, 48, 64, 96, 128, 160, 192, 256, 299, 320)


def infer_shapes(symbol, data_shapes):
    """Infer the shapes of a symbol's arguments and auxiliary states.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
    data_shapes : dict or list
        Input name -> shape with the batch, or pairs of these.

    Returns
    -------
    arguments, auxiliary : dict of str to tuple of int
        The inputs are among the arguments.
    outputs : list of tuple of int

    Raises
    ------
    InputError
        When the network does not take inputs of these shapes.
    """
    import mxnet

    shapes = {name: tuple(shape) for name, shape in dict(data_shapes).items()}
    _refuse_unknown(symbol, shapes)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # MXNet prints before it raises
            arguments, outputs, auxiliary = symbol.infer_shape(**shapes)
    except mxnet.MXNetError as error:
        raise InputError(
            f"the network does not take inputs of shape {shapes}: {first_reason(error)}"
        ) from error
    if arguments is None:
        raise InputError(f"the shapes {shapes} do not settle the shapes of this network")
    arguments = dict(zip(symbol.list_arguments(), arguments, strict=True))
    auxiliary = dict(zip(symbol.list_auxiliary_states(), auxiliary, strict=True))
    outputs = list(outputs)
    named = [*arguments.items(), *auxiliary.items()] + [("an output", shape) for shape in outputs]
    for name, shape in named:
        if min(shape, default=0) < 1 or math.prod(shape) > MOST_ELEMENTS:
            raise InputError(
                f"the network does not take inputs of shape {shapes}: {name} would have the shape "
                f"{_commas(shape)}; an array has 1 to {MOST_ELEMENTS:,} elements"
            )
    return arguments, auxiliary, outputs


def tensor_shapes(symbol, data_shapes):
    """Infer the shapes of all that a network's nodes make.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
    data_shapes : dict or list
        As in `infer_shapes`.

    Returns
    -------
    dict of str to tuple of int
        By the name of the node, its first output; of a variable, its own shape.

    Raises
    ------
    InputError
        When the network does not take inputs of these shapes.
    """
    infer_shapes(symbol, data_shapes)
    internals = symbol.get_internals()
    _, shapes, _ = internals.infer_shape(**dict(data_shapes))
    found = {}
    for name, shape in zip(internals.list_outputs(), shapes, strict=True):
        found.setdefault(re.sub(r"_output0?$", "", name), tuple(shape))
    return found


def check_input(symbol, image_shape):
    """Check that a network takes images of a shape.

    The networks whose average pool has a fixed window (`plain`, `plain_igc`, the ImageNet networks
    of IGCV1) take one size of image only: on others MXNet either fails or makes a classifier over
    the pixels of what the pool leaves.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        With the input ``data``.
    image_shape : sequence of int
        Channels, height, width.

    Raises
    ------
    InputError
        When it does not; the message says which shape works.
    """
    shape = tuple(image_shape)
    if len(shape) != 3 or not all(isinstance(size, int) and size > 0 for size in shape):
        raise InputError(
            f"image shape {shape} does not work: give channels, height, width, such as 3,32,32"
        )
    pooled = _up_to_pool(symbol)
    if pooled is None:
        infer_shapes(symbol, {"data": (1, *shape)})
        return
    if _takes(pooled, shape):
        return
    others = ((shape[0], size, size) for size in COMMON_SIZES)
    works = next((other for other in others if _takes(pooled, other)), None)
    advice = f"images of shape {_commas(works)} work" if works else "no common size works"
    raise InputError(
        f"this network does not take images of shape {_commas(shape)}: its average "
        f"pool leaves no single value per channel; {advice}"
    )


def image_shape(symbol):
    """Tell which image shape a network takes, where its graph settles that.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        With the input ``data`` of three channels.

    Returns
    -------
    tuple of int
        3x32x32 or 3x224x224.

    Raises
    ------
    InputError
        When neither works, or both do (where the average pool is over the whole map).
    """
    pooled = _up_to_pool(symbol)
    shapes = [(3, 32, 32), (3, 224, 224)]
    shapes = [shape for shape in shapes if pooled is not None and _takes(pooled, shape)]
    if len(shapes) != 1:
        raise InputError("this graph does not settle its image shape; give --image-shape")
    return shapes[0]


def first_reason(error):
    """Take the line that says something out of an MXNetError with its stack trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "heck failed" in line]
    return (telling or lines or ["unknown"])[0]


def _refuse_unknown(symbol, shapes):
    """Raise InputError when a native operator would have to infer from an unknown shape.

    MXNet 1.9.1 copies the shapes of such an operator's inputs without checking that they are known
    and then writes past the end of its buffer.
    """
    text = symbol.tojson()
    if not any(f'"{op}"' in text for op in (PERMUTATION, SPAN)):
        return
    known = {}
    for node in parse(text, "the network").nodes():
        inputs = [edge.node for edge in node.inputs]
        if node.op == "null":
            known[id(node)] = node.name in shapes or _is_settled(node.attributes)
        elif node.op in (PERMUTATION, SPAN):
            unknown = next((source.name for source in inputs if not known[id(source)]), None)
            if unknown is not None:
                raise InputError(
                    f"the network does not take inputs of shape {shapes}: they do not settle the "
                    f"shape of {unknown}, which {node.name} needs"
                )
            known[id(node)] = True
        else:  # a layer infers the shapes of its parameters
            made = [source for source in inputs[1:] if source.op != "null"]
            known[id(node)] = all(known[id(source)] for source in inputs[:1] + made)


def _is_settled(attributes):
    numbers = re.findall(r"-?\d+", attributes.get(SHAPE_ATTRIBUTE, ""))
    return bool(numbers) and all(int(number) > 0 for number in numbers)


def _up_to_pool(symbol):
    """Take the part of a network whose result is flattened, where that is an average pool."""
    nodes = json.loads(symbol.tojson())["nodes"]
    for node in nodes:
        if node["op"] in ("Flatten", "flatten"):
            source = nodes[node["inputs"][0][0]]
            if source["op"] == "Pooling":
                return symbol.get_internals()[f"{source['name']}_output"]
    return None


def _takes(pooled, image_shape):
    try:
        outputs = infer_shapes(pooled, {"data": (1, *image_shape)})[2]
    except InputError:
        return False
    return tuple(outputs[0][2:]) == (1, 1)


def _commas(shape):
    return ",".join(map(str, shape))
