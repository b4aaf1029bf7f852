"""Figures of the original networks, and where the reference files may lie."""

import json
import os
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REFERENCE = Path(os.environ.get("IGC_REFERENCE", ROOT.parent / "shared" / "reference"))


def load(*files):
    """Read networks' figures: all files, or the named ones.

    Returns
    -------
    list of dict
        With name, settings (for `get_symbol`, `network` among them), data_shape, arguments and
        auxiliary (name -> shape, in order), outputs, parameters, batch_norm_parameters and
        multiply_adds.
    """
    paths = [HERE / f"{name}.json" for name in files] or sorted(HERE.glob("*.json"))
    networks = []
    for path in paths:
        for group in json.loads(path.read_text(encoding="utf-8")):
            for network in group["networks"]:
                arguments = _shapes(group["arguments"], network.pop("argument_shapes"))
                auxiliary = _shapes(group["auxiliary"], network.pop("auxiliary_shapes"))
                data_shape = arguments["data"]
                networks.append(
                    dict(network, arguments=arguments, auxiliary=auxiliary, data_shape=data_shape)
                )
    return networks


def buildable():
    """Read the figures of all networks that `get_symbol` builds by its settings."""
    return [network for network in load() if network["settings"]]


def released_file(name):
    """Find one of the authors' graphs; skip the test where they are absent."""
    path = REFERENCE / "released" / f"{name}-symbol.json"
    if not path.is_file():
        pytest.skip(
            f"the authors' graph {path} is not here: set IGC_REFERENCE to the folder of released/"
        )
    return path


def _shapes(names, shapes):
    pairs = zip(names.split(), shapes.split(), strict=True)
    return {name: tuple(map(int, shape.split("x"))) for name, shape in pairs}
