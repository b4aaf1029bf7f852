"""The outputs of a module as probabilities."""

import torch


def scores(data, rows=True):
    """Hand on what enters `SoftmaxOutput`: a row for each image, unless told otherwise."""
    return data.flatten(1) if rows else data


def probabilities(outputs, heads):
    """Turn a module's outputs into what MXNet's network gives.

    Parameters
    ----------
    outputs : torch.Tensor or tuple of torch.Tensor
    heads : tuple of igc.pytorch.roles.Head

    Returns
    -------
    list of torch.Tensor
        One for each head, in float32 where the outputs are shorter.
    """
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [
        output if head.softmax is None else torch.softmax(_at_least_float(output), head.softmax)
        for output, head in zip(outputs, heads, strict=True)
    ]


def mean(tensors):
    """Average the heads; what a network of several predicts (`igc.heads.prediction`)."""
    return tensors[0] if len(tensors) == 1 else sum(tensors) / len(tensors)


def _at_least_float(tensor):
    return tensor.float() if tensor.element_size() < 4 else tensor
