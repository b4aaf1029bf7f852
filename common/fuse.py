"""Runs of layers as native spans: fewer passes over memory, the same results."""

import mxnet as mx

from igc import operator
from igc.errors import InputError
from igc.symbol.expand import SPAN
from igc.symbol.graph import dump, parse
from igc.symbol.spans import fuse_graph


def fuse(symbol, arg_params, aux_params, for_training=False, input_gradient=True, regular=False):
    """Put runs of layers with interleaved group convolutions into one native operator each.

    The native operator ``InterleavedSpan`` computes a whole run, as a rule a network from its first
    convolution to its classifier, for data on the CPU in float32. What it cannot do stays MXNet's
    own, as does a network without permutations altogether, unless `regular` asks for it.

    For inference, batch normalisation goes into the weights of the convolution in front of it,
    reckoned in float64. Such a graph serves for the given weights alone. For training it stays, and
    arguments and auxiliary states are those of `symbol`, in its order, so that checkpoints and
    optimizer states are the same for both. `igc.symbol.save_symbol` writes either form with MXNet's
    own layers. A graph that is fused already comes back as it is, whatever form is asked for.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        The network, with native or stock permutations.
    arg_params, aux_params : dict of str to mxnet.nd.NDArray
        Its parameters and auxiliary states. For training only their shapes and types are read, so
        that anything with ``shape`` and ``dtype`` will do.
    for_training : bool
        Which form.
    input_gradient : bool
        For training: False spares the work where the gradient of the network's inputs is not
        wanted, and makes it 0.
    regular : bool
        Whether a network without permutations is fused too. That is faster for narrow networks and
        depthwise convolutions, and slower for wide ones, which MXNet's own operators compute well.

    Returns
    -------
    symbol : mxnet.symbol.Symbol
        Of the same inputs and outputs.
    arg_params, aux_params : dict of str to mxnet.nd.NDArray
        What it is bound with. For inference new dictionaries, in which a folded convolution
        ``<conv>`` has another ``<conv>_weight`` and a ``<conv>_bias`` (float32), and its batch
        normalisation nothing; for training the given ones.

    Raises
    ------
    InputError
        The native operator is not built, or a parameter is missing or does not fit the network.

    Examples
    --------
    >>> import mxnet as mx
    >>> from igc import symbol as symbols
    >>> from igc.fuse import fuse
    >>> net, args, auxs = symbols.load_checkpoint("models/resnet_igc_d14L24M2_digits", 6)
    >>> net, args, auxs = fuse(net, args, auxs)
    >>> module = mx.mod.Module(net)
    >>> module.bind([("data", (32, 3, 32, 32))], [("softmax_label", (32,))], for_training=False)
    >>> module.init_params(None, args, auxs)
    """
    graph = parse(symbol.tojson(), "the network")
    arrays = {**arg_params, **aux_params}
    spans, values, gone = fuse_graph(graph, arrays, for_training, input_gradient, regular)
    if not spans:
        return symbol, arg_params, aux_params
    _load_operator()
    fused = mx.sym.load_json(dump(graph))
    if for_training:
        return fused, arg_params, aux_params
    context = next(iter(arg_params.values())).context
    arrays |= {name: mx.nd.array(value, context, value.dtype) for name, value in values.items()}
    args = {name: arrays[name] for name in [*arg_params, *values] if name not in gone}
    auxs = {name: array for name, array in aux_params.items() if name not in gone}
    return fused, args, auxs


def _load_operator():
    operator.load()
    if SPAN not in mx.operator.get_all_registered_operators():
        raise InputError(
            "the native operator is not built as this code needs it: the library is older; run "
            "'make venv'"
        )
