"""Batch normalisation with what is behind it as one operator: ``torch.ops.igc.norm_train``.

That is an activation and a permutation, which in IGCV3 is behind a normalisation. A layer of its
own in training on a GPU only, where PyTorch's and the upkeep of MXNet's running statistics are a
dozen small passes; elsewhere it is `igc.pytorch.layers.BatchNorm`, an activation and a permutation.
"""

import torch

from igc.errors import InputError
from igc.pytorch import custom, kernels
from igc.pytorch.fused import ACTIVATIONS, activated, item_of
from igc.pytorch.layers import BatchNorm


class NormActivation(BatchNorm):
    """A batch normalisation and the activation and permutation that follow it.

    Its arrays are arguments, as those of all layers here.

    Parameters
    ----------
    norm : igc.pytorch.layers.BatchNorm
    activation : {"none", "relu", "relu6"}
    branch_factor : int
        Of the permutation behind the activation; 1 where there is none.
    """

    def __init__(self, norm, activation, branch_factor=1):
        super().__init__(norm.eps, norm.momentum, norm.fix_gamma, norm.use_global_stats)
        if activation not in ACTIVATIONS:
            raise InputError(f"activation {activation!r}: choose {', '.join(ACTIVATIONS)}")
        self.activation, self.branch_factor = activation, branch_factor

    def forward(self, data, gamma, beta, mean, variance):
        """Normalise (n, channels, …); in training, `mean` and `variance` are brought up to date."""
        learns = self.training and not self.use_global_stats
        if not learns or not kernels.on_gpu(data) or data.numel() == 0:
            out = super().forward(data, gamma, beta, mean, variance)
            out = activated(out, self.activation)
            return out if self.branch_factor == 1 else custom.reorder(out, self.branch_factor)
        if self.fix_gamma:
            gamma = torch.ones_like(gamma)
        vectors = [vector.to(item_of(data)) for vector in (gamma, beta, mean, variance)]
        settings = self.momentum, self.eps, self.activation, self.branch_factor
        out, saved = torch.ops.igc.norm_train(data, *vectors, *settings)
        with torch.no_grad():
            # one launch for both
            torch._foreach_copy_([mean, variance], [saved[4], saved[5]])
        return out

    def extra_repr(self):
        """Show the settings."""
        behind = f"activation={self.activation}, branch_factor={self.branch_factor}"
        return f"{super().extra_repr()}, {behind}"


@torch.library.custom_op("igc::norm_train", mutates_args=())
def _norm(
    data: torch.Tensor,
    gamma: torch.Tensor,
    beta: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    momentum: float,
    eps: float,
    activation: str,
    branch_factor: int = 1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalise on a GPU; the second result is as `kernels.normalise` has it."""
    if not kernels.on_gpu(data) or data.numel() == 0:
        raise InputError(
            f"norm_train: takes data on a GPU, with a library that has CUDA, not {data.dtype} of "
            f"shape {tuple(data.shape)} on {data.device}"
        )
    data = data.contiguous()
    out, saved = torch.empty_like(data), gamma.new_empty(6, len(gamma))
    gamma, beta, *running = (vector.contiguous() for vector in (gamma, beta, mean, variance))
    settings = momentum, eps, activation, branch_factor
    kernels.normalise(data, gamma, beta, running, out, saved, settings)
    return out, saved


@_norm.register_fake
def _(data, gamma, beta, mean, variance, momentum, eps, activation, branch_factor=1):
    return torch.empty_like(data.contiguous()), gamma.new_empty(6, len(gamma))


@torch.library.custom_op("igc::norm_train_backward", mutates_args=())
def _norm_back(
    gradient: torch.Tensor,
    data: torch.Tensor,
    saved: torch.Tensor,
    activation: str,
    branch_factor: int,
    of_data: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give the gradients of data, an empty one where it is not wanted, gamma and beta."""
    data = data.contiguous()
    channels = saved.shape[1]
    found = [torch.empty_like(data) if of_data else None]
    found += [saved.new_empty(channels), saved.new_empty(channels)]
    gradient = gradient.contiguous()
    kernels.normalise_backward(gradient, data, saved, found, activation, branch_factor)
    return (found[0] if of_data else data.new_empty(0)), *found[1:]


@_norm_back.register_fake
def _(gradient, data, saved, activation, branch_factor, of_data):
    channels = saved.shape[1]
    vectors = saved.new_empty(channels), saved.new_empty(channels)
    return (torch.empty_like(data.contiguous()) if of_data else data.new_empty(0)), *vectors


def _keep(ctx, inputs, output):
    ctx.save_for_backward(inputs[0], output[1])
    ctx.behind = inputs[-2:]
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _back(ctx, gradient, _):
    data, saved = ctx.saved_tensors
    of_data = ctx.needs_input_grad[0]
    first, *vectors = torch.ops.igc.norm_train_backward(gradient, data, saved, *ctx.behind, of_data)
    return (first if of_data else None, *vectors, *[None] * 6)


_norm.register_autograd(_back, setup_context=_keep)
