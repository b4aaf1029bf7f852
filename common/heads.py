"""Networks with several softmax outputs: their labels, and what they say together.

All networks but one have a single output; `ensemble` has eight, each with a label of its own. Every
output is trained against the same labels, and the mean of the outputs is what the network predicts.
"""

import mxnet as mx


def label_names(symbol):
    """List the inputs that take labels.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol

    Returns
    -------
    list of str
        ``["softmax_label"]``, or one for each output.
    """
    return [name for name in symbol.list_arguments() if name.endswith("label")]


def label_shapes(symbol, shape):
    """Pair each label's name with the shape that all have, as `Module.bind` takes them."""
    return [(name, shape) for name in label_names(symbol)]


def for_each_head(batch, heads):
    """Give a batch's labels to every head.

    Parameters
    ----------
    batch : mxnet.io.DataBatch
        With one array of labels.
    heads : int

    Returns
    -------
    mxnet.io.DataBatch
    """
    if heads == 1:
        return batch
    return mx.io.DataBatch(batch.data, batch.label * heads, pad=batch.pad, index=batch.index)


def prediction(outputs):
    """Average the heads.

    Parameters
    ----------
    outputs : list of mxnet.nd.NDArray
        Probabilities of shape (n, classes), one array for each head.

    Returns
    -------
    mxnet.nd.NDArray, shape (n, classes)
        A new array.
    """
    if len(outputs) == 1:
        return outputs[0].copy()
    return mx.nd.add_n(*outputs) / len(outputs)
