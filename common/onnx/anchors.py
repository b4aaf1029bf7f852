"""The anchors of a detector, which depend on no image: constants of an ONNX file.

Source: what `MultiBoxPrior` of MXNet 1.9.1 computes on the CPU.
"""

import numpy as np

from igc.symbol.attributes import operator_of, settings_of
from igc.symbol.graph import Edge, Graph

PRIOR = "_contrib_MultiBoxPrior"


def anchors(settings, size):
    """Compute a map's anchors as MXNet does, to the last bit.

    Parameters
    ----------
    settings : dict of str to object
        Of `MultiBoxPrior`, see `igc.symbol.attributes.settings_of`.
    size : (int, int)
        Height and width of the map.

    Returns
    -------
    numpy.ndarray of float32, shape (1, height * width * (sizes + ratios - 1), 4)
        Left, top, right, bottom as fractions of the image, row by row; at each place all sizes with
        the first ratio, then the first size with the other ratios.
    """
    real = np.float32
    sizes = np.array(settings["sizes"], real)
    roots = np.sqrt(np.array(settings["ratios"], real))
    height, width = (real(length) for length in size)
    step_y, step_x = (
        real(step) if step > 0 else real(1) / length
        for step, length in zip(settings["steps"], (height, width), strict=True)
    )
    offset_y, offset_x = map(real, settings["offsets"])
    y = ((np.arange(height, dtype=real) + offset_y) * step_y)[:, None, None]
    x = ((np.arange(width, dtype=real) + offset_x) * step_x)[None, :, None]
    shape_sizes = np.concatenate([sizes, np.repeat(sizes[:1], len(roots) - 1)])
    shape_roots = np.concatenate([np.repeat(roots[:1], len(sizes)), roots[1:]])
    half_width = shape_sizes * height / width * shape_roots / real(2)
    half_height = shape_sizes / shape_roots / real(2)
    edges = x - half_width, y - half_height, x + half_width, y + half_height
    boxes = np.stack(np.broadcast_arrays(*edges), axis=-1).reshape(1, -1, 4)
    return boxes.clip(0, 1) if settings["clip"] else boxes


def joined(writer, node):
    """Find the anchors that a detection takes: those of its maps, joined.

    Parameters
    ----------
    writer : igc.onnx.operators.Writer
    node : igc.symbol.graph.Node
        Its third input is what joins anchors by `Flatten`, `Reshape` and `Concat`.

    Returns
    -------
    numpy.ndarray of float32, shape (1, anchors, 4)

    Raises
    ------
    InputError
        When something else makes them.
    """
    last, values = node.inputs[2].node, {}
    for source in Graph([Edge(last)]).nodes():
        given = [values.get(id(edge.node)) for edge in source.inputs]
        op = operator_of(source)
        if op == PRIOR:
            values[id(source)] = anchors(settings_of(source), _size(writer, source))
        elif not given or any(value is None for value in given):
            continue
        elif op in ("Flatten", "Reshape"):
            values[id(source)] = given[0].reshape(writer.shapes[source.name])
        elif op == "Concat":
            values[id(source)] = np.concatenate(given, axis=settings_of(source)["dim"])
    found = values.get(id(last))
    if found is None:
        raise writer.refuse(node, "has other anchors than those of MultiBoxPrior, joined")
    return found


def prior(writer, node, settings, inputs):
    """Write the anchors of one map."""
    return writer.constant(node.name, anchors(settings, _size(writer, node)))


def _size(writer, node):
    return writer.shapes[node.inputs[0].node.name][2:]
