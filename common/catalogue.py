"""The README's table of networks, counted from the graphs."""

from igc import symbol as symbols
from igc.summary import count

# network and settings, in the order of the papers
ROWS = (
    ("plain", {"depth": 38, "primary_partition": 18}),
    ("plain_igc", {"depth": 20, "primary_partition": 24, "secondary_partition": 2}),
    ("plain_igc", {"depth": 38, "primary_partition": 24, "secondary_partition": 2}),
    ("resnet", {"depth": 38, "primary_partition": 16}),
    ("resnet_igc", {"depth": 38, "primary_partition": 24, "secondary_partition": 2}),
    ("IGC-d8-L40M2", {}),
    ("IGC-d8-L64M1", {}),
    ("resnet_imgnet_d18", {"primary_partition": 64}),
    ("resnet_imgnet_d18", {"primary_partition": 69}),
    ("resnet_igc_imgnet_d18", {"primary_partition": 100}),
    ("IGC-L4M32", {}),
    ("IGC-L16M16", {}),
    ("igcv2", {}),
    ("igcv2", {"width": 64, "branches": (8, 8)}),
    ("igcv2_imgnet", {}),
    ("igcv2_imgnet", {"multiplier": 0.5}),
    ("igcv2_imgnet", {"multiplier": 0.25}),
    ("mobilenetv2", {}),
    ("igcv3", {}),
    ("igcv3", {"multiplier": 0.7}),
    ("igcv3", {"multiplier": 1.4}),
    ("igcv3_wider", {}),
    ("igcv3_g2g4", {}),
    ("IGCV3-W", {}),
    ("igcv3_cifar", {}),
    ("igcv3_cifar_0.7x", {}),
    ("igcv3_cifar_0.5x", {}),
    ("dmr_plain", {"depth": 56}),
    ("dmr_resnet", {"depth": 110}),
    ("half", {"depth": 56}),
    ("side", {"depth": 56}),
    ("cross", {"depth": 110}),
    ("cross", {"depth": 62, "widen_factor": 4}),
    ("fuse3", {"depth": 56}),
    ("fuse6", {"depth": 56}),
    ("ensemble", {"depth": 26}),
    ("symbol_resnet", {}),
    ("symbol_cross", {}),
    ("dmr_resnet_2016", {"depth": 101}),
    ("dmr_cross_2016", {"depth": 101}),
)
# said behind the flags
NOTES = {
    "resnet_igc_imgnet_d18": "IGC-L100M2",
    "igcv2": "reconstruction",
    "igcv2_imgnet": "reconstruction",
    "IGC-d8-L40M2": "reconstruction",
    "IGC-d8-L64M1": "Xception, reconstruction",
    "IGCV3-W": "reconstruction",
    "igcv3_cifar_0.7x": "depth guessed",
}


def markdown():
    """Write the table.

    Returns
    -------
    str
        A Markdown table, a line for each of `ROWS`, each line ended.
    """
    lines = [
        "| `--network` and settings | image | parameters | multiply-adds |",
        "|---|---|---|---|",
    ]
    for network, settings in ROWS:
        shape = symbols.find_network(network).image_shape
        net = symbols.get_symbol(network, operator="stock", **settings)
        summary = count(net, (1, *shape))
        note = f" ({NOTES[network]})" if network in NOTES else ""
        lines.append(
            f"| `{flags(network, settings)}`{note} | {'×'.join(map(str, shape))} "
            f"| {summary.parameters:,} | {summary.multiply_adds:,} |"
        )
    return "\n".join(lines) + "\n"


def flags(network, settings):
    """Write a network and its settings as flags: ``plain --depth 38``."""
    return " ".join([network, *(f"{_flag(name)} {_text(v)}" for name, v in settings.items())])


def _flag(name):
    return "--" + name.replace("_", "-")


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
