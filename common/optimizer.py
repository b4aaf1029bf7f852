"""The originals' optimizer: Nesterov's accelerated gradient as Torch has it.

And which of MXNet's own can take its place.
"""

import mxnet as mx

from igc.operator import updates

NAMES = (
    "nesterov",
    "sgd",
    "nag",
    "signum",
    "lbsgd",
    "lars",
    "lamb",
    "adam",
    "adamax",
    "adagrad",
    "adadelta",
    "rmsprop",
    "ftml",
    "ftrl",
)
"""What ``--optimizer`` takes: MXNet's optimizers whose state can be saved and restored."""

WITH_MOMENTUM = ("nesterov", "sgd", "nag", "signum", "lbsgd", "lars")

# several arrays' updates in one operator; few enough for a line of their numbers
_ARRAYS_AT_ONCE = 1000

_DECAYED = ("_weight", "_bias", "_gamma", "_beta", "weightfuse")


@mx.optimizer.Optimizer.register
class Nesterov(mx.optimizer.Optimizer):
    r"""Nesterov's momentum with a buffer that does not hold the learning rate.

    With the gradient :math:`g`, the weight :math:`w`, the decay :math:`\lambda`, the momentum
    :math:`\mu` and the learning rate :math:`\eta`::

        g <- rescale_grad * g + lambda * w
        m <- mu * m + g
        w <- w - eta * (g + mu * m)

    MXNet 1.9.1's own ``nag`` keeps ``eta * m``, so it differs after every change of the learning
    rate. Weight decay falls on weights, biases, gammas and betas alike; MXNet spares the last
    three but gamma. Source: class ``Nesterov`` in IGCV1's ``utility.py`` (and in its
    ``train_imagenet.py``), with the update that MXNet's ``NAG`` made in 2017.

    Parameters
    ----------
    momentum : float
        :math:`\mu`.
    **kwargs
        Those of `mxnet.optimizer.Optimizer`: ``learning_rate``, ``wd``, ``rescale_grad``,
        ``clip_gradient``, ``param_idx2name``, ...
    """

    def __init__(self, momentum=0.9, **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.aggregate_num = _ARRAYS_AT_ONCE

    def set_wd_mult(self, args_wd_mult):
        """Set the factors of the weight decay: 0 for names of no parameter, else 1.

        Parameters
        ----------
        args_wd_mult : dict of str to float
            Factors by parameter name, which win over the rule.
        """
        self.wd_mult = {name: 0.0 for name in self.idx2name.values() if not name.endswith(_DECAYED)}
        self.wd_mult.update(args_wd_mult)

    def create_state(self, index, weight):
        """Return the momentum buffer, zeros like the weight (None without momentum)."""
        if self.momentum == 0.0:
            return None
        return mx.nd.zeros(weight.shape, weight.context, dtype=weight.dtype)

    def update(self, index, weight, grad, state):
        """Update one weight (or lists of them) in place; both ways to the same bits."""
        if isinstance(index, (list, tuple)):
            self._update_many(index, weight, grad, state)
            return
        self._update_count(index)
        rate, decay = self._get_lr(index), self._get_wd(index)
        step = grad * self.rescale_grad
        if self.clip_gradient is not None:
            mx.nd.clip(step, -self.clip_gradient, self.clip_gradient, out=step)
        if decay:
            step += decay * weight
        if state is not None:
            state *= self.momentum
            state += step
            step += self.momentum * state
        weight -= rate * step

    def _update_many(self, indices, weights, grads, states):
        dense = all(grad.stype == "default" for grad in grads)
        if not dense or self.momentum == 0.0 or not updates.has_nesterov([*weights, *grads]):
            for one in zip(indices, weights, grads, states, strict=True):
                self.update(*one)
            return
        self._update_count(indices)
        rates, decays = self._get_lrs(indices), self._get_wds(indices)
        settings = self.momentum, self.rescale_grad, self.clip_gradient
        updates.nesterov(weights, grads, states, rates, decays, *settings)
