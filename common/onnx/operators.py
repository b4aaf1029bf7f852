"""What each operator of a graph becomes in ONNX.

A translation gets the `Writer`, the node, its settings (`igc.symbol.attributes`) and the names of
its inputs, and returns the name of its result. Layouts are MXNet's: images are (batch, channels,
height, width), and the batch stays open: nothing here writes down how many images there are.
"""

import numpy as np

from igc.errors import InputError
from igc.onnx.anchors import PRIOR, prior
from igc.onnx.detection import MULTIBOX_DETECTION, detection
from igc.symbol.attributes import operator_of, settings_of

ACTIVATIONS = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softrelu": "Softplus",
    "softsign": "Softsign",
}
SOFTMAXES = ("SoftmaxOutput", "softmax")


class Writer:
    """Collects ONNX nodes and constants.

    Parameters
    ----------
    arrays : dict of str to numpy.ndarray
        Parameters and running statistics by name.
    shapes : dict of str to tuple of int
        What each node makes for some batch, by its name.
    source : str
        What messages call the graph.

    Attributes
    ----------
    nodes : list of (str, list of str, list of str, dict)
        Operator, inputs, outputs, attributes, each after its inputs.
    constants : dict of str to numpy.ndarray
        Parameters that are used, and what else nodes read.
    """

    def __init__(self, arrays, shapes, source):
        self.arrays, self.shapes, self.source = arrays, shapes, source
        self.nodes, self.constants = [], {}
        self._names = {}

    def write(self, graph):
        """Translate all nodes of a graph.

        Parameters
        ----------
        graph : igc.symbol.graph.Graph
            As `igc.symbol.load_graph` gives it.

        Returns
        -------
        list of str
            The tensors of the graph's heads.

        Raises
        ------
        InputError
            Names the node that has no counterpart.
        """
        for node in graph.nodes():
            if node.op == "null":
                self._names[id(node)] = node.name
                continue
            translate = _TRANSLATIONS.get(operator_of(node))
            if translate is None:
                raise self.refuse(node, "is an operator that is not known here")
            for edge in node.inputs:
                if edge.index:
                    raise self.refuse(node, f"reads output {edge.index} of {edge.node.name}")
            inputs = [self._names[id(edge.node)] for edge in node.inputs]
            self._names[id(node)] = translate(self, node, settings_of(node), inputs)
        return [self._names[id(edge.node)] for edge in graph.heads]

    def refuse(self, node, why):
        """Make the error that says why a node cannot be exported."""
        return InputError(
            f"{self.source}: {node.op} {node.name!r} cannot be exported to ONNX: it {why}; leave "
            "the network in MXNet, or change that layer"
        )

    def add(self, op, inputs, name, also=(), **attributes):
        """Append a node, and return its first output's name; `also` are those of the others."""
        self.nodes.append((op, list(inputs), [name, *also], attributes))
        return name

    def constant(self, name, value, dtype=np.float32):
        """Add a constant and return its name."""
        self.constants[name] = np.asarray(value, dtype)
        return name

    def parameter(self, name):
        """Take a parameter in, as float32, and return its name."""
        return self.constant(name, self.arrays[name])


def _convolution(writer, node, settings, inputs):
    if len(settings["kernel"]) != 2:
        raise writer.refuse(node, f"has a kernel of {len(settings['kernel'])} dimensions")
    return writer.add(
        "Conv",
        inputs[:1] + [writer.parameter(name) for name in inputs[1:]],
        node.name,
        kernel_shape=settings["kernel"],
        strides=settings["stride"],
        pads=settings["pad"] * 2,
        dilations=settings["dilate"],
        group=settings["num_group"],
    )


def _batch_norm(writer, node, settings, inputs):
    data, gamma, *others = inputs
    if settings["fix_gamma"]:
        # whatever the file holds, MXNet reckons with ones
        ones = np.ones_like(writer.arrays[gamma])
        scale = writer.constant(f"{node.name}/fixed_gamma", ones)
    else:
        scale = writer.parameter(gamma)
    names = [scale, *(writer.parameter(name) for name in others)]
    return writer.add("BatchNormalization", [data, *names], node.name, epsilon=settings["eps"])


def _fully_connected(writer, node, settings, inputs):
    data, *names = inputs
    names = [writer.parameter(name) for name in names]
    if settings["flatten"]:
        flat = writer.add("Flatten", [data], f"{node.name}/flat", axis=1)
        return writer.add("Gemm", [flat, *names], node.name, transB=1)
    weight = writer.arrays[inputs[1]].T
    product = f"{node.name}/product" if names[1:] else node.name
    weight = writer.constant(f"{node.name}/transposed", np.ascontiguousarray(weight))
    writer.constants.pop(names[0])
    writer.add("MatMul", [data, weight], product)
    return writer.add("Add", [product, names[1]], node.name) if names[1:] else product


