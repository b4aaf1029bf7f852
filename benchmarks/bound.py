"""A network bound with arrays of one type: its outputs, its loss, its gradients."""

import mxnet as mx
import numpy as np

INPUTS = ("data", "softmax_label")
_TINY = np.finfo("float32").tiny


class Bound:
    """A network, bound on the CPU.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        Inputs ``data`` and ``softmax_label``; the first output is a softmax.
    values : dict of str to numpy.ndarray
        Of all inputs, parameters and auxiliary states.
    dtype : str
        Type of all arrays, those in between among them.
    for_gradients : bool
        False binds as for inference: MXNet may then merge layers, which it does for float32 alone.
    """

    def __init__(self, symbol, values, dtype="float32", for_gradients=True):
        names = symbol.list_arguments()
        self._labels = values["softmax_label"]
        wanted = [name for name in names if for_gradients and name not in INPUTS]
        self._executor = symbol.simple_bind(
            mx.cpu(),
            data=values["data"].shape,
            grad_req={name: "write" if name in wanted else "null" for name in names},
            type_dict=dict.fromkeys([*names, *symbol.list_auxiliary_states()], dtype),
        )
        self._dtype = dtype
        self.set(values)

    def set(self, values):
        """Give inputs, parameters and states other values; those not named keep theirs."""
        for name, array in {**self._executor.arg_dict, **self._executor.aux_dict}.items():
            if name in values:
                array[:] = mx.nd.array(values[name], dtype=self._dtype)

    def outputs(self, is_train=False):
        """Compute the outputs.

        Returns
        -------
        list of numpy.ndarray
        """
        return [output.asnumpy() for output in self._executor.forward(is_train=is_train)]

    def loss(self):
        """Compute the loss in training mode: cross entropy, summed over the batch."""
        return len(self._labels) * cross_entropy(self.outputs(is_train=True)[0], self._labels)

    def gradients(self):
        """Compute the gradient of that loss by every parameter.

        Returns
        -------
        dict of str to numpy.ndarray
        """
        self._executor.forward(is_train=True)
        self._executor.backward()
        found = self._executor.grad_dict.items()
        return {name: array.asnumpy() for name, array in found if array is not None}


def cross_entropy(probabilities, labels):
    """Average the cross entropy over a batch.

    Parameters
    ----------
    probabilities : numpy.ndarray of shape (N, classes)
    labels : numpy.ndarray of shape (N,)

    Returns
    -------
    float
    """
    right = probabilities[np.arange(len(labels)), labels.astype(int)].astype("float64")
    return float(-np.log(np.maximum(right, _TINY)).mean())


def distance(got, want):
    """Give the norm of the difference over the norm of what is wanted; inf for what is no number.

    Parameters
    ----------
    got, want : numpy.ndarray
        Of one shape.
    """
    if got.shape != want.shape:
        raise ValueError(f"shapes {got.shape} and {want.shape}")
    want = want.astype("float64")
    found = np.linalg.norm(got - want) / np.linalg.norm(want)
    return float(found) if np.isfinite(found) else float("inf")
