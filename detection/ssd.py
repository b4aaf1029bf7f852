"""SSDLite2: two taps of a backbone, four further maps, a box and a class predictor on each.

Source: detection/symbol/{symbol_factory,symbol_builder,common}.py of the IGCV3 repository; SSD
(ECCV 2016), SSDLite (MobileNetV2, CVPR 2018, section 6.2).

A tap is the output of a batch normalisation with a ReLU6 of its own: the tensor before the
backbone's permutation. The further maps come from depthwise convolutions at stride 2 between 1x1
convolutions in two groups, each with a permutation. A predictor is a depthwise and a 1x1
convolution, with batch normalisation behind both, also on the numbers that it predicts, as in the
original.
"""

import dataclasses

from igc import symbol as symbols
from igc.errors import InputError
from igc.symbol.graph import parse
from igc.symbol.layers import Layers
from igc.symbol.shapes import infer_shapes

# scales and shapes of the anchors of each map; the second scale is sqrt(own * next map's own)
SIZES = (
    (0.2, 0.261),
    (0.34, 0.404),
    (0.48, 0.546),
    (0.62, 0.686),
    (0.76, 0.827),
    (0.9, 0.967),
)
RATIOS = (
    (1, 2, 0.5),
    (1, 2, 0.5, 3, 1 / 3),
    (1, 2, 0.5, 3, 1 / 3),
    (1, 2, 0.5, 3, 1 / 3),
    (1, 2, 0.5),
    (1, 2, 0.5),
)
EXTRAS = (512, 256, 256, 128)  # channels of the further maps, each at stride 2
EXTRA_GROUPS = 2
VARIANCES = (0.1, 0.1, 0.2, 0.2)


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network of `igc.symbol` and the two layers that a detector taps.

    Attributes
    ----------
    network : str
    taps : (str, str)
        Names of layers, the finer map first.
    settings : dict
        Of the network, as `igc.symbol.get_symbol` takes them.
    """

    network: str
    taps: tuple
    settings: dict = dataclasses.field(default_factory=dict)


BACKBONES = {
    "igcv3": Backbone("igcv3_wide", ("blk13nl_1_bn", "final_conv_nl_1_bn")),
    "mobilenetv2": Backbone("mobilenetv2_ssd", ("blk13_nl_bn", "finalconv_bn")),
}
"""By the originals' names (``--network`` of their ``train.py``)."""


@dataclasses.dataclass(frozen=True)
class Suppression:
    """How overlapping detections are thinned out (``MultiBoxDetection``).

    Attributes
    ----------
    nms : float
        Overlap (intersection over union) above which the less certain box goes.
    topk : int
        Boxes of an image that are looked at.
    force : bool
        Whether boxes of different classes suppress each other.
    """

    nms: float = 0.5
    topk: int = 400
    force: bool = False


def find_backbone(network, taps=None, **settings):
    """Find what a detector stands on.

    Parameters
    ----------
    network : str
        A name of `BACKBONES`, or with `taps` any of `igc.symbol.list_networks`.
    taps : (str, str), optional
        Names of two layers of it, the finer map first.
    **settings
        Of the network.

    Returns
    -------
    Backbone

    Raises
    ------
    InputError
        When there is no such network.
    """
    if taps:
        return Backbone(symbols.find_network(network).name, tuple(taps), settings)
    known = {**BACKBONES, **{own.network: own for own in BACKBONES.values()}}
    if network.lower() not in known:
        raise InputError(
            f"--network {network}: choose {' or '.join(BACKBONES)}, or name two layers of another "
            "network with --taps"
        )
    return dataclasses.replace(known[network.lower()], settings=settings)


