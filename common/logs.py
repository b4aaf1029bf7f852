"""The log of a run, in the line formats of the two original projects.

IGCV1's scripts print `InfoLines` (their ``get_results.py`` reads them back), IGCV3's print
`SpeedometerLines`, MXNet's own of 2018.
"""

import logging
import os
import sys

import tqdm

from igc import stopping
from igc.errors import InputError


class _File(logging.FileHandler):
    """Says in one line when the disk is full, in place of a traceback for every line."""

    def handleError(self, record):
        error = sys.exc_info()[1]
        raise InputError(f"{self.baseFilename}: the log cannot be written ({error})") from error


class _Console(logging.Handler):
    """Prints above a progress bar without breaking it."""

    def emit(self, record):
        try:
            tqdm.tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()
        except OSError:
            if not stopping.asked():  # the last checkpoint matters more, and the file has the line
                raise


def open_log(path, rank=None):
    """Open a run's log: every line goes to a file, which grows, and to standard output.

    Parameters
    ----------
    path : str
        The file; its folder is made when it is missing.
    rank : int, optional
        The worker's number, shown as ``Node[rank]`` (train_imagenet's format).

    Returns
    -------
    logging.Logger

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    logger = logging.getLogger("igc.run")
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    node = "" if rank is None else f"Node[{rank}] "
    formatter = logging.Formatter(f"%(asctime)-15s {node}%(message)s")
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        handlers = [_File(path, encoding="utf-8"), _Console()]
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another place for the log"
        ) from error
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


class InfoLines:
    """IGCV1's lines (class ``InfoCallback`` of its ``utility.py``).

    A batch line gives the speed in images per second, then for loss, top-1 and top-5 (both in
    per cent) the value since the last line and, in brackets, since the epoch began.

    Parameters
    ----------
    logger : logging.Logger
    top5 : bool
        Whether top-5 is shown (ImageNet only, in the originals).
    """

    def __init__(self, logger, top5):
        self.logger, self.top5 = logger, top5

    def batch(self, epoch, number, speed, window, total):
        """Print the line of a batch; `window` and `total` are `igc.metrics.Tally`."""
        line = f"Epoch[{epoch}] Batch [{number}]\tSpeed: {speed:.0f}"
        line += f"\tloss: {window.loss:.4f}({total.loss:.4f})"
        line += f"\ttop1: {100 * window.top1:.4f}({100 * total.top1:.4f})"
        if self.top5:
            line += f"\ttop5: {100 * window.top5:.4f}({100 * total.top5:.4f})"
        self.logger.info(line)

    def trained(self, epoch, seconds, total):
        """Print the lines at the end of an epoch's training."""
        self.logger.info("Epoch[%d] Resetting Data Iterator", epoch)
        self.logger.info("Epoch[%d] Time cost=%.3f", epoch, seconds)

    def validated(self, epoch, tally):
        """Print the lines of an epoch's validation."""
        self.logger.info("Epoch[%d] Validation-cross-entropy=%f", epoch, tally.loss)
        self.logger.info("Epoch[%d] Validation-accuracy=%f", epoch, tally.top1)
        if self.top5:
            self.logger.info("Epoch[%d] Validation-top_k_accuracy_5=%f", epoch, tally.top5)


class SpeedometerLines:
    """IGCV3's lines (``mx.callback.Speedometer`` and ``Module.fit`` of 2018).

    Parameters
    ----------
    logger : logging.Logger
    top5, loss : bool
        Whether ``--top-k`` and ``--loss`` ask for them.
    """

    def __init__(self, logger, top5, loss):
        self.logger, self.top5, self.loss = logger, top5, loss

    def _values(self, tally):
        yield "accuracy", tally.top1
        if self.top5:
            yield "top_k_accuracy_5", tally.top5
        if self.loss:
            yield "cross-entropy", tally.loss

    def batch(self, epoch, number, speed, window, total):
        """Print the line of a batch; `window` and `total` are `igc.metrics.Tally`."""
        line = f"Epoch[{epoch}] Batch [{number}]\tSpeed: {speed:.2f} samples/sec"
        self.logger.info(line + "".join(f"\t{n}={v:f}" for n, v in self._values(window)))

    def trained(self, epoch, seconds, total):
        """Print the lines at the end of an epoch's training."""
        for name, value in self._values(total):
            self.logger.info("Epoch[%d] Train-%s=%f", epoch, name, value)
        self.logger.info("Epoch[%d] Time cost=%.3f", epoch, seconds)

    def validated(self, epoch, tally):
        """Print the lines of an epoch's validation."""
        for name, value in self._values(tally):
            self.logger.info("Epoch[%d] Validation-%s=%f", epoch, name, value)
