"""The networks of `benchmarks.gpu.steps`, and their symbol files.

A device without MXNet cannot build them, so the files lie in the repository;
``python -m benchmarks.gpu.networks`` writes them, where MXNet is.
"""

import dataclasses
import json
from pathlib import Path

from igc import cli
from igc.files import atomic_write

FOLDER = Path(__file__).resolve().parent / "symbols"


@dataclasses.dataclass(frozen=True)
class Network:
    """A network to train.

    Attributes
    ----------
    name, shown : str
        In `igc.symbol`, and for people.
    settings : dict
        For `igc.symbol.get_symbol`.
    image_shape : tuple of int
    batch, classes : int
    """

    name: str
    shown: str
    settings: dict
    image_shape: tuple
    batch: int
    classes: int

    @property
    def path(self):
        """The symbol file."""
        return FOLDER / f"{self.name}-symbol.json"


NETWORKS = (
    Network(
        "plain_igc",
        "plain_igc d38 L24 M2",
        {"depth": 38, "primary_partition": 24, "secondary_partition": 2},
        (3, 32, 32),
        64,
        10,
    ),
    Network(
        "resnet_igc_imgnet_d18",
        "IGC-L100M2",
        {"primary_partition": 100, "secondary_partition": 1},
        (3, 224, 224),
        32,
        1000,
    ),
    Network("igcv3", "IGCV3", {}, (3, 224, 224), 32, 1000),
)


def text_of(network):
    """Build a network's graph, with MXNet's own operators.

    Parameters
    ----------
    network : Network

    Returns
    -------
    str
        Symbol JSON on one line.
    """
    from igc import symbol as symbols

    symbol = symbols.get_symbol(network.name, network.classes, operator="stock", **network.settings)
    return json.dumps(json.loads(symbol.tojson()), separators=(",", ":")) + "\n"


def main(argv):
    """Write all of them."""
    for network in NETWORKS:
        with atomic_write(str(network.path), "w") as file:
            file.write(text_of(network))
        print(network.path)


if __name__ == "__main__":
    cli.run(main)
