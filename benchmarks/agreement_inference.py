"""Inference: the outputs of fused graphs against those of stock ones."""

import mxnet as mx
import numpy as np

from benchmarks import inputs
from benchmarks.agreement_networks import (
    DIGITS_SHAPE,
    Network,
    batch,
    build,
    released,
    start,
    values_of,
)
from benchmarks.bound import Bound, distance
from benchmarks.engines import ROOT
from igc import symbol as symbols
from igc.batchnorm import reestimate
from igc.fuse import fuse

LIMIT = 1e-5
ROUNDING = 2
KOUT = {"depth": 8, "primary_partition": 6, "secondary_partition": 2, "secondary_rule": "kout"}
# Every network with permutations has an entry: settings, images.
CASES = {
    "plain_igc": (
        ({"depth": 8, "primary_partition": 24, "secondary_partition": 2}, 8),
        ({"depth": 38, "primary_partition": 24, "secondary_partition": 2}, 2),
    ),
    "resnet_igc": (
        ({"depth": 14, "primary_partition": 24, "secondary_partition": 2}, 8),
        (KOUT, 8),
    ),
    "resnet_igc_imgnet_d18": (
        ({"primary_partition": 20, "secondary_partition": 2}, 2),
        ({"primary_partition": 100, "secondary_partition": 2}, 1),
    ),
    "igcv3": (({"multiplier": 0.35}, 2), ({"multiplier": 1.0}, 1)),
    "igcv3_wider": (({"multiplier": 0.25}, 2),),
    "igcv3_wide": (({}, 2),),
    "igcv3_g2g4": (({"multiplier": 0.25}, 2),),
    "igcv3_cifar": (({"multiplier": 0.25}, 8),),
    "igcv2": (
        ({"depth": 8, "width": 64}, 8),
        ({"depth": 8, "width": 24, "branches": (2, 3, 4)}, 8),
    ),
    "igcv2_imgnet": (({"multiplier": 0.25}, 2),),
}
TRAINED, TRAINED_IMAGES = ("resnet_igc_d14L24M2_digits", 6), 32
STATISTICS_IMAGES = 8

TITLE = "Inference"
LEGEND = (
    "Norm of the difference between the outputs of the fused and the stock graph, over the norm of "
    f"the stock output; at most {LIMIT:g}. Errors are those of the logits, against stock in "
    "float64. Where stock's own is beyond the limit, float32 cannot keep it whoever computes, and "
    f"fused may have {ROUNDING} times stock's error. Weights: drawn so that activations stay sane, "
    "those that training starts with (running statistics from a batch), or trained ones."
)
COLUMNS = (
    ("case", "network", "<80"),
    ("weights", "weights", "<8"),
    ("images", "images", ">6"),
    ("logits", "logits", ">9.1e"),
    ("softmax", "softmax", ">9.1e"),
    ("stock_logits", "stock's error", ">13.1e"),
    ("fused_logits", "fused's error", ">13.1e"),
)


def run(say, note):
    """Compare all networks.

    Parameters
    ----------
    say : callable
        Takes each row when it is there.
    note : callable
        Takes lines about what is not compared.

    Returns
    -------
    list of dict
        One for each row, keys as in `COLUMNS`.
    """
    rows = []
    for network, images, kinds in _cases(note):
        for kind in kinds:
            rows.append(compare(network, images, kind))
            say(rows[-1])
    rows.append(_trained())
    say(rows[-1])
    return rows


def judge(rows):
    """Tell which requirements are missed.

    Returns
    -------
    list of str
    """
    missed = []
    for row in rows:
        for output in ("logits", "softmax"):
            stock, ours = row[f"stock_{output}"], row[f"fused_{output}"]
            ill_conditioned = stock > LIMIT
            if ill_conditioned and not ours <= ROUNDING * stock:
                wrong = f"have {ours:.1e} of error, more than {ROUNDING} times stock's {stock:.1e}"
            elif not ill_conditioned and not row[output] <= LIMIT:
                wrong = f"differ by {row[output]:.1e}, more than {LIMIT:g}"
            else:
                continue
            missed.append(f"inference, {row['case']} ({row['weights']} weights): {output} {wrong}")
    return missed


