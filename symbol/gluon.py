"""The networks as Gluon blocks."""

from igc.errors import InputError
from igc.symbol.graph import parse
from igc.symbol.registry import get_symbol

OUTPUTS = ("scores", "features", "probabilities")
_PIXEL = ("1, 1", "1,1")


def get_block(network, num_classes=None, output="scores", **settings):
    """Build a network as a hybrid block.

    Parameters
    ----------
    network, num_classes, **settings
        As `get_symbol` takes them.
    output : {"scores", "features", "probabilities"}
        What the block gives: the classifier's scores, (batch, num_classes), as
        `gluon.loss.SoftmaxCrossEntropyLoss` takes them; what enters the classifier, (batch, width),
        to put a head of one's own on; or the scores' softmax. Of `ensemble`, a list of eight.

    Returns
    -------
    mxnet.gluon.SymbolBlock
        Of images (batch, channels, height, width). Its parameters have the names that they have in
        the symbol, so that ``block.load_parameters`` takes a checkpoint's ``.params`` (with
        ``ignore_extra=True`` where `output` is ``"features"``), ``gluon.Trainer`` trains it and
        ``block.export`` writes a symbol and parameters that any MXNet loads, where the permutations
        are stock (``operator="stock"``).

    Raises
    ------
    InputError
        As `get_symbol`, for another `output`, and for the features of a network whose scores are
        given by something else than a fully connected layer or a 1x1 convolution of one pixel.

    Examples
    --------
    >>> from igc import symbol as symbols
    >>> block = symbols.get_block("resnet_igc", 10, depth=14, primary_partition=24,
    ...                           secondary_partition=2)
    >>> block.load_parameters("models/resnet_igc_d14L24M2_digits-0006.params")
    """
    if output not in OUTPUTS:
        raise InputError(f"output={output!r} does not work: choose {' or '.join(OUTPUTS)}")
    import mxnet  # here and not above, so that networks can be listed without it

    symbol = get_symbol(network, num_classes, **settings)
    internals = symbol.get_internals()
    found = []
    for head in parse(symbol.tojson()).heads:
        node = head.node.inputs[0].node  # what the softmax takes
        if output == "features":
            node = _classifier(node, network).inputs[0].node
        tensor = internals[f"{node.name}_output"]
        if output == "features":
            tensor = mxnet.sym.flatten(tensor, name=f"{node.name}_features")
        if output == "probabilities":
            tensor = mxnet.sym.softmax(tensor, name=f"{head.node.name}_probabilities")
        found.append(tensor)
    return mxnet.gluon.SymbolBlock(found, mxnet.sym.Variable("data"))


def _classifier(node, network):
    """Find the layer whose scores reach the softmax, or raise InputError."""
    while node.op in ("Flatten", "Reshape", "_copy"):
        node = node.inputs[0].node
    pixel = node.op == "Convolution" and node.attributes["kernel"].strip("()[] ") in _PIXEL
    if node.op != "FullyConnected" and not pixel:
        raise InputError(
            f"{network}: output='features' does not work: its scores come from {node.name} "
            f"({node.op}), not from a fully connected layer; take output='scores'"
        )
    return node
