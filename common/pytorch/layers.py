"""MXNet's layers that do one thing in training and another in evaluation."""

import torch
from torch import nn


class BatchNorm(nn.Module):
    """Batch normalisation with MXNet's running statistics.

    Its arrays are arguments: shared, named and saved as MXNet has them. The running variance takes
    up the batch's biased variance; PyTorch's own layers take up the unbiased one.

    Parameters
    ----------
    eps : float
    momentum : float
        MXNet's: the share of the past; PyTorch's own layers count the share of the batch.
    fix_gamma : bool
        Whether gamma is taken as 1, whatever stands in the array.
    use_global_stats : bool
        Whether training normalises by the running statistics, too, and leaves them as they are.
    """

    def __init__(self, eps, momentum, fix_gamma, use_global_stats):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.fix_gamma, self.use_global_stats = fix_gamma, use_global_stats

    def forward(self, data, gamma, beta, mean, variance):
        """Normalise (n, channels, …); in training, `mean` and `variance` are brought up to date."""
        if self.fix_gamma:
            gamma = torch.ones_like(gamma)
        fast = torch.backends.cudnn.enabled
        if not self.training or self.use_global_stats:
            return torch.batch_norm(data, gamma, beta, mean, variance, False, 0.0, self.eps, fast)
        # with a momentum of 1 these become the batch's own statistics, in the pass that needs them
        batch_mean, batch_variance = torch.zeros_like(mean), torch.zeros_like(variance)
        out = torch.batch_norm(
            data, gamma, beta, batch_mean, batch_variance, True, 1.0, self.eps, fast
        )
        count = data.numel() // data.shape[1]
        with torch.no_grad():
            # of one value the unbiased variance does not exist
            biased = batch_variance * ((count - 1) / count) if count > 1 else 0 * variance
            mean.mul_(self.momentum).add_(batch_mean, alpha=1 - self.momentum)
            variance.mul_(self.momentum).add_(biased, alpha=1 - self.momentum)
        return out

    def extra_repr(self):
        """Show the settings."""
        return (
            f"eps={self.eps}, momentum={self.momentum}, fix_gamma={self.fix_gamma}, "
            f"use_global_stats={self.use_global_stats}"
        )


class Dropout(nn.Module):
    """Dropout.

    Parameters
    ----------
    p : float
        The share that is left out.
    always : bool
        Whether in evaluation, too.
    axes : tuple of int
        Along these, all entries share one draw.
    """

    def __init__(self, p, always, axes):
        super().__init__()
        self.p, self.always, self.axes = p, always, axes

    def forward(self, data):
        """Leave out a share, and scale up what stays."""
        if not (self.training or self.always) or self.p == 0:
            return data
        shape = [1 if axis in self.axes else length for axis, length in enumerate(data.shape)]
        kept = torch.empty(shape, dtype=data.dtype, device=data.device).bernoulli_(1 - self.p)
        return data * kept / (1 - self.p) if self.p < 1 else data * kept

    def extra_repr(self):
        """Show the settings."""
        return f"p={self.p}, always={self.always}, axes={self.axes}"


class Constant(nn.Module):
    """A tensor that the graph itself brings; it goes to the module's device, into no file."""

    def __init__(self, shape, value):
        super().__init__()
        self.register_buffer("value", torch.full(shape, float(value)), persistent=False)

    def forward(self):
        """Give the tensor."""
        return self.value
