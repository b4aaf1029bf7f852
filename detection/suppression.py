"""The settings of a detector's last layer, which thins out overlapping boxes, changed later."""

from igc.errors import InputError
from igc.onnx.detection import MULTIBOX_DETECTION
from igc.symbol.graph import dump, parse

_ATTRIBUTES = {"nms": "nms_threshold", "topk": "nms_topk", "force": "force_suppress"}


def override(symbol, source, nms=None, topk=None, force=None):
    """Change how overlapping detections are thinned out.

    Parameters
    ----------
    symbol : mxnet.symbol.Symbol
        Ends in ``MultiBoxDetection``.
    source : str
        What messages call it.
    nms : float, optional
        Overlap (intersection over union) above which the less certain box goes.
    topk : int, optional
        Boxes of an image that are looked at, the most certain first.
    force : bool, optional
        Whether boxes of different classes suppress each other.

    Returns
    -------
    mxnet.symbol.Symbol
        What is None stays as it was.

    Raises
    ------
    InputError
        When the network does not end in such a layer.
    """
    graph = parse(symbol.tojson(), source)
    last = [edge.node for edge in graph.heads]
    if len(last) != 1 or last[0].op != MULTIBOX_DETECTION:
        raise InputError(
            f"{source}: ends in {', '.join(node.op for node in last)}, not in MultiBoxDetection: "
            "this network is no detector; give one that train_ssd.py has trained"
        )
    for name, value in (("nms", nms), ("topk", topk), ("force", force)):
        if value is not None:
            last[0].attributes[_ATTRIBUTES[name]] = str(value)
    import mxnet

    return mxnet.sym.load_json(dump(graph))
