"""An MXNet network as a PyTorch module."""

from dataclasses import dataclass

import torch
from torch import fx

from igc.pytorch import heads, names


@dataclass(frozen=True)
class Origin:
    """What a module keeps of the files that it came from.

    Attributes
    ----------
    text : str
        Symbol JSON, with stock operators.
    order : tuple of str
        Names of the ``.params`` file, in its order.
    heads : tuple of igc.pytorch.roles.Head
    multipliers : dict of str to dict
        By parameter, what the symbol says of its learning rate and weight decay
        (``{"lr": 0.1, "wd": 0.0}``).
    """

    text: str
    order: tuple
    heads: tuple
    multipliers: dict

    def tojson(self):
        """Give the symbol's JSON, as MXNet's symbols do."""
        return self.text


class Network(fx.GraphModule):
    """A network: takes images (n, channels, height, width), gives what enters its softmax.

    With several heads it gives a tuple. Parameters and running statistics are `arg` and `aux`;
    `code` is the network as Python. It is made by `igc.pytorch.to_torch`.
    """

    @property
    def origin(self):
        """Origin: what is kept of the files."""
        return self.meta["igc"]

    def probabilities(self, data):
        """Compute what MXNet's network predicts.

        Parameters
        ----------
        data : torch.Tensor, shape (n, channels, height, width)

        Returns
        -------
        torch.Tensor
            Probabilities (n, classes), with several heads their mean; of a network that does not
            end in a softmax, its output.
        """
        return heads.mean(heads.probabilities(self(data), self.origin.heads))

    def arrays(self):
        """Copy all parameters and running statistics.

        Returns
        -------
        dict of str to numpy.ndarray
            By the names of the ``.params`` file, in its order.
        """
        state = self.state_dict()
        return {
            name: state[names.to_key(name)].detach().cpu().contiguous().numpy().copy()
            for name in self.origin.order
        }

    def load_arrays(self, arrays):
        """Take over arrays, named as `arrays` names them."""
        state = {names.to_key(name): torch.from_numpy(array) for name, array in arrays.items()}
        self.load_state_dict(state)
