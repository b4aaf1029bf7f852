"""An exponential moving average of the weights, kept beside the training."""

import mxnet as mx


class MovingAverage:
    """Averages parameters and auxiliary states after each update.

    Parameters
    ----------
    decay : float
        Weight of the past; the first updates use min(decay, (1 + n) / (10 + n)) so that the start
        is soon forgotten.
    arg_params, aux_params : dict of str to mxnet.ndarray.NDArray
        Where the average begins (copied).
    updates : int
        Updates made before, when a run is taken up again.
    """

    def __init__(self, decay, arg_params, aux_params, updates=0):
        self.decay = decay
        self.updates = updates
        self.arg_params = {name: array.copy() for name, array in arg_params.items()}
        self.aux_params = {name: array.copy() for name, array in aux_params.items()}

    def update(self, arg_params, aux_params):
        """Take in the weights after an update (dicts as at the start)."""
        # MXNet does not order reading running statistics after the backward pass that writes them
        mx.nd.waitall()
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for mine, theirs in ((self.arg_params, arg_params), (self.aux_params, aux_params)):
            for name, average in mine.items():
                average *= decay
                average += (1.0 - decay) * theirs[name].as_in_context(average.context)
