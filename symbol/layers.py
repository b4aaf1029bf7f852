"""The layers that the networks are made of."""

from igc.errors import InputError


class Layers:
    """Makes layers that share the constants of one network.

    Parameters
    ----------
    operator : {"native", "stock", None}
        How permutations are computed; None is native, and an `InputError` at the first
        permutation when the native operator is not built.
    bn_momentum, bn_eps : float
        Of every batch normalisation. The momentum is MXNet's: the share of the running value
        that is kept. The scale (gamma) is always learned.

    Notes
    -----
    No convolution has a bias. Parameters are named by MXNet after their layer, as in the
    originals: ``<layer>_weight``, ``<layer>_gamma``, ...
    """

    def __init__(self, operator, bn_momentum, bn_eps):
        import mxnet  # here and not above, so that networks can be listed without it

        self.sym = mxnet.sym
        self.operator = operator
        self.bn_momentum = bn_momentum
        self.bn_eps = bn_eps

    def data(self):
        """Make the input: images of shape (batch, channels, height, width)."""
        return self.sym.Variable("data")

    def conv(self, data, width, kernel, name, stride=1, groups=1):
        """Convolve with a square kernel, padded so that stride 1 keeps the map's size."""
        return self.sym.Convolution(
            data,
            num_filter=width,
            kernel=(kernel, kernel),
            stride=(stride, stride),
            pad=(kernel // 2, kernel // 2),
            num_group=groups,
            no_bias=True,
            name=name,
        )

    def bn(self, data, name):
        """Normalise over the batch."""
        return self.sym.BatchNorm(
            data, fix_gamma=False, eps=self.bn_eps, momentum=self.bn_momentum, name=name
        )

    def conv_bn(self, data, width, kernel, name, stride=1, groups=1, relu=True):
        """Convolve, normalise, rectify: ``<name>_conv``, ``<name>_bn``, ``<name>_relu``."""
        net = self.conv(data, width, kernel, f"{name}_conv", stride, groups)
        net = self.bn(net, f"{name}_bn")
        return self.relu(net, f"{name}_relu") if relu else net

    def relu(self, data, name):
        """Rectify."""
        return self.sym.Activation(data, act_type="relu", name=name)

    def relu6(self, data, name):
        """Rectify and cut off at 6 (MobileNets)."""
        return self.sym.clip(data, a_min=0, a_max=6, name=name)

    def permutation(self, data, groups, name):
        """Deal the channels out so that each next group takes one from each of `groups`.

        ``out[:, j*groups + i] = in[:, i*(C/groups) + j]``: the originals' `Reorder` (IGCV1,
        src/reorder-inl.h) and `permutation` (IGCV3, symbols/igcv3.py).
        """
        if choose_operator(self.operator) == "stock":
            return stock_permutation(self.sym, data, groups, name)
        from igc import operator

        return operator.reorder(data, groups, name=name)

    def igc(self, data, width, primary, secondary, name, stride=1, relu=True):
        """Interleaved group convolution: the block of IGCV1 (section 3, figure 1).

        A 3x3 convolution in `primary` groups, a permutation, a 1x1 convolution in `secondary`
        groups, the permutation back, batch normalisation, ReLU. Nothing nonlinear stands between
        the two convolutions, so that with ``primary * secondary == width`` they make up one
        convolution with exactly one path from each input channel to each output channel.
        """
        net = self.conv(data, width, 3, f"{name}_conv1", stride, primary)
        net = self.permutation(net, primary, f"{name}_reorder1")
        net = self.conv(net, width, 1, f"{name}_conv2", groups=secondary)
        net = self.permutation(net, secondary, f"{name}_reorder2")
        net = self.bn(net, f"{name}_bn")
        return self.relu(net, f"{name}_relu") if relu else net

    def average_pool(self, data, kernel, name, whole_map=False):
        """Average over windows of `kernel` x `kernel`, or over the whole map whatever its size."""
        return self.sym.Pooling(
            data,
            kernel=(kernel, kernel),
            stride=(1, 1),
            pool_type="avg",
            global_pool=whole_map,
            name=name,
        )

    def max_pool(self, data, name):
        """Take the maximum over 3x3 windows at stride 2 (the ImageNet stem)."""
        return self.sym.Pooling(
            data, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max", name=name
        )

    def classifier(self, data, num_classes, name, flatten="flatten"):
        """Flatten, one fully connected layer, softmax with its loss."""
        net = self.sym.flatten(data, name=flatten)
        net = self.sym.FullyConnected(net, num_hidden=num_classes, name=name)
        return self.sym.SoftmaxOutput(net, name="softmax")


def stock_permutation(sym, data, groups, name):
    """Permute with MXNet's own operators; the last one carries the permutation's name."""
    net = sym.reshape(data, shape=(0, -4, groups, -1, -2), name=f"{name}_split")
    net = sym.swapaxes(net, dim1=1, dim2=2, name=f"{name}_swap")
    return sym.reshape(net, shape=(0, -3, -2), name=name)


def choose_operator(wanted):
    """Settle how permutations are computed.

    Parameters
    ----------
    wanted : {"native", "stock", None}

    Returns
    -------
    {"native", "stock"}

    Raises
    ------
    InputError
        When the native operator is wanted (None wants it too) but is not built.
    """
    if wanted == "stock":
        return wanted
    if wanted not in (None, "native"):
        raise InputError(f"operator={wanted!r} does not work: choose native or stock")
    from igc import operator

    if not operator.is_built():
        raise InputError(
            "the native operator is not built: run 'make venv', or choose MXNet's own operators "
            "with operator='stock' (--operator stock)"
        )
    return "native"
