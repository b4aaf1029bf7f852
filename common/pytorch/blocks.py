"""The interleaved group convolution as a layer, for networks of one's own."""

import math

import torch
from torch import nn

from igc.errors import InputError
from igc.pytorch.custom import interleaved_group_conv, pair


class InterleavedGroupConv2d(nn.Module):
    """An interleaved group convolution, without biases and without normalisation.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or (int, int)
        Of the primary convolution.
    primary_partition, secondary_partition : int
        L, which divides both channels, and M, which divides the output's. Each output channel sees
        each input channel where ``L * M == out_channels``.
    stride, padding : int or (int, int)
        Of the primary convolution.

    Attributes
    ----------
    primary_weight, secondary_weight : torch.nn.Parameter
        Normally distributed with the variance 2 / fan-in, as the originals begin.

    Raises
    ------
    InputError
        When a partition does not divide, or a size is neither an integer nor two.

    Notes
    -----
    Source: Zhang et al., "Interleaved Group Convolutions for Deep Neural Networks", 2017, section
    3.1; `igc.pytorch.interleaved_group_conv` computes it.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        primary_partition,
        secondary_partition,
        stride=1,
        padding=0,
    ):
        super().__init__()
        for name, partition, channels in (
            ("primary_partition", primary_partition, (in_channels, out_channels)),
            ("secondary_partition", secondary_partition, (out_channels,)),
        ):
            if partition < 1 or any(number % partition for number in channels):
                numbers = " and ".join(map(str, channels))
                raise InputError(f"{name} {partition} does not divide the channels, {numbers}")
        self.partitions = primary_partition, secondary_partition
        self.stride, self.padding = pair(stride, "stride"), pair(padding, "padding")
        entering, mixed = in_channels // primary_partition, out_channels // secondary_partition
        kernel = pair(kernel_size, "kernel_size")
        self.primary_weight = nn.Parameter(torch.empty(out_channels, entering, *kernel))
        self.secondary_weight = nn.Parameter(torch.empty(out_channels, mixed, 1, 1))
        for weight in (self.primary_weight, self.secondary_weight):
            nn.init.normal_(weight, std=math.sqrt(2 / weight[0].numel()))

    def forward(self, data):
        """Convolve data of shape (n, in_channels, H, W)."""
        weights = self.primary_weight, self.secondary_weight
        return interleaved_group_conv(data, *weights, *self.partitions, self.stride, self.padding)

    def extra_repr(self):
        """Show the settings."""
        out, entering, *kernel = self.primary_weight.shape
        primary, secondary = self.partitions
        return (
            f"{entering * primary}, {out}, kernel_size={tuple(kernel)}, "
            f"primary_partition={primary}, secondary_partition={secondary}, "
            f"stride={self.stride}, padding={self.padding}"
        )
