"""Re-estimation of BatchNorm's running statistics.

With the momentum of 0.99 of `plain` and `plain_igc`, running statistics lag hundreds of updates
behind: a short training on little data then tests at chance. Averaging over some batches with the
weights held fixed puts them right (Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm",
section 3, "precise BN").
"""

import json

import mxnet as mx

from igc.fuse import fuse
from igc.symbol.graph import dump, parse


def moments_symbol(symbol):
    """Build the graph that gives the batch moments of what enters each BatchNorm.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        The network.

    Returns
    -------
    moments : mxnet.symbol.Symbol or None
        Outputs: for each BatchNorm, in turn, its input's mean and mean square over all axes but
        the channels, each of shape (C,). None for a network without BatchNorm.
    names : list of (str, str)
        The auxiliary states (running mean, running variance) of each.
    """
    nodes = json.loads(symbol.tojson())["nodes"]
    internals = symbol.get_internals()
    outputs = internals.list_outputs()
    moments, names = [], []
    for node in nodes:
        if node["op"] != "BatchNorm":
            continue
        source, entry = node["inputs"][0][:2]
        entering = internals[outputs.index(_output_name(nodes[source], entry))]
        moments.append(mx.sym.mean(entering, axis=1, exclude=True))
        moments.append(mx.sym.mean(mx.sym.square(entering), axis=1, exclude=True))
        names.append(tuple(nodes[index]["name"] for index, *_ in node["inputs"][3:5]))
    return (mx.sym.Group(moments), names) if moments else (None, names)


def _output_name(node, entry):
    if node["op"] == "null":
        return node["name"]
    # only operators with one visible output feed a BatchNorm in these networks
    assert entry == 0, node["name"]
    return node["name"] + "_output"


def _fused(symbol, arg_params, aux_params):
    """Build the fused graph whose running statistics are, after each pass, those of its batch.

    Returns
    -------
    mxnet.symbol.Symbol or None
        None where a BatchNorm stays outside of the spans: MXNet's own writes its statistics in the
        backward pass only.
    """
    graph = parse(symbol.tojson(), "the network")
    for node in graph.nodes():
        if node.op == "BatchNorm":
            node.attributes["momentum"] = "0"
    forgetful = mx.sym.load_json(dump(graph))
    fused, *_ = fuse(
        forgetful, arg_params, aux_params, for_training=True, input_gradient=False, regular=True
    )
    left = [node for node in parse(fused.tojson()).nodes() if node.op == "BatchNorm"]
    # the one that tells spans about training has a momentum of 1
    return None if any(node.attributes["momentum"] == "0" for node in left) else fused


def _moments_of_states(executor, names):
    """List mean and mean square of each BatchNorm's input from the states that a pass has set."""
    mx.nd.waitall()  # MXNet does not order reading them after what writes them
    moments = []
    for states in names:
        mean, variance = (executor.aux_dict[name].asnumpy().astype("float64") for name in states)
        moments += [mean, variance + mean**2]
    return moments


def reestimate(symbol, arg_params, aux_params, batches, context, fused=False):
    """Estimate running statistics afresh.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        The network, not fused, input `data`.
    arg_params, aux_params : dict of str to mxnet.ndarray.NDArray
        Its parameters and auxiliary states; they are not changed.
    batches : iterable of mxnet.io.DataBatch
        Training batches, as many as the estimate shall rest on.
    context : mxnet.Context
        Where to compute.
    fused : bool
        Whether the native operator computes runs of layers, see `igc.fuse`; on a CPU only.

    Returns
    -------
    dict of str to mxnet.ndarray.NDArray
        New auxiliary states: the mean, and the variance about it, over all images of the batches.
    """
    moments, names = moments_symbol(symbol)
    updated = dict(aux_params)
    if moments is None:
        return updated
    spans = _fused(symbol, arg_params, aux_params) if fused else None
    graph, states = moments, aux_params
    if spans is not None:
        # a momentum of 0 takes nothing from before, but what is no number would spread
        graph = spans
        states = {name: mx.nd.zeros(array.shape) for name, array in aux_params.items()}
    sums, images, executor = None, 0, None
    for batch in batches:
        data = batch.data[0]
        if executor is None or executor.arg_dict["data"].shape != data.shape:
            # asked for gradients (which are never computed), since MXNet folds BatchNorm into
            # the convolution of a graph that is bound without any
            executor = graph.simple_bind(context, grad_req="write", data=data.shape)
            executor.copy_params_from(arg_params, states, allow_extra_params=True)
        # is_train: the layers below normalise by the batch, as in training
        outputs = executor.forward(is_train=True, data=data)
        if spans is None:
            found = [output.asnumpy().astype("float64") for output in outputs]
        else:
            found = _moments_of_states(executor, names)
        weighted = [moment * len(data) for moment in found]
        sums = weighted if sums is None else [a + b for a, b in zip(sums, weighted, strict=True)]
        images += len(data)
    for position, (mean_name, variance_name) in enumerate(names):
        mean = sums[2 * position] / images
        variance = sums[2 * position + 1] / images - mean**2
        updated[mean_name] = mx.nd.array(mean)
        updated[variance_name] = mx.nd.array(variance.clip(0))
    return updated
