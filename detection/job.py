"""Training a detector, as `igc.run` needs to know it."""

import functools
import re
from dataclasses import dataclass

from igc import symbol as symbols
from igc.detection import ssd
from igc.detection.fit import DetectorFit
from igc.detection.lines import DetectionLines
from igc.detection.renderer import BoxRenderer
from igc.detection.task import DETECTION
from igc.detection.validation import Validator
from igc.errors import InputError
from igc.symbol.parameters import rename
from igc.symbol.shapes import infer_shapes

_SHOWN = 8


@dataclass
class Detecting:
    """Training a detector; methods as of `igc.job.Classifying`.

    Attributes
    ----------
    run : igc.run_settings.Run
    backbone : igc.detection.ssd.Backbone
    class_names : tuple of str
    suppression : igc.detection.ssd.Suppression
        Of validation, and of the network as it is kept.
    rows : int
        Boxes that a label holds.
    min_negatives : int
    freeze : str
        Regular expression: parameters whose name begins so keep their values; empty for none.
    scoring : dict
        Of `igc.detection.validation.Validator`: ``iou``, ``use_07``, ``use_difficult``.
    """

    run: object
    backbone: ssd.Backbone
    class_names: tuple
    suppression: ssd.Suppression
    rows: int
    min_negatives: int
    freeze: str
    scoring: dict

    task = DETECTION

    @property
    def renderer(self):
        """callable: Makes what fills batches, see `igc.data.loaders.open_training`."""
        return functools.partial(BoxRenderer, rows=self.rows)

    @property
    def fit(self):
        """callable: Makes the `igc.fit.Fit` that trains."""
        return functools.partial(DetectorFit, validator=self._validator)

    def _validator(self, contexts, loader, fused):
        return Validator(
            self.to_keep(None), contexts, loader, fused, self.run.num_classes, **self.scoring
        )

    def _detector(self, operator, train=None):
        run = self.run
        return ssd.detector(
            self.backbone, run.num_classes, run.image_shape, self.suppression, operator, train
        )

    def build(self, operator):
        """Build the graph for training."""
        self._operator = operator
        return self._detector(operator, self.min_negatives)

    def to_keep(self, symbol):
        """Give the graph for use, which has the same parameters."""
        return self._detector(self._operator)

    def note(self):
        """Say what the detector stands on."""
        taps = ", ".join(self.backbone.taps)
        return f"detector on {self.backbone.network}, tapped at {taps}"

    def is_partial(self, start):
        """Tell whether the run starts with weights that may lack some."""
        return start.parameters is not None and start.standing.position == (0, 0)

    def match(self, symbol, start):
        """Give the network the weights that the run starts with.

        Those of a checkpoint must fit. Of another network's (``--pretrained``, ``--finetune``) what
        has the same name and shape is taken, and notes list what is missing and what is left.
        """
        shapes = {"data": (1, *self.run.image_shape), "label": (1, self.rows, 6)}
        if not self.is_partial(start):
            return symbols.match_parameters(symbol, *start.parameters, shapes)
        arguments, auxiliary, _ = infer_shapes(symbol, shapes)
        for name in shapes:
            del arguments[name]
        taken, missing, extra = [], [], []
        # names are found among the whole backbone's: its file has the layers behind the taps, too
        backbone = symbols.get_symbol(
            self.backbone.network, operator="stock", **self.backbone.settings
        )
        whole = backbone.list_arguments(), backbone.list_auxiliary_states()
        found = zip(start.parameters, (arguments, auxiliary), whole, strict=True)
        for given, expected, names in found:
            given = rename(given, dict.fromkeys([*names, *expected]))
            fitting = {n: a for n, a in given.items() if expected.get(n) == tuple(a.shape)}
            missing += [name for name in expected if name not in fitting]
            extra += [name for name in given if name not in fitting]
            taken.append(fitting)
        if not taken[0]:
            raise InputError(
                f"{self.run.load_model}: no parameter has a name and shape of this network; give "
                "the checkpoint of its backbone, or --pretrained= to start with none"
            )
        self.run.notes.append(
            f"{self.run.load_model}: {len(taken[0]) + len(taken[1])} arrays are taken; "
            f"{_list('initialised anew', missing)}; {_list('left aside', extra)}"
        )
        return tuple(taken)

    def fixed(self, symbol):
        """List the parameters that keep their values."""
        if not self.freeze:
            return ()
        pattern = re.compile(self.freeze)
        names = [name for name in symbol.list_arguments() if name not in ("data", "label")]
        fixed = tuple(name for name in names if pattern.match(name))
        if not fixed or len(fixed) == len(names):
            raise InputError(
                f"--freeze {self.freeze}: matches {len(fixed)} of {len(names)} parameters; their "
                "names begin with conv0, blk0nl_1, ..., multi_feat_5"
            )
        return fixed

    def facts(self):
        """List what ``P-checkpoints.json`` tells besides."""
        return {
            "task": "detection",
            "score": self.task.best,
            "class_names": list(self.class_names),
            "backbone": self.backbone.network,
            "taps": list(self.backbone.taps),
        }

    def lines(self, logger):
        """Choose the format of the log's lines."""
        return DetectionLines(logger, self.class_names)

    def conclude(self, row, logger):
        """Log what the run has reached."""
        if row["val_map"] is not None:
            logger.info(
                "mAP@%.2g: %.4f (VOC%s), loss %.4f, after %d epochs",
                self.scoring["iou"],
                row["val_map"],
                " 2007" if self.scoring["use_07"] else "",
                row["train_loss"],
                row["epoch"],
            )


def _list(what, names):
    more = ", ..." if len(names) > _SHOWN else ""
    shown = f": {', '.join(names[:_SHOWN])}{more}" if names else ""
    return f"{len(names)} {what}{shown}"
