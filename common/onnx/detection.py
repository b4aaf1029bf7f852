"""What `MultiBoxDetection` becomes in ONNX: boxes out of offsets, and the suppression of overlaps.

Source: what the operator of MXNet 1.9.1 computes on the CPU. A box has the class of its largest
probability; the best ``nms_topk`` of all classes together are looked at. MXNet leaves suppressed
boxes where they stand, here they are left out, and the rows behind the last box are -1.
"""

import numpy as np

from igc.onnx.anchors import joined
from igc.symbol.attributes import settings_of

MULTIBOX_DETECTION = "_contrib_MultiBoxDetection"
COLUMNS = 6
"""Class, score, left, top, right, bottom of a detection."""


def suppresses(settings):
    """Tell whether `MultiBoxDetection` suppresses anything; MXNet else leaves out its top k too."""
    return 0 < settings["nms_threshold"] <= 1


def rows_of(node, shapes):
    """Count the rows of an image's detections: the anchors, or the top k of them.

    Parameters
    ----------
    node : igc.symbol.graph.Node
        `MultiBoxDetection`.
    shapes : dict of str to tuple of int
        As `igc.onnx.operators.Writer` has them.
    """
    settings, (_, count, _) = settings_of(node), shapes[node.name]
    return min(count, settings["nms_topk"]) if _has_top(settings) else count


def classes_of(node, shapes):
    """Count the classes of a `MultiBoxDetection`, without the background."""
    return shapes[node.inputs[0].node.name][1] - 1


def _has_top(settings):
    return suppresses(settings) and settings["nms_topk"] > 0


def detection(writer, node, settings, inputs):
    """Decode all boxes, look at the best of them, and leave what no better one overlaps."""
    probabilities, offsets, _ = inputs
    steps = _Steps(writer, node.name)
    rows = rows_of(node, writer.shapes)
    boxes = _decode(steps, offsets, joined(writer, node), settings)
    scores, kinds = _best_classes(steps, probabilities)
    size = steps.whole("rows", [rows])
    # of equal scores MXNet and ONNX take the first anchor first; OpenVINO does not keep to that
    best, order = steps.two("TopK", [scores, size], "best", "order", axis=1)
    kinds = steps("GatherElements", [kinds, order], "kinds_in_order", axis=1)
    kinds = steps("Cast", [kinds], "kinds", to=1)
    last = steps.whole("last_axis", [2])
    order = steps("Unsqueeze", [order, last], "places")
    boxes = steps("GatherND", [boxes, order], "boxes_in_order", batch_dims=1)
    # what is left of places from the front: the order in which boxes suppress others; 0: none
    rank_values = np.arange(rows, 0, -1)
    least = steps.real("threshold", settings["threshold"])
    certain = steps("GreaterOrEqual", [best, least], "certain")
    ranks = [steps.real("ranks", rank_values), steps.real("none", 0)]
    ranks = steps("Where", [certain, *ranks], "candidates")
    columns = [steps("Unsqueeze", [name, last], f"{name}_column") for name in (kinds, best)]
    table = steps("Concat", [*columns, boxes], "table", axis=2)
    if suppresses(settings):
        classes = 1 if settings["force_suppress"] else classes_of(node, writer.shapes)
        overlap = settings["nms_threshold"]
        ranks = _suppress(steps, boxes, kinds, ranks, rank_values, overlap, classes)
        ranks, order = steps.two("TopK", [ranks, size], "left", "order_left", axis=1)
        order = steps("Unsqueeze", [order, last], "places_left")
        table = steps("GatherND", [table, order], "table_left", batch_dims=1)
    filled = steps("Greater", [ranks, steps.real("no_rank", 0)], "filled")
    filled = steps("Unsqueeze", [filled, last], "filled_column")
    return writer.add("Where", [filled, table, steps.real("empty", -1)], node.name)


