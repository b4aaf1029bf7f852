"""Detectors as ONNX files: anchors, boxes and their suppression, against MXNet's operators."""

import mxnet as mx
import numpy as np
import pytest

from igc.onnx import exporting, matching, model, parity
from igc.onnx.engines import ENGINES, open_model
from igc.symbol.files import graph_of
from igc.symbol.shapes import tensor_shapes

ANCHORS, CLASSES = 60, 4
SIDE = (3, 4, 5)  # what the bare detection reads as images: 60 numbers of each channel


def bare(classes=CLASSES, **settings):
    """Read probabilities and offsets out of `data`: (n, classes + 1 + 4, 3, 4)."""
    data = mx.sym.Variable("data")
    scores = mx.sym.slice_axis(data, axis=1, begin=0, end=classes + 1)
    scores = mx.sym.reshape(scores, shape=(0, 0, -1))
    offsets = mx.sym.Flatten(mx.sym.slice_axis(data, axis=1, begin=classes + 1, end=None))
    small = mx.sym.slice_axis(data, axis=2, begin=0, end=4)
    maps = [
        mx.sym.contrib.MultiBoxPrior(small, sizes=(0.3, 0.5), ratios=(1, 2, 0.5), name="fine"),
        mx.sym.contrib.MultiBoxPrior(small, sizes=(0.4, 0.6), ratios=(1, 2), clip=True),
    ]
    anchors = mx.sym.concat(*[mx.sym.Flatten(boxes) for boxes in maps], dim=1)
    anchors = mx.sym.reshape(anchors, shape=(0, -1, 4))
    return mx.sym.contrib.MultiBoxDetection(scores, offsets, anchors, name="detection", **settings)