def detector(
    backbone, num_classes, image_shape=(3, 320, 320), suppression=None, operator=None, train=None
):
    """Build a detector.

    Parameters
    ----------
    backbone : Backbone or str
        A string as in `find_backbone`.
    num_classes : int
        Without the background.
    image_shape : (3, int, int)
        Channels, height, width of the images.
    suppression : Suppression, optional
    operator : {"native", "stock", None}
        As in `igc.symbol.get_symbol`.
    train : int, optional
        For training: the fewest negative anchors of an image without a match.

    Returns
    -------
    mxnet.symbol.Symbol
        Input ``data`` (n, 3, height, width), output ``detection_output`` (n, anchors, 6): class,
        score, left, top, right, bottom as fractions of the image; -1 in the first column where a
        box is suppressed. For training also the input ``label`` (n, boxes, 5 or more), see
        `igc.detection.boxes.table`, and outputs ``cls_prob`` (n, classes + 1, anchors),
        ``loc_loss`` (n, 4 * anchors), ``cls_label`` (n, anchors): -1 ignored, 0 background, and
        ``det_out``.

    Raises
    ------
    InputError
        When the network has no such layers.
    """
    if isinstance(backbone, str):
        backbone = find_backbone(backbone)
    import mxnet

    layers = Layers(operator, bn_momentum=0.9, bn_eps=1e-3)
    with mxnet.name.NameManager():
        maps = _maps(layers, backbone, image_shape)
        class_scores, offsets, anchors = _predict(layers, maps, num_classes)
        if train is None:
            return _detect(layers.sym, class_scores, offsets, anchors, suppression)
        return _train(layers.sym, class_scores, offsets, anchors, suppression, train)


def _maps(layers, backbone, image_shape):
    """Give the six maps that boxes are predicted from, finest first, with their channels."""
    net = symbols.get_symbol(backbone.network, operator=layers.operator, **backbone.settings)
    if len(backbone.taps) != 2:
        raise InputError(f"--taps {','.join(backbone.taps)}: name two layers, the finer map first")
    taps = [_tap(layers, net, backbone, number) for number in (0, 1)]
    shapes = [_shape(tap, image_shape) for tap in taps]
    if any(len(shape) != 4 for shape in shapes) or shapes[0][2] < shapes[1][2]:
        raise InputError(
            f"--taps {','.join(backbone.taps)}: they give {shapes[0]} and {shapes[1]}, where two "
            "maps are wanted, the finer one first"
        )
    maps, widths = taps, [shape[1] for shape in shapes]
    for number, width in enumerate(EXTRAS, start=2):
        maps.append(_extra(layers, maps[-1], width, f"multi_feat_{number}"))
    return list(zip(maps, widths + list(EXTRAS), strict=True))


def _tap(layers, net, backbone, number):
    name = backbone.taps[number]
    internals = net.get_internals()
    if f"{name}_output" not in internals.list_outputs():
        layer_names = [n.name for n in parse(net.tojson()).nodes() if n.op == "BatchNorm"]
        raise InputError(
            f"--taps: {backbone.network} has no layer {name!r}; it has "
            f"{', '.join(layer_names[-3:]) or 'others'} and more (python summary.py lists them)"
        )
    tap = internals[f"{name}_output"]
    if parse(tap.tojson()).heads[0].node.op != "BatchNorm":
        return tap
    return layers.relu6(tap, f"multi_feat_{number}")


def _shape(net, image_shape):
    _, _, (shape, *_) = infer_shapes(net, {"data": (1, *image_shape)})
    return shape


