"""The loss whose gradients are those of MXNet's ``SoftmaxOutput``."""

from torch.nn import functional

from igc.errors import InputError


def check_trainable(network, source):
    """Raise InputError unless every head is trained with the cross-entropy of a row of classes."""
    for head in network.origin.heads:
        if not head.trained:
            raise InputError(
                f"{source}: the output {head.name!r} is no plain SoftmaxOutput, which is what a "
                "network is trained with; put one behind the classifier"
            )


def cross_entropy(outputs, labels, heads):
    """Compute the cross-entropy of a batch's images, mean over images and summed over heads.

    Parameters
    ----------
    outputs : torch.Tensor or tuple of torch.Tensor
        A module's: (n, classes) for each head.
    labels : torch.Tensor
        int64 of shape (n,), or distributions (n, classes).
    heads : tuple of igc.pytorch.roles.Head

    Returns
    -------
    torch.Tensor
        A number, computed in float32 at least.
    """
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    total = 0.0
    for output, head in zip(outputs, heads, strict=True):
        wide = output.float() if output.element_size() < 4 else output
        total = total + head.scale * functional.cross_entropy(wide, labels)
    return total