def _permutation(writer, node, settings, inputs):
    """Channel j*b + i takes channel i*(C/b) + j: a matrix of channels turned over."""
    _, channels, *sizes = writer.shapes[node.name]
    groups = settings["branch_factor"]
    split = writer.constant(f"{node.name}/split", [0, groups, channels // groups, *sizes], np.int64)
    join = writer.constant(f"{node.name}/join", [0, channels, *sizes], np.int64)
    parts = writer.add("Reshape", [*inputs, split], f"{node.name}/parts")
    order = [0, 2, 1, *range(3, 3 + len(sizes))]
    mixed = writer.add("Transpose", [parts], f"{node.name}/mixed", perm=order)
    return writer.add("Reshape", [mixed, join], node.name)


def _pooling(writer, node, settings, inputs):
    how = settings["pool_type"]
    if settings["global_pool"]:
        if how == "sum":
            axes = writer.constant(f"{node.name}/axes", [2, 3], np.int64)
            return writer.add("ReduceSum", [*inputs, axes], node.name, keepdims=1)
        return writer.add(
            {"max": "GlobalMaxPool", "avg": "GlobalAveragePool"}[how], inputs, node.name
        )
    if len(settings["kernel"]) != 2:
        raise writer.refuse(node, f"has a window of {len(settings['kernel'])} dimensions")
    kernel, stride, pad = (settings[key] for key in ("kernel", "stride", "pad"))
    height, width = writer.shapes[node.name][2:]
    sizes = writer.shapes[node.inputs[0].node.name][2:]
    # 'full' lets the last window stand over the edge: what it lacks there
    beyond = [
        max(0, (count - 1) * step + window - size - 2 * edge)
        for count, step, window, size, edge in zip(
            (height, width), stride, kernel, sizes, pad, strict=True
        )
    ]
    window = {"kernel_shape": kernel, "strides": stride}
    if how == "max":
        after = [edge + more for edge, more in zip(pad, beyond, strict=True)]
        return writer.add("MaxPool", inputs, node.name, pads=[*pad, *after], **window)
    counted = settings["count_include_pad"] or how == "sum"
    if counted and any(beyond) and any(pad):
        # the padding counts as part of a window, what lies beyond it does not
        inputs, pad = [_padded(writer, node, inputs[0], pad)], (0, 0)
    if any(beyond):
        counted = False
    if how == "sum" and any(beyond):
        raise writer.refuse(node, "sums up windows that stand over the edge")
    name = f"{node.name}/mean" if how == "sum" else node.name
    pads = [*pad, *(edge + more for edge, more in zip(pad, beyond, strict=True))]
    writer.add("AveragePool", inputs, name, pads=pads, count_include_pad=int(counted), **window)
    if how == "sum":
        area = writer.constant(f"{node.name}/area", float(np.prod(kernel)))
        writer.add("Mul", [name, area], node.name)
    return node.name


def _padded(writer, node, data, pad):
    pads = writer.constant(f"{node.name}/pads", [0, 0, *pad, 0, 0, *pad], np.int64)
    return writer.add("Pad", [data, pads], f"{node.name}/padded")


def _adaptive_pool(writer, node, settings, inputs):
    return writer.add("GlobalAveragePool", inputs, node.name)


def _activation(writer, node, settings, inputs):
    return writer.add(ACTIVATIONS[settings["act_type"]], inputs, node.name)


def _leaky(writer, node, settings, inputs):
    kind = settings["act_type"]
    if kind == "prelu":
        slope = writer.arrays[inputs[1]]
        sizes = len(writer.shapes[node.name]) - 2
        shape = (-1, *[1] * sizes) if slope.size > 1 else (1,)
        slope = writer.constant(f"{node.name}/slope", slope.reshape(shape))
        return writer.add("PRelu", [inputs[0], slope], node.name)
    if kind == "leaky":
        return writer.add("LeakyRelu", inputs, node.name, alpha=settings["slope"])
    if kind == "elu":
        return writer.add("Elu", inputs, node.name, alpha=settings["slope"])
    if kind == "selu":
        return writer.add("Selu", inputs, node.name)
    # gelu: x * (1 + erf(x / sqrt 2)) / 2, in operators that every version has
    root = writer.constant(f"{node.name}/root", np.sqrt(0.5))
    one = writer.constant(f"{node.name}/one", 1.0)
    half = writer.constant(f"{node.name}/half", 0.5)
    scaled = writer.add("Mul", [inputs[0], root], f"{node.name}/scaled")
    erf = writer.add("Erf", [scaled], f"{node.name}/erf")
    share = writer.add("Add", [erf, one], f"{node.name}/share")
    product = writer.add("Mul", [inputs[0], share], f"{node.name}/product")
    return writer.add("Mul", [product, half], node.name)


def _clip(writer, node, settings, inputs):
    low = writer.constant(f"{node.name}/low", settings["a_min"])
    high = writer.constant(f"{node.name}/high", settings["a_max"])
    return writer.add("Clip", [*inputs, low, high], node.name)


def _same(writer, node, settings, inputs):
    """What does nothing at inference is left out."""
    return inputs[0]


def _dropout(writer, node, settings, inputs):
    if settings["mode"] == "always":
        raise writer.refuse(node, "drops at inference too (mode=always)")
    return inputs[0]


def _concat(writer, node, settings, inputs):
    return writer.add("Concat", inputs, node.name, axis=settings["dim"])


def _reshape(writer, node, settings, inputs):
    """Write the shape that it comes to, with the batch left open where it stays in front."""
    before, after = writer.shapes[node.inputs[0].node.name], writer.shapes[node.name]
    shape = [0, *after[1:]] if before[:1] == after[:1] else None
    if shape is None:
        raise writer.refuse(node, "moves the batch into another dimension")
    shape = writer.constant(f"{node.name}/shape", shape, np.int64)
    return writer.add("Reshape", [*inputs, shape], node.name)


def _swap(writer, node, settings, inputs):
    order = list(range(len(writer.shapes[node.name])))
    one, two = settings["dim1"], settings["dim2"]
    order[one], order[two] = order[two], order[one]
    return writer.add("Transpose", inputs, node.name, perm=order)


def _transpose(writer, node, settings, inputs):
    rank = len(writer.shapes[node.name])
    order = [axis % rank for axis in settings["axes"]] or list(range(rank))[::-1]
    if order[0] != 0:
        raise writer.refuse(node, "moves the batch into another dimension")
    return writer.add("Transpose", inputs, node.name, perm=order)


def _flatten(writer, node, settings, inputs):
    return writer.add("Flatten", inputs, node.name, axis=1)


def _expand_dims(writer, node, settings, inputs):
    axes = writer.constant(f"{node.name}/axes", [settings["axis"]], np.int64)
    return writer.add("Unsqueeze", [*inputs, axes], node.name)


def _pad(writer, node, settings, inputs):
    widths = settings["pad_width"]
    pads = writer.constant(f"{node.name}/pads", [*widths[::2], *widths[1::2]], np.int64)
    value = writer.constant(f"{node.name}/value", settings["constant_value"])
    names = [*inputs, pads] + ([value] if settings["mode"] == "constant" else [])
    return writer.add("Pad", names, node.name, mode=settings["mode"])


def _slice(writer, node, settings, inputs):
    shape = writer.shapes[node.inputs[0].node.name]
    steps = settings["step"] or (None,) * len(settings["begin"])
    kept = [
        (axis, begin or 0, shape[axis] if end is None else end, step or 1)
        for axis, (begin, end, step) in enumerate(
            zip(settings["begin"], settings["end"], steps, strict=True)
        )
        if (begin, end, step or 1) != (None, None, 1)
    ]
    return _sliced(writer, node, inputs, kept)


def _slice_axis(writer, node, settings, inputs):
    shape, axis = writer.shapes[node.inputs[0].node.name], settings["axis"]
    end = shape[axis] if settings["end"] is None else settings["end"]
    return _sliced(writer, node, inputs, [(axis, settings["begin"], end, 1)])


def _sliced(writer, node, inputs, kept):
    if any(axis % len(writer.shapes[node.name]) == 0 for axis, *_ in kept):
        raise writer.refuse(node, "takes a part of the batch")
    if not kept:
        return inputs[0]
    axes, begins, ends, steps = zip(*kept, strict=True)
    names = [
        writer.constant(f"{node.name}/{role}", values, np.int64)
        for role, values in (("begin", begins), ("end", ends), ("axes", axes), ("step", steps))
    ]
    return writer.add("Slice", [*inputs, *names], node.name)


def _reduction(op):
    def translate(writer, node, settings, inputs):
        rank = len(writer.shapes[node.inputs[0].node.name])
        axes = settings["axis"]
        axes = tuple(range(rank)) if axes in (None, ()) else np.atleast_1d(axes) % rank
        if settings["exclude"]:
            axes = [axis for axis in range(rank) if axis not in axes]
        if 0 in axes:
            raise writer.refuse(node, "reduces over the batch")
        axes = writer.constant(f"{node.name}/axes", axes, np.int64)
        return writer.add(op, [*inputs, axes], node.name, keepdims=int(settings["keepdims"]))

    return translate


def _softmax(op):
    def translate(writer, node, settings, inputs):
        data = inputs[0]
        if settings["temperature"] not in (None, 1.0):
            heat = writer.constant(f"{node.name}/temperature", settings["temperature"])
            data = writer.add("Div", [data, heat], f"{node.name}/cooled")
        return writer.add(op, [data], node.name, axis=settings["axis"])

    return translate


def _softmax_output(writer, node, settings, inputs):
    """The label is of no use at inference."""
    if settings["multi_output"] or settings["preserve_shape"]:
        axis = 1 if settings["multi_output"] else -1
        return writer.add("Softmax", inputs[:1], node.name, axis=axis)
    if len(writer.shapes[node.name]) != 2:
        raise writer.refuse(node, "classifies something else than whole images")
    return writer.add("Softmax", inputs[:1], node.name, axis=1)


def _upsampling(writer, node, settings, inputs):
    scale = float(settings["scale"])
    scales = writer.constant(f"{node.name}/scales", [1.0, 1.0, scale, scale])
    return writer.add(
        "Resize",
        [*inputs, "", scales],
        node.name,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _bilinear(writer, node, settings, inputs):
    if len(inputs) != 1:
        raise writer.refuse(node, "takes its size from another tensor")
    sizes = zip(
        writer.shapes[node.name][2:], writer.shapes[node.inputs[0].node.name][2:], strict=True
    )
    scales = writer.constant(f"{node.name}/scales", [1.0, 1.0, *(out / had for out, had in sizes)])
    way = "align_corners" if settings["align_corners"] else "half_pixel"
    return writer.add(
        "Resize",
        [*inputs, "", scales],
        node.name,
        mode="linear",
        coordinate_transformation_mode=way,
    )


def _binary(op):
    return lambda writer, node, settings, inputs: writer.add(op, inputs, node.name)


def _add_n(writer, node, settings, inputs):
    return writer.add("Sum", inputs, node.name)


def _scalar(op):
    def translate(writer, node, settings, inputs):
        value = writer.constant(f"{node.name}/scalar", settings["scalar"])
        return writer.add(op, [*inputs, value], node.name)

    return translate


def _equal(writer, node, settings, inputs):
    value = writer.constant(f"{node.name}/scalar", settings["scalar"])
    same = writer.add("Equal", [*inputs, value], f"{node.name}/same")
    return writer.add("Cast", [same], node.name, to=1)


def _like(value):
    def translate(writer, node, settings, inputs):
        zero = writer.constant(f"{node.name}/zero", 0.0)
        value_name = writer.constant(f"{node.name}/value", value)
        nothing = writer.add("Mul", [*inputs, zero], f"{node.name}/nothing")
        return writer.add("Add", [nothing, value_name], node.name)

    return translate


def _full(value=None):
    def translate(writer, node, settings, inputs):
        filled = settings["value"] if value is None else value
        return writer.constant(node.name, np.full(settings["shape"], filled))

    return translate


_TRANSLATIONS = {
    "Convolution": _convolution,
    "FullyConnected": _fully_connected,
    "BatchNorm": _batch_norm,
    "Reorder": _permutation,
    "Pooling": _pooling,
    "_contrib_AdaptiveAvgPooling2D": _adaptive_pool,
    "Activation": _activation,
    "LeakyReLU": _leaky,
    "clip": _clip,
    **dict.fromkeys(("_copy", "BlockGrad"), _same),
    "Dropout": _dropout,
    "Concat": _concat,
    "Reshape": _reshape,
    "SwapAxis": _swap,
    "transpose": _transpose,
    "Flatten": _flatten,
    "expand_dims": _expand_dims,
    "Pad": _pad,
    "slice": _slice,
    "slice_axis": _slice_axis,
    "sum": _reduction("ReduceSum"),
    "mean": _reduction("ReduceMean"),
    "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
    "SoftmaxOutput": _softmax_output,
    PRIOR: prior,
    MULTIBOX_DETECTION: detection,
    "UpSampling": _upsampling,
    "_contrib_BilinearResize2D": _bilinear,
    "elemwise_add": _binary("Add"),
    "elemwise_sub": _binary("Sub"),
    "elemwise_mul": _binary("Mul"),
    "add_n": _add_n,
    "relu": _binary("Relu"),
    "sigmoid": _binary("Sigmoid"),
    "tanh": _binary("Tanh"),
    "_mul_scalar": _scalar("Mul"),
    "_div_scalar": _scalar("Div"),
    "_plus_scalar": _scalar("Add"),
    "_minus_scalar": _scalar("Sub"),
    "_maximum_scalar": _scalar("Max"),
    "_minimum_scalar": _scalar("Min"),
    "_equal_scalar": _equal,
    "ones_like": _like(1.0),
    "zeros_like": _like(0.0),
    "_full": _full(),
    "_ones": _full(1.0),
    "_zeros": _full(0.0),
}