def _extra(layers, net, width, name):
    """Halve a map: 1x1 in groups, depthwise 3x3 at stride 2, 1x1 in groups."""
    inner = max(128, width // 2)
    net = layers.conv(net, inner, 1, f"{name}_conv_1x1_conv", groups=EXTRA_GROUPS)
    net = layers.permutation(net, EXTRA_GROUPS, f"{name}_conv_1x1_permutation")
    net = _bn(layers, net, f"{name}_conv_1x1_bn")
    net = layers.relu6(net, f"{name}_conv_1x1_relu6")
    net = layers.conv(net, inner, 3, f"{name}_conv_3x3_dw_conv_dw", 2, inner)
    net = _bn(layers, net, f"{name}_conv_3x3_dw_bn1")
    net = layers.conv(net, width, 1, f"{name}_conv_3x3_dw_conv_1x1", groups=EXTRA_GROUPS)
    net = layers.permutation(net, width // EXTRA_GROUPS, f"{name}_conv_3x3_dw_permutation")
    net = _bn(layers, net, f"{name}_conv_3x3_dw_bn")
    return layers.relu6(net, name)


def _bn(layers, net, name):
    # with the scale fixed at 1, MXNet's default, as the originals' heads have it
    return layers.sym.BatchNorm(net, eps=layers.bn_eps, momentum=layers.bn_momentum, name=name)


def _predict(layers, maps, num_classes):
    """Predict from all maps: class scores (n, classes + 1, anchors), offsets, anchors."""
    sym = layers.sym
    offsets, scores, anchors = [], [], []
    for number, (found, sizes, ratios) in enumerate(zip(maps, SIZES, RATIOS, strict=True)):
        count, name = len(sizes) + len(ratios) - 1, f"multi_feat_{number}"
        offsets.append(_predictor(layers, found, 4 * count, f"{name}_loc_pred"))
        scores.append(_predictor(layers, found, (num_classes + 1) * count, f"{name}_cls_pred"))
        net, _ = found
        prior = sym.contrib.MultiBoxPrior(net, sizes=sizes, ratios=ratios, name=f"{name}_anchors")
        anchors.append(sym.Flatten(prior))
    offsets = sym.concat(*offsets, dim=1, name="multibox_loc_pred")
    scores = sym.concat(*scores, dim=1)
    scores = sym.reshape(scores, shape=(0, -1, num_classes + 1))
    scores = sym.transpose(scores, axes=(0, 2, 1), name="multibox_cls_pred")
    anchors = sym.concat(*anchors, dim=1)
    anchors = sym.reshape(anchors, shape=(0, -1, 4), name="multibox_anchors")
    return scores, offsets, anchors


def _predictor(layers, found, outputs, name):
    """Predict at each place of a map: (n, height * width * outputs)."""
    sym, (net, channels) = layers.sym, found
    net = layers.conv(net, channels, 3, f"{name}_conv_dw", groups=channels)
    net = layers.relu6(_bn(layers, net, f"{name}_bn1"), f"{name}_relu6")
    net = sym.Convolution(net, num_filter=outputs, kernel=(1, 1), name=f"{name}_conv_pw")
    net = _bn(layers, net, f"{name}_bn2")
    net = sym.transpose(net, axes=(0, 2, 3, 1), name=f"{name}_transpose")
    return sym.Flatten(net, name=f"{name}_flatten")


def _detect(sym, scores, offsets, anchors, suppression, name="detection"):
    probabilities = sym.softmax(scores, axis=1, name="cls_prob")
    return _suppress(sym, probabilities, offsets, anchors, suppression, name)


def _suppress(sym, probabilities, offsets, anchors, suppression, name):
    suppression = suppression or Suppression()
    return sym.contrib.MultiBoxDetection(
        probabilities,
        offsets,
        anchors,
        name=name,
        nms_threshold=suppression.nms,
        force_suppress=suppression.force,
        nms_topk=suppression.topk,
        variances=VARIANCES,
    )


def _train(sym, scores, offsets, anchors, suppression, fewest_negatives):
    target = sym.contrib.MultiBoxTarget(
        anchors,
        sym.Variable("label"),
        scores,
        overlap_threshold=0.5,
        ignore_label=-1,
        negative_mining_ratio=3,
        minimum_negative_samples=fewest_negatives,
        negative_mining_thresh=0.5,
        variances=VARIANCES,
        name="multibox_target",
    )
    offsets_wanted, mask, classes_wanted = target[0], target[1], target[2]
    probabilities = sym.SoftmaxOutput(
        scores,
        classes_wanted,
        ignore_label=-1,
        use_ignore=True,
        multi_output=True,
        normalization="valid",
        name="cls_prob",
    )
    distance = sym.smooth_l1(mask * (offsets - offsets_wanted), scalar=1, name="loc_loss_")
    loss = sym.MakeLoss(distance, normalization="valid", name="loc_loss")
    classes = sym.MakeLoss(classes_wanted, grad_scale=0, name="cls_label")
    found = _suppress(sym, probabilities, offsets, anchors, suppression, "detection")
    found = sym.MakeLoss(found, grad_scale=0, name="det_out")
    return sym.Group([probabilities, loss, classes, found])
