"""The networks in lists: the README's table, counted from the graphs, and all by name."""

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
    ("IGC-L100M2", {}),
    ("IGC-L4M32", {}),
    ("IGC-L16M16", {}),
    ("igcv2", {}),
    ("igcv2", {"width": 64, "branches": (8, 8)}),
    ("igcv2_imgnet", {}),
    ("igcv2_imgnet", {"multiplier": 0.5}),
    ("igcv2_imgnet", {"multiplier": 0.25}),
    ("gluoncv/mobilenet1.0", {}),
    ("mobilenetv2", {}),
    ("igcv3", {}),
    ("igcv3", {"multiplier": 0.7}),
    ("igcv3", {"multiplier": 1.4}),
    ("igcv3_wider", {}),
    ("igcv3_g2g4", {}),
    ("IGCV3-W", {}),
    ("igcv3_wide", {}),
    ("mobilenetv2_ssd", {}),
    ("igcv3_cifar", {}),
    ("igcv3_cifar_0.7x", {}),
    ("igcv3_cifar_0.5x", {}),
    ("dmr_plain", {"depth": 56}),
    ("dmr_resnet", {"depth": 110}),
    ("half", {"depth": 110}),
    ("side", {"depth": 110}),
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
        *(line(network, settings) for network, settings in ROWS),
    ]
    return "\n".join(lines) + "\n"


def line(network, settings):
    """Write a network's line of the table.

    Raises
    ------
    InputError
        For a network of gluon-cv's zoo where gluon-cv cannot be imported.
    """
    found = symbols.find_network(network)
    net = symbols.get_symbol(network, operator="stock", **settings)
    summary = count(net, (1, *found.image_shape))
    return (
        f"| {labelled(found, settings)} | {'×'.join(map(str, found.image_shape))} "
        f"| {summary.parameters:,} | {summary.multiply_adds:,} |"
    )


def listing():
    """List the networks with their settings, and what the presets stand for, a line each.

    Returns
    -------
    str
    """
    networks = [symbols.find_network(name) for name in symbols.list_networks()]
    lines = [
        f"{network.name}: {', '.join(network.settings)}{_noted(network)}"
        for network in networks
        if not network.preset_of
    ]
    lines += [
        f"{network.name}: {network.describe()}{_noted(network)}"
        for network in networks
        if network.preset_of
    ]
    lines.append("gluoncv/<name>: gluon-cv's model zoo, such as gluoncv/mobilenet1.0 (MobileNetV1)")
    return "\n".join(lines) + "\n"


def labelled(network, settings):
    """Write a network and its settings as flags, in Markdown, with what must be known of it."""
    return f"`{flags(network.name, settings)}`{_noted(network)}"


def _noted(network):
    return f" ({network.note})" if network.note else ""


def flags(network, settings):
    """Write a network and its settings as flags: ``plain --depth 38``."""
    return " ".join([network, *(f"{_flag(name)} {_text(v)}" for name, v in settings.items())])


def _flag(name):
    return "--" + name.replace("_", "-")


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
