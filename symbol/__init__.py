"""The networks by name, and the files that hold graphs and parameters."""

# the network modules register themselves
from igc.symbol import (  # noqa: F401
    dmr_ensemble,
    dmrnet,
    dmrnet_imgnet,
    igcv2,
    igcv3,
    mobilenetv2,
    plain,
    resnet,
    resnet_imgnet,
    ssd_backbones,
)
from igc.symbol.files import (
    graph_of,
    load_checkpoint,
    load_graph,
    load_parameters,
    load_symbol,
    save_symbol,
)
from igc.symbol.gluon import get_block
from igc.symbol.parameters import match_parameters
from igc.symbol.registry import find_network, get_symbol, list_networks, settings_of
from igc.symbol.shapes import check_input, image_shape

__all__ = [
    "check_input",
    "find_network",
    "get_block",
    "get_symbol",
    "graph_of",
    "image_shape",
    "list_networks",
    "load_checkpoint",
    "load_graph",
    "load_parameters",
    "load_symbol",
    "match_parameters",
    "save_symbol",
    "settings_of",
]