class _Steps:
    """Adds the nodes and constants that a layer is made of, each ``<layer>/<step>``."""

    def __init__(self, writer, layer):
        self._writer, self._layer = writer, layer

    def __call__(self, op, inputs, step, **attributes):
        return self._writer.add(op, inputs, self._name(step), **attributes)

    def two(self, op, inputs, step, other, **attributes):
        """Add a node of two outputs; give both."""
        other = self._name(other)
        return self(op, inputs, step, also=[other], **attributes), other

    def real(self, step, value):
        return self._writer.constant(self._name(step), value)

    def whole(self, step, value):
        return self._writer.constant(self._name(step), value, np.int64)

    def _name(self, step):
        return f"{self._layer}/{step}"


def _decode(steps, offsets, boxes, settings):
    """Move and stretch the anchors, as SSD's offsets say."""
    low, high = boxes[..., :2], boxes[..., 2:]
    size = steps.real("anchor_sizes", high - low)
    centre = steps.real("anchor_centres", (low + high) / np.float32(2))
    shape = steps.whole("offset_shape", [0, boxes.shape[1], 4])
    offsets = steps("Reshape", [offsets, shape], "offsets")
    scaled = steps("Mul", [offsets, steps.real("variances", settings["variances"])], "scaled")
    axis, ends = steps.whole("edge_axis", [2]), [steps.whole(f"edge_{n}", [n]) for n in (0, 2, 4)]
    moved = steps("Slice", [scaled, *ends[:2], axis], "moved")
    moved = steps("Mul", [moved, size], "moved_by")
    moved = steps("Add", [moved, centre], "centres")
    stretched = steps("Slice", [scaled, *ends[1:], axis], "stretched")
    stretched = steps("Exp", [stretched], "stretched_by")
    stretched = steps("Mul", [stretched, size], "sizes")
    half = steps("Mul", [stretched, steps.real("half", 0.5)], "half_sizes")
    edges = [steps(op, [moved, half], name) for op, name in (("Sub", "low"), ("Add", "high"))]
    boxes = steps("Concat", edges, "boxes", axis=2)
    if not settings["clip"]:
        return boxes
    limits = [steps.real(f"edge_at_{end}", end) for end in (0, 1)]
    return steps("Clip", [boxes, *limits], "clipped")


def _best_classes(steps, probabilities):
    """Find the largest probability of each anchor, the background left out, and its class."""
    axis, after = steps.whole("class_axis", [1]), np.iinfo(np.int64).max
    begin, end = steps.whole("first_class", [1]), steps.whole("classes_end", [after])
    objects = steps("Slice", [probabilities, begin, end, axis], "objects")
    scores = steps("ReduceMax", [objects, axis], "scores", keepdims=0)
    return scores, steps("ArgMax", [objects], "classes", axis=1, keepdims=0)


def _suppress(steps, boxes, kinds, ranks, rank_values, overlap, classes):
    """Give the ranks again, with 0 for what overlaps a better box.

    A class of `NonMaxSuppression` has the ranks of its own boxes, and zeros for all others.
    """
    axis = steps.whole("own_axis", [1])
    own = steps("Unsqueeze", [ranks, axis], "own_ranks")
    if classes > 1:
        kinds = steps("Unsqueeze", [kinds, axis], "kinds_row")
        each = steps.real("each_class", np.arange(classes)[:, None])
        same = steps("Equal", [kinds, each], "same_class")
        own = steps("Where", [same, own, steps.real("not_its_own", 0)], "own")
    # MXNet suppresses from its threshold on, ONNX above its own
    below = np.nextafter(np.float32(overlap), np.float32(0))
    limits = [
        steps.whole("most", [len(rank_values)]),
        steps.real("overlap", [below]),
        steps.real("least_rank", [0.5]),
    ]
    left = steps("NonMaxSuppression", [boxes, own, *limits], "chosen")
    # its rows are image, class, box
    where = steps("Gather", [left, steps.whole("image_box", [0, 2])], "chosen_at", axis=1)
    box = steps("Gather", [left, steps.whole("box", 2)], "chosen_boxes", axis=1)
    values = steps("Gather", [steps.real("rank_values", rank_values), box], "chosen_ranks")
    nothing = steps("ConstantOfShape", [steps("Shape", [ranks], "ranks_shape")], "nothing")
    return steps("ScatterND", [nothing, where, values], "ranks_left")
