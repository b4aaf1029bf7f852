"""What checkpoints that were trained here reached, for a network on a data set."""

import statistics
from dataclasses import dataclass

from igc import cards
from igc import symbol as symbols
from igc.errors import InputError


@dataclass(frozen=True)
class Reached:
    """Trainings of one network and one length.

    Attributes
    ----------
    epoch : int or None
        Of the checkpoints.
    planned : int or None
        How many epochs their trainings had in all.
    top1 : tuple of float
        Fractions, one a training.
    """

    epoch: int | None
    planned: int | None
    top1: tuple

    def __str__(self):
        """Write it in per cent: ``89.12 ± 0.20 (mean of 3 runs of 20 epochs)``."""
        of = f" of {self.planned}" if self.planned != self.epoch else ""
        length = f"{self.epoch}{of} epochs"
        mean = f"{100 * statistics.fmean(self.top1):.2f}"
        if len(self.top1) == 1:
            return f"{mean} ({length})"
        deviation = 100 * statistics.pstdev(self.top1)
        return f"{mean} ± {deviation:.2f} (mean of {len(self.top1)} runs of {length})"


def read_cards(folder):
    """Read the cards of a folder that tell of a training and of the test images, one crop.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    list of dict
    """
    return [
        card
        for card in cards.read_all(folder).values()
        if card["training"] and card.get("split") == "test" and card.get("crops") == 1
    ]


def find(found, net, family, image_shape, dataset):
    """Find what a network reached on a data set.

    Graphs are compared, not settings: so defaults, presets and the ways to write a setting do not
    matter, and every difference does.

    Parameters
    ----------
    found : list of dict
        From `read_cards`.
    net : mxnet.symbol.Symbol
        With stock operators.
    family : str
        Of the network, as `igc.symbol.find_network` tells it.
    image_shape : tuple of int
    dataset : str

    Returns
    -------
    tuple of Reached
        The longest trainings first.
    """
    graph, by_length = net.tojson(), {}
    for card in found:
        run = card["training"]
        if card.get("dataset") != dataset or run.get("dataset") != dataset:
            continue
        if tuple(run.get("image_shape", ())) != image_shape or not _is_of(run, family, graph):
            continue
        planned = run.get("recipe", {}).get("num_epochs")
        by_length.setdefault((card.get("epoch"), planned), []).append(card["top1"])
    lengths = sorted(by_length, key=lambda length: [-(number or 0) for number in length])
    return tuple(Reached(*length, tuple(by_length[length])) for length in lengths)


def _is_of(run, family, graph):
    try:
        network = symbols.find_network(run.get("network"))
        if network.family != family:
            return False
        trained = symbols.get_symbol(
            network.name, run.get("num_classes"), operator="stock", **run.get("settings", {})
        )
    except InputError:
        return False  # of a network that is no longer there
    return trained.tojson() == graph
