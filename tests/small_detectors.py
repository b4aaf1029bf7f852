"""A tiny SSD with random weights, as train_ssd.py leaves its checkpoints, and packs with boxes."""

import json

import cv2
import mxnet as mx
import numpy as np
from execution import random_values

from igc import params
from igc.data import recordio
from igc.detection import boxes

NAMES = ("cat", "dog")
SHAPE = (3, 32, 32)
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 61.0, 62.0)
RUN = {
    "network": "tiny",
    "num_classes": 2,
    "image_shape": list(SHAPE),
    "class_names": list(NAMES),
    "recipe": {"mean": list(MEAN), "std": list(STD)},
}
ANCHORS = 4 * 4 * 3


def graph(last=True, **settings):
    """Build it: one map of 4x4 places with three anchors each."""
    sym = mx.sym
    net = sym.Convolution(
        sym.var("data"), num_filter=8, kernel=(8, 8), stride=(8, 8), name="features"
    )
    net = sym.Activation(net, act_type="relu")
    scores = sym.Convolution(net, num_filter=9, kernel=(1, 1), name="scores")
    scores = sym.reshape(sym.transpose(scores, axes=(0, 2, 3, 1)), shape=(0, -1, 3))
    scores = sym.softmax(sym.transpose(scores, axes=(0, 2, 1)), axis=1)
    offsets = sym.Convolution(net, num_filter=12, kernel=(1, 1), name="offsets")
    offsets = sym.Flatten(sym.transpose(offsets, axes=(0, 2, 3, 1)))
    anchors = sym.contrib.MultiBoxPrior(net, sizes=(0.3, 0.5), ratios=(1, 2))
    if not last:
        return scores
    known = {"nms_threshold": 0.5, "nms_topk": 400, "variances": (0.1, 0.1, 0.2, 0.2)}
    return sym.contrib.MultiBoxDetection(
        scores, offsets, anchors, name="detection", **{**known, **settings}
    )


def checkpoint(folder, run=RUN, net=None):
    """Write one; give its prefix."""
    net = graph() if net is None else net
    prefix = folder / "tiny"
    net.save(f"{prefix}-symbol.json")
    values = random_values(net, (1, *SHAPE), seed=3)
    params.save(
        f"{prefix}-0001.params",
        {f"arg:{name}": v.astype("f4") for name, v in values.items() if name != "data"},
    )
    index = {"run": run, "epochs": {"1": {}}}
    (folder / "tiny-checkpoints.json").write_text(json.dumps(index))
    return str(prefix)


def images(count, seed=0):
    """Draw noise of several sizes, smooth enough to differ after resizing."""
    rng = np.random.default_rng(seed)
    sizes = [(40 + 16 * (k % 3), 48 + 8 * (k % 4)) for k in range(count)]
    coarse = [rng.integers(0, 256, (5, 6, 3), dtype=np.uint8) for _ in sizes]
    return [cv2.resize(image, size[::-1]) for image, size in zip(coarse, sizes, strict=True)]


def pack(path, pictures, truths):
    """Write a detection pack."""
    with recordio.RecordWriter(path) as writer:
        for image, rows in zip(pictures, truths, strict=True):
            writer.write(boxes.pack(np.float32(rows)), recordio.encode(image))
    return str(path)
