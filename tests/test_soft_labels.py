"""Label smoothing and mixup: what a batch becomes, and the gradient that the network gets."""

import mxnet as mx
import numpy as np
import pytest

from igc.soft_labels import SoftLabels


def _batch(n=6, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, 3, 5, 5)).astype(np.float32)
    labels = rng.integers(0, classes, n)
    return mx.io.DataBatch([mx.nd.array(images)], [mx.nd.array(labels)]), images, labels


def test_off_changes_nothing():
    batch, _, _ = _batch()
    soft = SoftLabels(4)
    assert not soft and soft.apply(batch, 0, 1) is batch and soft.label_shape(6) == (6,)


def test_smoothing():
    batch, images, labels = _batch()
    out = SoftLabels(4, smoothing=0.2).apply(batch, 0, 1)
    expected = 0.8 * np.eye(4)[labels] + 0.05
    np.testing.assert_allclose(out.label[0].asnumpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(out.data[0].asnumpy(), images)


def test_mixup_mixes_images_and_labels_alike():
    batch, images, labels = _batch(n=9)
    out = SoftLabels(4, mixup=8.0, seed=5).apply(batch, 2, 3)
    mixed, soft = out.data[0].asnumpy().astype(np.float64), out.label[0].asnumpy()
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)
    shares = set()
    for row in range(9):
        if np.abs(mixed[row] - images[row]).max() < 1e-6:  # its own partner
            np.testing.assert_allclose(soft[row], np.eye(4)[labels[row]], atol=1e-6)
            continue
        fits = []
        for other in set(range(9)) - {row}:
            difference = (images[row] - images[other]).astype(np.float64).ravel()
            residue = (mixed[row] - images[other]).ravel()
            share = residue @ difference / (difference @ difference)
            if np.abs(residue - share * difference).max() < 1e-5:
                fits.append((share, other))
        assert len(fits) == 1, "one partner and share explain the image"
        share, other = fits[0]
        expected = share * np.eye(4)[labels[row]] + (1 - share) * np.eye(4)[labels[other]]
        np.testing.assert_allclose(soft[row], expected, atol=1e-5)
        shares.add(round(share, 4))
    assert len(shares) == 1


def test_draws_are_of_seed_epoch_and_number():
    batch, _, _ = _batch()

    def draw(seed, epoch, number):
        soft = SoftLabels(4, mixup=0.4, seed=seed)
        return soft.apply(batch, epoch, number).data[0].asnumpy()

    np.testing.assert_array_equal(draw(1, 2, 3), draw(1, 2, 3))
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert (draw(1, 2, 3) != draw(*other)).any(), other


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_is_output_minus_label(smoothing):
    batch, _, _ = _batch()
    soft = SoftLabels(4, smoothing=smoothing, mixup=0.3)
    out = soft.apply(batch, 0, 0)
    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=4, name="fc")
    net = mx.sym.SoftmaxOutput(net, name="softmax")
    module = mx.mod.Module(net)
    module.bind([("data", (6, 3, 5, 5))], [("softmax_label", soft.label_shape(6))])
    module.init_params(mx.init.Xavier())
    module.forward_backward(out)
    probabilities = module.get_outputs()[0].asnumpy()
    bias = module._exec_group.grad_arrays[module._param_names.index("fc_bias")][0].asnumpy()
    np.testing.assert_allclose(
        bias, (probabilities - out.label[0].asnumpy()).sum(axis=0), rtol=1e-4, atol=1e-5
    )
