"""The originals' initialisation of weights, and the choices of IGCV3's ``--initializer``."""

import mxnet as mx

from igc.errors import InputError


@mx.init.register
class ZeroVariance(mx.init.Xavier):
    """He-normal weights, and running variances that start at 0.

    Source: class ``Init`` in IGCV1's ``train_model.py``. MXNet's own initialisers start running
    variances at 1; after some hundred updates the two do not differ (quirk Q19).
    """

    def __call__(self, desc, arr):
        """Fill `arr`, going by the parameter's name alone, as the original did."""
        # moving in MXNet's symbols, running in Gluon's blocks
        if desc.endswith(("moving_mean", "moving_var", "running_mean", "running_var")):
            arr[:] = 0.0
        else:
            super().__call__(mx.init.InitDesc(desc), arr)


def igcv1(moving_variance=0):
    """Build IGCV1's initialiser: He-normal convolutions, and Torch's default for the classifier.

    Parameters
    ----------
    moving_variance : {0, 1}
        What running variances start at: 0 as in the original, 1 as in MXNet.

    Returns
    -------
    mxnet.init.Initializer
        Names with "fc" in them get uniform weights of magnitude 1 over the fan-in and a zero
        bias; all others gaussian weights of variance 2 over the fan-in, gamma 1, beta 0.
    """
    kind = ZeroVariance if moving_variance == 0 else mx.init.Xavier
    return mx.init.Mixed(
        [".*fc.*", ".*"],
        [
            mx.init.Xavier(rnd_type="uniform", factor_type="in", magnitude=1),
            kind(rnd_type="gaussian", factor_type="in", magnitude=2),
        ],
    )


_BY_NAME = {
    "default": lambda: mx.init.Xavier(rnd_type="gaussian", factor_type="in", magnitude=2),
    "xavier": mx.init.Xavier,
    "msra": mx.init.MSRAPrelu,
    "orthogonal": mx.init.Orthogonal,
    "normal": mx.init.Normal,
    "uniform": mx.init.Uniform,
    "one": mx.init.One,
    "zero": mx.init.Zero,
    "igcv1": igcv1,
    "igcv1-var1": lambda: igcv1(moving_variance=1),
}

NAMES = tuple(_BY_NAME)


def create(name):
    """Build an initialiser by the name that ``--initializer`` takes.

    Parameters
    ----------
    name : str
        One of `NAMES`. "default" is IGCV3's gaussian Xavier over the fan-in (``common/fit.py``
        there); "igcv1" and "igcv1-var1" are `igcv1` with running variances from 0 and from 1.

    Raises
    ------
    InputError
        For another name.
    """
    if name not in _BY_NAME:
        raise InputError(f"--initializer {name}: not known; choose one of {', '.join(NAMES)}")
    return _BY_NAME[name]()
