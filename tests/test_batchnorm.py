"""Re-estimation of BatchNorm's running statistics against a plain computation."""

import mxnet as mx
import numpy as np

from igc import batchnorm


def _network():
    data = mx.sym.Variable("data")
    net = mx.sym.Convolution(data, num_filter=6, kernel=(3, 3), no_bias=True, name="conv1")
    net = mx.sym.BatchNorm(net, fix_gamma=False, eps=2e-5, momentum=0.99, name="bn1")
    net = mx.sym.Activation(net, act_type="relu", name="relu1")
    net = mx.sym.Convolution(net, num_filter=4, kernel=(1, 1), num_group=2, no_bias=True, name="c2")
    net = mx.sym.BatchNorm(net, fix_gamma=False, eps=2e-5, momentum=0.99, name="bn2")
    net = mx.sym.FullyConnected(mx.sym.Flatten(net), num_hidden=3, name="fc")
    return mx.sym.SoftmaxOutput(net, name="softmax")


def _parameters(net, shape, rng):
    arg_shapes, _, aux_shapes = net.infer_shape(data=shape)
    arg = {
        name: mx.nd.array(rng.normal(0.3, 1, size))
        for name, size in zip(net.list_arguments(), arg_shapes, strict=True)
        if name not in ("data", "softmax_label")
    }
    aux = {
        name: mx.nd.ones(size)
        for name, size in zip(net.list_auxiliary_states(), aux_shapes, strict=True)
    }
    return arg, aux


def _reference(arg, batches):
    """Moments of both layers' inputs, each batch normalised by itself, in float64."""
    first, second = [], []
    for images in batches:
        weight = arg["conv1_weight"].asnumpy().astype(np.float64)
        n, _, h, w = images.shape
        out = np.zeros((n, 6, h - 2, w - 2))
        for y in range(3):
            for x in range(3):
                window = images[:, :, y : y + h - 2, x : x + w - 2]
                out += np.einsum("nchw,oc->nohw", window, weight[:, :, y, x])
        first.append(out)
        mean = out.mean(axis=(0, 2, 3), keepdims=True)
        var = out.var(axis=(0, 2, 3), keepdims=True)
        gamma, beta = (arg[f"bn1_{k}"].asnumpy()[None, :, None, None] for k in ("gamma", "beta"))
        out = np.maximum((out - mean) / np.sqrt(var + 2e-5) * gamma + beta, 0)
        weight = arg["c2_weight"].asnumpy().astype(np.float64)[:, :, 0, 0]
        halves = [
            np.einsum("nchw,oc->nohw", out[:, 3 * g : 3 * g + 3], weight[2 * g : 2 * g + 2])
            for g in range(2)
        ]
        second.append(np.concatenate(halves, axis=1))
    for layer in (first, second):
        values = np.concatenate(
            [out.transpose(1, 0, 2, 3).reshape(out.shape[1], -1) for out in layer], 1
        )
        yield values.mean(axis=1), values.var(axis=1)


def test_statistics_equal_those_of_all_images():
    rng = np.random.default_rng(3)
    net = _network()
    images = [rng.normal(1, 2, (n, 3, 9, 9)) for n in (8, 8, 5)]
    arg, aux = _parameters(net, images[0].shape, rng)
    batches = [mx.io.DataBatch([mx.nd.array(batch)], None) for batch in images]
    updated = batchnorm.reestimate(net, arg, aux, batches, mx.cpu())
    for number, (mean, variance) in enumerate(_reference(arg, images), start=1):
        np.testing.assert_allclose(
            updated[f"bn{number}_moving_mean"].asnumpy(), mean, rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(
            updated[f"bn{number}_moving_var"].asnumpy(), variance, rtol=1e-4, atol=1e-4
        )
    assert (aux["bn1_moving_mean"].asnumpy() == 1).all(), "the states given are not changed"


def test_network_without_batchnorm_keeps_its_states():
    data = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=2, name="fc")
    assert batchnorm.reestimate(mx.sym.SoftmaxOutput(data, name="softmax"), {}, {}, [], None) == {}
