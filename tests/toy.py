"""A toy network and pictures that it can learn, for the tests of the training loop."""

import mxnet as mx
import numpy as np

from igc import logs, schedule
from igc.data import augment, loaders
from igc.data.sources import ArraySource
from igc.fit import Fit
from igc.initializer import create
from igc.soft_labels import SoftLabels
from igc.symbol.layers import Layers
from igc.training import Training

CLASSES, SIDE = 3, 8


def pictures(images=22, seed=0):
    """Small pictures whose class is the brightest channel."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, images)
    pixels = rng.integers(0, 120, (images, SIDE, SIDE, 3))
    pixels[np.arange(images), :, :, labels] += 100
    return ArraySource(pixels.astype(np.uint8), labels)


def toy_network(batchnorm=True, dropout=False):
    net = mx.sym.Variable("data")
    net = mx.sym.Convolution(net, num_filter=6, kernel=(3, 3), no_bias=True, name="conv")
    if batchnorm:
        net = mx.sym.BatchNorm(net, fix_gamma=False, eps=2e-5, momentum=0.9, name="bn")
    net = mx.sym.Activation(net, act_type="relu", name="relu")
    if dropout:
        net = mx.sym.Dropout(net, p=0.5, name="drop")
    net = mx.sym.Pooling(net, global_pool=True, pool_type="avg", kernel=(1, 1), name="pool")
    net = mx.sym.FullyConnected(mx.sym.Flatten(net), num_hidden=CLASSES, name="fc")
    return mx.sym.SoftmaxOutput(net, name="softmax")


def toy_igc_network(operator="stock", dropout=False, late_batchnorm=False):
    """A network for maps of any size; dropout, and what is behind it, can be in no span."""
    layers = Layers(operator, bn_momentum=0.9, bn_eps=2e-5)
    net = layers.conv_bn(layers.data(), 6, 3, "stem")
    net = mx.sym.elemwise_add(net, layers.igc(net, 6, 3, 2, "block"), name="sum")
    net = layers.igc(net, 6, 3, 2, "down", stride=2)
    if dropout:
        net = mx.sym.Dropout(net, p=0.3, name="drop")
    if late_batchnorm:
        net = layers.bn(net, "late_bn")
    net = layers.average_pool(net, 1, "pool", whole_map=True)
    return layers.classifier(net, CLASSES, "fc")


def open_images(source, batch_size=5, min_batch=1, image_shape=(3, SIDE, SIDE)):
    common = {
        "image_shape": image_shape,
        "mean": (100.0, 100.0, 100.0),
        "std": (50.0, 50.0, 50.0),
        "num_classes": CLASSES,
    }
    train = loaders.open_training(
        source,
        batch_size=batch_size,
        augmentation=augment.Augmentation(pad=1, rand_crop=True, rand_mirror=True),
        seed=4,
        min_batch=min_batch,
        **common,
    )
    return train, loaders.open_evaluation(source, batch_size=8, **common)


class Lines:
    """Keeps what a log would show."""

    def __init__(self):
        self.logger = logs.logging.getLogger("test")
        self.batches, self.validations = [], []

    def batch(self, epoch, number, speed, window, total):
        self.batches.append((epoch, number, window.images, total.images))

    def trained(self, epoch, seconds, total):
        self.images = total.images

    def validated(self, epoch, tally):
        self.validations.append(tally.images)


def toy_training(**changes):
    settings = {
        "contexts": [mx.cpu()],
        "schedule": schedule.Step(0.1, (2,), 0.1, 4),
        "epoch_size": 4,
        "num_epochs": 3,
        "optimizer_params": {"momentum": 0.9, "wd": 1e-4},
        "initializer": create("igcv1"),
        "seed": 7,
        "soft_labels": SoftLabels(CLASSES),
        "kvstore": mx.kvstore.create("local"),
        "log_iters": 2,
    }
    return Training(**{**settings, **changes})


def fit_and_weights(network, training, source=None, **start):
    train, validation = open_images(source or pictures(), min_batch=len(training.contexts))
    fit = Fit(network, training, train, validation, **start)
    lines = Lines()
    row = fit.run(lines)
    arg, aux = fit.module.get_params()
    weights = {name: array.asnumpy() for name, array in {**arg, **aux}.items()}
    return weights, row, lines, fit


def same(a, b, **tolerance):
    assert set(a) == set(b)
    for name in a:
        if tolerance:
            np.testing.assert_allclose(a[name], b[name], err_msg=name, **tolerance)
        else:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def loaded(path, kind):
    return {
        name.partition(":")[2]: array
        for name, array in mx.nd.load(str(path)).items()
        if name.startswith(kind)
    }
