"""The networks by name: registering, finding, building."""

import dataclasses
import difflib
import fnmatch
import typing

from igc.errors import InputError
from igc.symbol.settings import Setting, choice, whole
from igc.symbol.shapes import first_reason

OPERATOR = Setting(
    None,
    "permutations by the native operator or by stock MXNet operators (default: native)",
    choice("native", "stock"),
)

NUM_CLASSES = Setting(None, "outputs of the classifier", whole(), "num_classes")

_NETWORKS = {}


@dataclasses.dataclass(frozen=True)
class Network:
    """What is known about a network before it is built.

    Attributes
    ----------
    name : str
    build : callable
        Takes `num_classes` and every setting, returns the Symbol.
    num_classes : int
        The default: that of the data set that the network was made for.
    image_shape : tuple of int
        Channels, height and width of that data set.
    settings : dict
        Name -> `Setting`, in the order in which the network lists them.
    preset_of : str or None
        The network that this is a published setting of.
    note : str
        What a user must know before taking it for the published one, such as
        ``"reconstruction"``; empty where there is nothing.
    own_defaults : bool
        Whether its defaults go before the scripts': presets, and what the originals lack.
    """

    name: str
    build: typing.Callable
    num_classes: int
    image_shape: tuple
    settings: dict
    preset_of: str | None = None
    note: str = ""
    own_defaults: bool = False

    @property
    def family(self):
        """The module that builds it: ``"plain"``, ``"igcv3"``, ``"dmrnet"``, ..."""
        return self.build.__module__.rpartition(".")[2]

    def describe(self):
        """Say what a preset stands for: ``"igcv2 multiplier=0.5"``."""
        base = _NETWORKS[self.preset_of.lower()]
        changed = [
            f"{name}={setting.default}"
            for name, setting in self.settings.items()
            if setting.default != base.settings[name].default
        ]
        return " ".join([self.preset_of, *changed])


def register(num_classes, image_shape, note="", own_defaults=False, **settings):
    """Enter the decorated builder under its own name.

    Parameters
    ----------
    num_classes : int
    image_shape : tuple of int
    note : str
    own_defaults : bool
        As in `Network`.
    **settings : Setting
        The settings that the builder takes, beside `num_classes` and `operator`.
    """

    def enter(build):
        known = {
            key: named(setting, key) for key, setting in {**settings, "operator": OPERATOR}.items()
        }
        _enter(
            Network(
                build.__name__,
                build,
                num_classes,
                image_shape,
                known,
                note=note,
                own_defaults=own_defaults,
            )
        )
        return build

    return enter


def named(setting, name):
    """Give a setting the name that messages call it by."""
    return dataclasses.replace(setting, name=name)


def preset(name, network, num_classes=None, note=None, **values):
    """Enter a published setting of a network under a name of its own.

    Parameters
    ----------
    name : str
        As it is published, such as ``"IGC-L4M32"``.
    network : str
        A registered one.
    num_classes : int, optional
        Default: the network's.
    note : str, optional
        As in `Network`; default: the network's.
    **values
        Defaults in place of the network's; they can be set like any other.
    """
    base = find_network(network)
    settings = {
        key: dataclasses.replace(setting, default=setting.read(values[key], name))
        if key in values
        else setting
        for key, setting in base.settings.items()
    }
    unknown = values.keys() - settings.keys()
    if unknown:
        raise ValueError(f"{name}: {network} does not take {', '.join(sorted(unknown))}")
    _enter(
        dataclasses.replace(
            base,
            name=name,
            num_classes=num_classes or base.num_classes,
            settings=settings,
            preset_of=base.name,
            note=base.note if note is None else note,
            own_defaults=True,
        )
    )


def _enter(network):
    key = network.name.lower()
    if key in _NETWORKS:
        raise ValueError(f"two networks are called {network.name}")
    _NETWORKS[key] = network


def list_networks(pattern="*", presets=True):
    """List the names of the networks, sorted without regard to case.

    Parameters
    ----------
    pattern : str
        Shell-style, without regard to case: ``"*igc*"``.
    presets : bool
        Whether to list published settings that have a name of their own (`preset`) too.

    Returns
    -------
    list of str
    """
    return [
        network.name
        for key, network in sorted(_NETWORKS.items())
        if fnmatch.fnmatchcase(key, pattern.lower()) and (presets or network.preset_of is None)
    ]


def find_network(name):
    """Find a network by its name, without regard to case; ``gluoncv/<name>`` in gluon-cv's zoo.

    Returns
    -------
    Network

    Raises
    ------
    InputError
        When there is none; the message names the nearest.
    """
    if str(name).lower().startswith("gluoncv/"):
        from igc.symbol import zoo

        return zoo.find(name)
    network = _NETWORKS.get(str(name).lower())
    if network is None:
        nearest = difflib.get_close_matches(str(name).lower(), _NETWORKS, n=1, cutoff=0.4)
        hint = f"did you mean {_NETWORKS[nearest[0]].name}? " if nearest else ""
        raise InputError(f"there is no network {name!r}; {hint}Known: {', '.join(list_networks())}")
    return network


def settings_of(network):
    """Tell which settings a network takes.

    Returns
    -------
    dict
        Name -> `igc.symbol.settings.Setting` (`default`, `help`, and `convert`, which reads the
        text of a flag too).
    """
    return dict(find_network(network).settings)


def get_symbol(network, num_classes=None, **settings):
    """Build a network.

    Parameters
    ----------
    network : str
        A name of `list_networks`, in any case.
    num_classes : int, optional
        Outputs of the classifier; default `Network.num_classes`: that of the data set that the
        network was made for.
    **settings
        As `settings_of` lists them (``depth``, ``primary_partition``, ``multiplier``, ...); what
        is left out takes its default. Every network takes ``operator``: ``"native"`` for the
        operator `igc.operator.reorder`, ``"stock"`` for MXNet's own reshape and swapaxes. Both
        have the same parameters and compute the same.

    Returns
    -------
    mxnet.symbol.Symbol
        Input ``data`` of shape (batch, channels, height, width), label ``softmax_label``, output
        ``softmax_output`` of shape (batch, num_classes). `ensemble` has eight outputs,
        ``softmax1_output`` to ``softmax8_output``, each of that shape and with a label of its own,
        ``softmax1_label`` to ``softmax8_label``.

    Raises
    ------
    InputError
        (a `ValueError`) for an unknown network or setting and for values that cannot be built;
        the message says which work.
    """
    found = find_network(network)
    unknown = [name for name in settings if name not in found.settings]
    if unknown:
        raise InputError(
            f"{found.name} does not take {', '.join(unknown)}; it takes {', '.join(found.settings)}"
        )
    if num_classes is None:
        num_classes = found.num_classes
    values = {"num_classes": NUM_CLASSES.read(num_classes, found.name)}
    for name, setting in found.settings.items():
        given = settings.get(name)
        values[name] = setting.default if given is None else setting.read(given, found.name)
    import mxnet  # here and not above, so that networks can be listed without it

    # what is named automatically (the additions, _plus0 ...) is counted anew for each network
    with mxnet.name.NameManager():
        try:
            return found.build(**values)
        except mxnet.MXNetError as error:  # such as more channels than a number can tell
            raise InputError(f"{found.name}: cannot be built: {first_reason(error)}") from error
