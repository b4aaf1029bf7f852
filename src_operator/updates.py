"""Steps of the optimizer for many arrays in one operator."""

import functools

from igc.errors import InputError
from igc.operator.library import is_built, load

_OPERATOR = "NesterovUpdate"


def has_nesterov(arrays):
    """Tell whether `nesterov` can update arrays: float32, on the CPU, with the library built.

    Parameters
    ----------
    arrays : iterable of mxnet.nd.NDArray

    Returns
    -------
    bool
    """
    if not all(a.context.device_type == "cpu" and a.dtype.__name__ == "float32" for a in arrays):
        return False
    return is_built() and _is_there()


@functools.cache
def _is_there():
    try:
        load()
    except InputError:
        # --operator=stock is the way out of a damaged library, and needs none: what else uses it
        # says what is wrong
        return False
    import mxnet as mx

    return hasattr(mx.nd, _OPERATOR)  # an older library has none


def nesterov(weights, gradients, momenta, rates, decays, momentum, rescale, clip=None):
    """Make a step of Nesterov's momentum, in place, as src_operator/nesterov.h has it.

    Parameters
    ----------
    weights, gradients, momenta : sequence of mxnet.nd.NDArray
        Dense, float32, on the CPU; the three of one place have one shape.
    rates, decays : sequence of float
        Of each array.
    momentum, rescale : float
    clip : float, optional
        The gradients' limit, after `rescale`.

    Raises
    ------
    mxnet.base.MXNetError
        When shapes or types do not fit.
    """
    import mxnet as mx

    arrays = [array for three in zip(weights, gradients, momenta, strict=True) for array in three]
    getattr(mx.nd, _OPERATOR)(
        *arrays,
        arrays=len(weights),
        rates=_numbers(rates),
        decays=_numbers(decays),
        momentum=repr(float(momentum)),
        rescale=repr(float(rescale)),
        clip=repr(-1.0 if clip is None else float(clip)),
    )


def _numbers(values):
    """Write numbers so that they are read as they are; one, where all are the same."""
    chosen = values if len(set(values)) > 1 else values[:1]
    return ",".join(repr(float(value)) for value in chosen)