def remarks(rows):
    """Tell where float32 itself cannot keep the limit.

    Returns
    -------
    list of str
    """
    return [
        f"{row['case']} ({row['weights']} weights): stock's own error is beyond {LIMIT:g}, so that "
        f"fused is held to {ROUNDING} times that"
        for row in rows
        if max(row["stock_logits"], row["stock_softmax"]) > LIMIT
    ]


def compare(network, images, kind):
    """Compare one network.

    Parameters
    ----------
    network : benchmarks.agreement_networks.Network
        With permutations.
    images : int
    kind : {"drawn", "start"}
        Its weights.

    Returns
    -------
    dict
        Keys as in `COLUMNS`.

    Raises
    ------
    RuntimeError
        When nothing of it is fused.
    """
    parameters = _drawn(network) if kind == "drawn" else _start(network)
    return _row(network, parameters, batch(network, images, 1), kind)


def _cases(note):
    for name in symbols.list_networks(presets=False):
        settings = CASES.get(name)
        if settings is None:
            _check_left_alone(build(name), note)
        for chosen, images in settings or ():
            yield build(name, **chosen), images, ("drawn", "start")
    graphs = 0
    for network in released():
        graphs += 1
        if network.permutes:
            yield network, 1, ("drawn",)
        else:
            _check_left_alone(network, note)
    if not graphs:
        note("not compared: the authors' graphs are not here (IGC_REFERENCE names their folder)")


def _check_left_alone(network, note):
    if network.permutes:
        raise RuntimeError(f"{network.title}: has permutations, and CASES names no settings")
    fused, *_ = fuse(network.native, *start(network, 1))
    if fused is not network.native:
        raise RuntimeError(f"{network.title}: has no permutations, and was fused")
    note(f"no permutations, left as it is: {network.title}")


def _trained():
    """Compare a network that has learned, on the images that it learned from."""
    prefix = str(ROOT / "models" / TRAINED[0])
    stock, *parameters = symbols.load_checkpoint(prefix, TRAINED[1], operator="stock")
    native, *_ = symbols.load_checkpoint(prefix, TRAINED[1], operator="native")
    network = Network(f"models/{TRAINED[0]}", TRAINED[0], stock, native, DIGITS_SHAPE)
    return _row(network, parameters, batch(network, TRAINED_IMAGES, 1), "trained")


def _drawn(network):
    found = inputs.weights(network.stock, network.image_shape, np.random.default_rng(0))
    return [{name: mx.nd.array(value) for name, value in part.items()} for part in found]


def _start(network):
    arg_params, aux_params = start(network, 1)
    data = mx.nd.array(batch(network, STATISTICS_IMAGES, 2)["data"])
    batches = [mx.io.DataBatch([data])]
    return arg_params, reestimate(network.stock, arg_params, aux_params, batches, mx.cpu())


def _row(network, parameters, given, kind):
    fused, *ours = fuse(network.native, *parameters)
    if fused is network.native:
        raise RuntimeError(f"{network.title}: has permutations, and nothing of it was fused")
    values = values_of(given, *parameters)
    stock = _outputs(network.stock, values)
    got = _outputs(fused, values_of(given, *ours))
    exact = _outputs(network.stock, values, "float64", for_gradients=True)
    return {
        "case": network.title,
        "weights": kind,
        "images": len(given["data"]),
        "logits": distance(got[1], stock[1]),
        "softmax": distance(got[0], stock[0]),
        "stock_logits": distance(stock[1], exact[1]),
        "fused_logits": distance(got[1], exact[1]),
        "stock_softmax": distance(stock[0], exact[0]),
        "fused_softmax": distance(got[0], exact[0]),
    }


def _outputs(symbol, values, dtype="float32", for_gradients=False):
    """Compute the softmax, and the logits that it is given."""
    logits = symbol.get_children()[0]
    return Bound(mx.sym.Group([symbol, logits]), values, dtype, for_gradients).outputs()
