"""A network as an ONNX model, built from its steps (`benchmarks.steps`).

As a program it writes ``network.onnx`` beside a case's ``steps.json``, in a process of its own, so
that the engines' peak memory does not contain the making of their model.
"""

import sys

from benchmarks.folder import Folder
from benchmarks.shapes import shapes_of

OPSET = 21
IR_VERSION = 10


def nodes_of(steps, shapes):
    """Translate the steps into ONNX's operators; pure Python.

    Parameters
    ----------
    steps : list of dict
        As `benchmarks.steps.steps_of` gives them.
    shapes : dict of str to tuple of int
        As `benchmarks.shapes.shapes_of` gives them.

    Returns
    -------
    nodes : list of (str, list of str, list of str, dict)
        Operator, inputs, outputs, attributes.
    constants : dict of str to list of int or float
        What nodes read beside parameters: shapes, and the limits of clips.
    """
    nodes, constants = [], {}
    for step in steps:
        kind, name, inputs = step["kind"], step["name"], list(step["inputs"])
        parameters = step["parameters"]
        if kind == "convolution":
            attributes = {
                "kernel_shape": step["kernel"],
                "strides": step["stride"],
                "pads": step["pad"] * 2,
                "dilations": step["dilate"],
                "group": step["groups"],
            }
            weights = [parameters[role] for role in ("weight", "bias") if role in parameters]
            nodes.append(("Conv", inputs + weights, [name], attributes))
        elif kind == "batch norm":
            statistics = [parameters[role] for role in ("gamma", "beta", "mean", "var")]
            attributes = {"epsilon": step["eps"], "momentum": step["momentum"]}
            nodes.append(("BatchNormalization", inputs + statistics, [name], attributes))
        elif kind == "relu":
            nodes.append(("Relu", inputs, [name], {}))
        elif kind == "clip":
            limits = [f"{name}_low", f"{name}_high"]
            constants[limits[0]], constants[limits[1]] = step["low"], step["high"]
            nodes.append(("Clip", inputs + limits, [name], {}))
        elif kind == "permutation":
            nodes += _permutation(step, shapes, constants)
        elif kind == "add":
            nodes.append(("Add", inputs, [name], {}))
        elif kind == "pool":
            nodes.append(_pool(step))
        elif kind == "flatten":
            nodes.append(("Flatten", inputs, [name], {"axis": 1}))
        elif kind == "fully connected":
            weights = [parameters[role] for role in ("weight", "bias") if role in parameters]
            nodes.append(("Flatten", inputs, [f"{name}_flat"], {"axis": 1}))
            nodes.append(("Gemm", [f"{name}_flat", *weights], [name], {"transB": 1}))
        elif kind == "softmax":
            nodes.append(("Softmax", inputs, [name], {"axis": 1}))
        else:
            raise ValueError(f"{name}: no ONNX operator for {kind!r}")
    return nodes, constants


def build(steps, arrays, data_shape):
    """Build the model.

    Parameters
    ----------
    steps : list of dict
    arrays : dict of str to numpy.ndarray
        Parameters and running statistics by name.
    data_shape : sequence of int
        With the batch; it is fixed in the model.

    Returns
    -------
    onnx.ModelProto
        Input ``data``, output ``output`` of shape (batch, classes); checked.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shapes = shapes_of(steps, {name: array.shape for name, array in arrays.items()}, data_shape)
    translated, constants = nodes_of(steps, shapes)
    used = {name for _, inputs, _, _ in translated for name in inputs}
    initializers = [
        numpy_helper.from_array(np.asarray(array, np.float32), name)
        for name, array in arrays.items()
        if name in used
    ]
    for name, value in constants.items():
        kind = np.int64 if isinstance(value, list) else np.float32
        initializers.append(numpy_helper.from_array(np.asarray(value, kind), name))
    last = steps[-1]["name"]
    nodes = [
        helper.make_node(
            op,
            inputs,
            ["output" if name == last else name for name in outputs],
            name=outputs[0],
            **attributes,
        )
        for op, inputs, outputs, attributes in translated
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, list(data_shape))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, list(shapes[last]))],
        initializers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _permutation(step, shapes, constants):
    name, data = step["name"], step["inputs"][0]
    batch, channels, *spatial = shapes[data]
    groups = step["groups"]
    constants[f"{name}_split"] = [batch, groups, channels // groups, *spatial]
    constants[f"{name}_join"] = [batch, channels, *spatial]
    split, mixed = f"{name}_parts", f"{name}_mixed"
    return [
        ("Reshape", [data, f"{name}_split"], [split], {}),
        ("Transpose", [split], [mixed], {"perm": [0, 2, 1, 3, 4]}),
        ("Reshape", [mixed, f"{name}_join"], [name], {}),
    ]


def _pool(step):
    name, inputs = step["name"], list(step["inputs"])
    if step["over_map"]:
        return (
            "GlobalAveragePool" if step["how"] == "avg" else "GlobalMaxPool",
            inputs,
            [name],
            {},
        )
    attributes = {
        "kernel_shape": step["kernel"],
        "strides": step["stride"],
        "pads": step["pad"] * 2,
        "ceil_mode": int(step["ceil"]),
    }
    if step["how"] == "max":
        return "MaxPool", inputs, [name], attributes
    return (
        "AveragePool",
        inputs,
        [name],
        {**attributes, "count_include_pad": int(step["count_pad"])},
    )


def main(path):
    """Write the ONNX file of a case's folder."""
    import onnx

    folder = Folder(path)
    model = build(folder.steps(), folder.arrays(), folder.data_shape())
    onnx.save(model, folder.onnx)


if __name__ == "__main__":
    main(sys.argv[1])
