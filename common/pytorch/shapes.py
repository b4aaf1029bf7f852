"""The shapes that a graph's parameters must have, without MXNet and without a value."""

import math

import torch
from torch import nn

from igc.errors import InputError
from igc.pytorch import operators
from igc.pytorch.roles import DATA
from igc.symbol.attributes import operator_of, settings_of

# sides that images are tried with where nobody says which ones a network takes
_SIDES = (224, 32, 299, 331, 64, 28, 128, 256)


def parameter_shapes(graph, roles, given, source, image_shape=None):
    """Work out the shapes.

    Parameters
    ----------
    graph : igc.symbol.graph.Graph
    roles : igc.pytorch.roles.Roles
    given : dict of str to tuple of int
        Shapes of the arrays that are there, by their names in ``.params``. They decide where the
        graph leaves a shape open, and which images the network takes when nobody says.
    source : str
        What messages call the graph.
    image_shape : tuple of int, optional
        (channels, height, width) of an image.

    Returns
    -------
    dict of str to tuple of int
        For every parameter and auxiliary state.

    Raises
    ------
    InputError
        When the graph does not take images of that shape; the message names the node.
    """
    tried = [tuple(image_shape)] if image_shape else [(3, side, side) for side in _SIDES]
    best, most, failed = None, math.inf, None
    for shape in tried:
        try:
            found = _propagate(graph, roles, given, shape, source)
        except InputError as error:
            failed = failed or error
            continue
        wrong = sum(given.get(name, found[name]) != found[name] for name in found)
        if wrong < most:
            best, most = found, wrong
        if not wrong:
            break
    if best is None:
        raise failed
    return best


def _propagate(graph, roles, given, image_shape, source):
    values, shapes = {}, {}
    names = {id(node): name for name, node in roles.parameters.items()}

    def variable(node, shape):
        """Give a parameter; whoever reads it first decides its shape."""
        name = names[id(node)]
        if name not in shapes:
            shapes[name] = tuple(shape) if shape is not None else given.get(name, (1,))
        return torch.empty(shapes[name], device="meta")

    for node in graph.nodes():
        kind = operator_of(node)
        if kind == "null":
            if node.name == DATA:
                values[id(node)] = torch.empty((1, *image_shape), device="meta")
            continue
        if kind == "SoftmaxOutput":
            continue
        inputs = []
        for place, edge in enumerate(node.inputs):
            if id(edge.node) in values:
                inputs.append(values[id(edge.node)])
            else:
                inputs.append(variable(edge.node, _wanted(kind, node, place, inputs)))
        target, settings = operators.call_of(node)
        if isinstance(target, nn.Module):
            target = target.to("meta").eval()
        try:
            values[id(node)] = inputs[0] if target is None else target(*inputs, **settings)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            shape = ",".join(map(str, image_shape))
            raise InputError(
                f"{source}: {node.op} {node.name!r} cannot be computed for images of shape "
                f"{shape} ({reason}); give the image_shape that the network takes"
            ) from error
    return shapes


def _wanted(kind, node, place, inputs):
    """Tell the shape of the parameter that a layer has as an input, None where it is free."""
    given = settings_of(node)
    if kind == "Convolution" and place > 0:
        channels = inputs[0].shape[1] // given["num_group"]
        count = given["num_filter"]
        return (count, channels, *given["kernel"]) if place == 1 else (count,)
    if kind == "FullyConnected" and place > 0:
        width = math.prod(inputs[0].shape[1:]) if given["flatten"] else inputs[0].shape[-1]
        return (given["num_hidden"], width) if place == 1 else (given["num_hidden"],)
    if kind == "BatchNorm" and place > 0:
        return (inputs[0].shape[1],)
    return None
