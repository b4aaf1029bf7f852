"""What is measured: networks by short names, and the table of the default run."""

import dataclasses
import re

from igc.errors import InputError

INFER, TRAIN = "infer", "train"
# A training step is the forward pass, and a backward pass of twice its multiply-adds.
PASSES = {INFER: 1, TRAIN: 3}

# The networks whose time is also compared with the regular convolutions of the same paper.
DENSE_TWIN = {"plain_igc_d38_L24M2": "plain_d38_w18"}

DEFAULT = {
    INFER: (
        ("plain_d38_w18", 64),
        ("plain_igc_d38_L24M2", 64),
        ("plain_d38_w18", 1),
        ("plain_igc_d38_L24M2", 1),
        ("igc_L100M2_d18", 1),
        ("igc_L100M2_d18", 8),
        ("igcv3_1.0", 1),
        ("igcv3_1.0", 8),
    ),
    TRAIN: (
        ("plain_d38_w18", 64),
        ("plain_igc_d38_L24M2", 64),
        ("igc_L100M2_d18", 8),
        ("igcv3_1.0", 8),
    ),
}

_WHOLE, _DECIMAL = r"([1-9]\d*)", r"(\d+\.\d+)"
# Pattern of the short name -> the network's name and its settings in the pattern's order.
_NAMES = (
    (f"plain_d{_WHOLE}_w{_WHOLE}", "plain", ("depth", "primary_partition")),
    (
        f"plain_igc_d{_WHOLE}_L{_WHOLE}M{_WHOLE}",
        "plain_igc",
        ("depth", "primary_partition", "secondary_partition"),
    ),
    (f"resnet_d{_WHOLE}_w{_WHOLE}", "resnet", ("depth", "primary_partition")),
    (
        f"resnet_igc_d{_WHOLE}_L{_WHOLE}M{_WHOLE}",
        "resnet_igc",
        ("depth", "primary_partition", "secondary_partition"),
    ),
    (f"igc_L{_WHOLE}M2_d18", "resnet_igc_imgnet_d18", ("primary_partition",)),
    (f"resnet_w{_WHOLE}_d18", "resnet_imgnet_d18", ("primary_partition",)),
    (f"(igcv3|igcv3_wider|igcv3_g2g4|mobilenetv2)_{_DECIMAL}", None, ("multiplier",)),
)
SHAPES_OF_NAMES = (
    "plain_d38_w18, plain_igc_d38_L24M2, resnet_d38_w16, resnet_igc_d38_L24M2, igc_L100M2_d18, "
    "resnet_w64_d18, igcv3_1.0, igcv3_wider_1.0, igcv3_g2g4_1.0, mobilenetv2_1.0, with any numbers"
)


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to measure, on every engine.

    Attributes
    ----------
    network : str
        Short name.
    mode : {"infer", "train"}
    batch : int
    threads : int
    """

    network: str
    mode: str
    batch: int
    threads: int

    def __str__(self):
        return f"{self.mode} {self.network} b{self.batch}"


def settings_of(name):
    """Read a short name.

    Parameters
    ----------
    name : str
        Such as ``plain_igc_d38_L24M2``.

    Returns
    -------
    network : str
        For `igc.symbol.get_symbol`.
    settings : dict of str to str

    Raises
    ------
    InputError
        When the name has none of the known forms.
    """
    for pattern, network, keys in _NAMES:
        match = re.fullmatch(pattern, name)
        if match:
            found = match.groups()
            return network or found[0], dict(zip(keys, found[-len(keys) :], strict=True))
    raise InputError(f"--networks {name}: unknown; these forms are known: {SHAPES_OF_NAMES}")


def choose(networks, batches, train, threads):
    """List the cases of a run.

    Parameters
    ----------
    networks : list of str or None
        None: those of the table.
    batches : list of int or None
        None: those of the table; 1 for a network that is not in it.
    train : bool
        Training steps too.
    threads : int

    Returns
    -------
    list of Case

    Raises
    ------
    InputError
        When a network's name is unknown.
    """
    for name in networks or []:
        settings_of(name)
    cases = []
    for mode in (INFER, TRAIN) if train else (INFER,):
        table = DEFAULT[mode]
        if networks is None and batches is None:
            pairs = table
        else:
            names = networks or dict.fromkeys(name for name, _ in table)
            pairs = [
                (name, batch)
                for name in names
                for batch in batches or [size for known, size in table if known == name] or [1]
            ]
        cases += [Case(name, mode, batch, threads) for name, batch in pairs]
    return list(dict.fromkeys(cases))
