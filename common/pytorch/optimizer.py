"""The optimizers of a training in PyTorch, with MXNet's rules for weight decay."""

import torch

from igc.errors import InputError
from igc.pytorch import names

_DECAYED = ("_weight", "_bias", "_gamma", "_beta", "weightfuse")


class Nesterov(torch.optim.Optimizer):
    r"""Nesterov's momentum as the originals have it: `igc.optimizer.Nesterov` for PyTorch.

    The buffer does not hold the learning rate, and weight decay falls on weights, biases, gammas
    and betas alike.

    Parameters
    ----------
    network : igc.pytorch.network.Network
    lr, momentum, wd : float
    """

    def __init__(self, network, lr=0.1, momentum=0.9, wd=0.0):
        def decay(name):
            return float(name.endswith(_DECAYED))

        super().__init__(_groups(network, decay, wd_attributes=False), {"lr": lr})
        self.momentum, self.wd = momentum, wd

    @torch.no_grad()
    def step(self, closure=None):
        """Make an update from the gradients that are there."""
        for group, weights, gradients, buffers in _with_gradients(self):
            rate, decay = group["lr"] * group["lr_mult"], self.wd * group["wd_mult"]
            steps = torch._foreach_add(gradients, weights, alpha=decay) if decay else gradients
            if self.momentum:
                torch._foreach_mul_(buffers, self.momentum)
                torch._foreach_add_(buffers, steps)
                steps = torch._foreach_add(steps, buffers, alpha=self.momentum)
            torch._foreach_add_(weights, steps, alpha=-rate)


class SGD(torch.optim.Optimizer):
    r"""MXNet's ``sgd``: the momentum's buffer holds the learning rate.

    Weight decay falls on weights alone. Source: ``SGD`` of MXNet 1.9.1's ``optimizer/sgd.py`` and
    ``sgd_mom_update``.

    Parameters
    ----------
    network : igc.pytorch.network.Network
    lr, momentum, wd : float
    """

    def __init__(self, network, lr=0.01, momentum=0.0, wd=0.0):
        def decay(name):
            return float(name.endswith(("_weight", "_gamma")))

        super().__init__(_groups(network, decay, wd_attributes=True), {"lr": lr})
        self.momentum, self.wd = momentum, wd

    @torch.no_grad()
    def step(self, closure=None):
        """Make an update from the gradients that are there."""
        for group, weights, gradients, buffers in _with_gradients(self):
            rate, decay = group["lr"] * group["lr_mult"], self.wd * group["wd_mult"]
            steps = torch._foreach_add(gradients, weights, alpha=decay) if decay else gradients
            if not self.momentum:
                torch._foreach_add_(weights, steps, alpha=-rate)
                continue
            torch._foreach_mul_(buffers, self.momentum)
            torch._foreach_add_(buffers, steps, alpha=-rate)
            torch._foreach_add_(weights, buffers)


_BY_NAME = {"nesterov": Nesterov, "sgd": SGD}


def create(name, network, momentum, wd):
    """Build an optimizer by the name that ``--optimizer`` takes.

    Raises
    ------
    InputError
        For a name that is not known here.
    """
    if name not in _BY_NAME:
        raise InputError(
            f"--optimizer {name}: in PyTorch there are {', '.join(_BY_NAME)}; train_model.py has "
            "the others"
        )
    return _BY_NAME[name](network, momentum=momentum, wd=wd)


def _groups(network, decay, wd_attributes):
    """Divide the parameters by what their learning rate and weight decay are multiplied by."""
    groups = {}
    for key, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        name = names.to_name(key)
        said = network.origin.multipliers.get(name, {})
        wd = said.get("wd", decay(name)) if wd_attributes else decay(name)
        group = groups.setdefault((said.get("lr", 1.0), wd), [])
        group.append(parameter)
    return [
        {"params": parameters, "lr_mult": rate, "wd_mult": wd}
        for (rate, wd), parameters in groups.items()
    ]


def _with_gradients(optimizer):
    """Go through the groups: (group, weights, gradients, momentum's buffers)."""
    for group in optimizer.param_groups:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        for weight in weights:
            state = optimizer.state[weight]
            if optimizer.momentum and "momentum" not in state:
                state["momentum"] = torch.zeros_like(weight)
        if weights:
            buffers = [optimizer.state[weight].get("momentum") for weight in weights]
            yield group, weights, [weight.grad for weight in weights], buffers
