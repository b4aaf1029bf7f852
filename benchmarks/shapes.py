"""The shape of every result of a network's steps (`benchmarks.steps`)."""


def shapes_of(steps, parameter_shapes, data_shape):
    """Infer the shapes.

    Parameters
    ----------
    steps : list of dict
    parameter_shapes : dict of str to tuple of int
        Of the parameters by name; weights suffice.
    data_shape : sequence of int
        Of the images: batch, channels, height, width.

    Returns
    -------
    dict of str to tuple of int
        By the result's name, ``data`` included.
    """
    shapes = {"data": tuple(data_shape)}
    for step in steps:
        shape = shapes[step["inputs"][0]]
        kind = step["kind"]
        if kind == "convolution":
            width = parameter_shapes[step["parameters"]["weight"]][0]
            reach = [d * (k - 1) + 1 for d, k in zip(step["dilate"], step["kernel"], strict=True)]
            shape = (shape[0], width, *_windows(shape[2:], reach, step, up=False))
        elif kind == "pool":
            spatial = (1, 1)
            if not step["over_map"]:
                spatial = _windows(shape[2:], step["kernel"], step, step["ceil"])
            shape = (*shape[:2], *spatial)
        elif kind == "flatten":
            shape = (shape[0], _product(shape[1:]))
        elif kind == "fully connected":
            shape = (shape[0], parameter_shapes[step["parameters"]["weight"]][0])
        shapes[step["name"]] = shape
    return shapes


def _windows(spatial, reach, step, up):
    sizes = []
    for size, window, stride, pad in zip(spatial, reach, step["stride"], step["pad"], strict=True):
        room = size + 2 * pad - window
        sizes.append((-(-room // stride) if up else room // stride) + 1)
    return tuple(sizes)


def _product(sizes):
    total = 1
    for size in sizes:
        total *= size
    return total
