"""What a network is trained to do, as `igc.run` needs to know it: here, to classify."""

from igc import symbol as symbols
from igc.fit import Fit
from igc.task import CLASSIFICATION


class Classifying:
    """Training a classifier.

    Another job (`igc.detection.job`) has the same methods, and ways of its own to open, log and
    conclude a run.

    Parameters
    ----------
    run : igc.run_settings.Run

    Attributes
    ----------
    task : igc.task.Task
    fit : type
        The `igc.fit.Fit` that trains.
    """

    task = CLASSIFICATION
    fit = Fit

    def __init__(self, run):
        self._run = run

    def build(self, operator):
        """Build the network with native or stock operators, and check that it takes the images."""
        run = self._run
        symbol = symbols.get_symbol(run.network, run.num_classes, operator=operator, **run.settings)
        symbols.check_input(symbol, run.image_shape)
        return symbol

    def note(self):
        """Say what a user must know of the network before taking it for the published one."""
        network = symbols.find_network(self._run.network)
        return f"{network.name}: {network.note}" if network.note else ""

    def match(self, symbol, start):
        """Give the network the weights that the run starts with: (arg_params, aux_params)."""
        fitting = {"data": (1, *self._run.image_shape)}
        return symbols.match_parameters(symbol, *start.parameters, fitting)

    def is_partial(self, start):
        """Tell whether those may lack some, which are then initialised."""
        return False

    def fixed(self, symbol):
        """List the parameters that keep their values."""
        return ()

    def to_keep(self, symbol):
        """Give the network as it is written beside the weights."""
        return symbol
