"""The log of a detector's training, in the original's lines (MXNet's of 2018)."""


class DetectionLines:
    """Lines with the losses by the original's names, CrossEntropy and SmoothL1.

    Parameters
    ----------
    logger : logging.Logger
    class_names : sequence of str
        Each has a line in a validation, as in the original.
    """

    def __init__(self, logger, class_names):
        self.logger, self._class_names = logger, class_names

    def batch(self, epoch, number, speed, window, total):
        """Print the line of a batch; `window` and `total` are `igc.detection.losses.LossTally`."""
        values = "".join(f"\t{name}={value:f}" for name, value in _values(window))
        self.logger.info(
            "Epoch[%d] Batch [%d]\tSpeed: %.2f samples/sec%s", epoch, number, speed, values
        )

    def trained(self, epoch, seconds, total):
        """Print the lines at the end of an epoch's training."""
        for name, value in _values(total):
            self.logger.info("Epoch[%d] Train-%s=%f", epoch, name, value)
        self.logger.info("Epoch[%d] Time cost=%.3f", epoch, seconds)

    def validated(self, epoch, found):
        """Print the lines of a validation; `found` is `igc.detection.validation.Validated`."""
        for name, value in zip(self._class_names, found.per_class, strict=True):
            self.logger.info("Epoch[%d] Validation-%s=%f", epoch, name, value)
        self.logger.info("Epoch[%d] Validation-mAP=%f", epoch, found.scores["map"])


def _values(tally):
    scores = tally.scores
    return ("CrossEntropy", scores["class_loss"]), ("SmoothL1", scores["box_loss"])
