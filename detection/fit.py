"""Training a detector: what `igc.fit` does otherwise for it."""

from igc.fit import Fit


class DetectorFit(Fit):
    """One detector in training.

    Parameters
    ----------
    *args, **kwargs
        As of `igc.fit.Fit`; the symbol is `igc.detection.ssd.detector`'s for training.
    validator : callable
        Makes an `igc.detection.validation.Validator` of contexts, loader and whether it is fused.
    """

    def __init__(self, *args, validator, **kwargs):
        self._validator = validator  # the loop asks for it while it is made
        super().__init__(*args, **kwargs)

    def _open_evaluator(self):
        training = self.training
        return self._validator(training.contexts, self.validation, training.fused)

    def _answers(self, batch):
        # copies: they are read while the next batch is computed
        probabilities, errors, classes, _ = (out.copy() for out in self.module.get_outputs())
        return probabilities, classes, errors
