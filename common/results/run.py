"""A training run as its files tell it."""

import functools
from dataclasses import dataclass

from igc import symbol as symbols
from igc.errors import InputError
from igc.summary import count

# what a log rounds the number of parameters to, and the label that the originals counted too
_ROUNDING = 60


@dataclass(frozen=True)
class Network:
    """Which network a run trained.

    Attributes
    ----------
    name : str
        As ``--network`` takes it.
    settings : tuple of (str, object)
        Those that are known; a network takes what it knows.
    num_classes : int or None
    image_shape : tuple of int or None
    parameters : int or None
        As a log has it, of four decimals of a million.
    """

    name: str
    settings: tuple = ()
    num_classes: int | None = None
    image_shape: tuple | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes
    ----------
    path : str
        Of the file that was read.
    name : str
        Of the run, such as ``plain_igc_d20L24M2_exp1``.
    rows : tuple of dict
        One an epoch, in their order, with ``epoch`` (from 1), ``train_loss``, ``train_top1``,
        ``val_loss``, ``val_top1`` and ``seconds``; accuracies are fractions, None is not known.
    planned : int or None
        How many epochs it was to have.
    dataset : str or None
    network : Network or None
    exp_name : str or None
        What ``--exp-name`` put before the run's number, in place of ``exp``.
    """

    path: str
    name: str
    rows: tuple
    planned: int | None = None
    dataset: str | None = None
    network: Network | None = None
    exp_name: str | None = None

    @property
    def epochs(self):
        """The last epoch."""
        return self.rows[-1]["epoch"]


@functools.cache
def costs(network):
    """Count what a network has and does.

    Parameters
    ----------
    network : Network or None

    Returns
    -------
    parameters, multiply_adds : int or None
        Trainable ones, and those of one image. Where the network is not known here, or has another
        number of parameters than the log, that number alone.
    """
    if network is None:
        return None, None
    # DMRNet's plain and resnet have another name here than IGCV1's
    for name in (network.name, f"dmr_{network.name}"):
        try:
            found = symbols.find_network(name)
            settings = {key: value for key, value in network.settings if key in found.settings}
            built = symbols.get_symbol(name, network.num_classes, operator="stock", **settings)
            summary = count(built, (1, *(network.image_shape or found.image_shape)))
        except InputError:
            continue
        said = network.parameters
        if said is None or abs(summary.parameters - said) <= _ROUNDING:
            return summary.parameters, summary.multiply_adds
    return network.parameters, None
