"""What an evaluation of a detector has found: lines, JSON, and a table."""

import csv
import math
import os
from dataclasses import dataclass

import numpy as np

from igc import cards

MEASURES = 3  # VOC 2007, VOC, COCO
_COLUMNS = ("class", "objects", "voc07_ap", "voc_ap", "coco_ap")


@dataclass(frozen=True)
class Report:
    """All scores of a detector.

    Attributes
    ----------
    evaluation : igc.detection.options_evaluate.Evaluation
    images : int
    seconds : float
        That the detecting took.
    objects : numpy.ndarray of int64, shape (classes,)
        That count, of each class.
    voc07, voc : (numpy.ndarray, float)
        Average precision of each class, and the mean, as `igc.detection.scores.voc_map`.
    coco : dict or None
        As `igc.detection.scores.Scores.coco`.
    """

    evaluation: object
    images: int
    seconds: float
    objects: np.ndarray
    voc07: tuple
    voc: tuple
    coco: dict | None

    @property
    def map(self):
        """float: The mean average precision that ``--voc07`` asks for."""
        return (self.voc07 if self.evaluation.options.voc07 else self.voc)[1]


def make(evaluation, timed, advance=lambda: None):
    """Score what was detected.

    Parameters
    ----------
    evaluation : igc.detection.options_evaluate.Evaluation
    timed : igc.detection.evaluation.Timed
    advance : callable
        Called when one of `MEASURES` is done; COCO's takes a while.

    Returns
    -------
    Report
    """
    scores, options = timed.scores, evaluation.options

    def measured(score, *arguments, **settings):
        made = score(*arguments, **settings)
        advance()
        return made

    return Report(
        evaluation=evaluation,
        images=len(scores),
        seconds=timed.seconds,
        objects=scores.objects(),
        voc07=measured(scores.voc, options.overlap, use_07=True),
        voc=measured(scores.voc, options.overlap),
        coco=measured(scores.coco) if options.coco else None,
    )


def lines(report):
    """Write the scores in words: the first line is the one that counts.

    Returns
    -------
    list of str
    """
    evaluation = report.evaluation
    detector, options = evaluation.detector, evaluation.options
    kind = "VOC 2007" if options.voc07 else "VOC"
    told = [
        f"{detector.title}: {kind} mAP@{options.overlap:g} {_share(report.map)} on "
        f"{report.images} images of {options.rec_path}",
        *_table(report),
        f"VOC 2007 mAP@{options.overlap:g}, 11 points:  {_share(report.voc07[1])}",
        f"VOC mAP@{options.overlap:g}, area:            {_share(report.voc[1])}",
    ]
    if report.coco:
        names = {"map": "COCO mAP@[.5:.95]:         ", "ap50": "AP50", "ap75": "AP75"}
        names |= {name: name for name in ("small", "medium", "large")}
        told.append("  ".join(f"{text} {_share(report.coco[key])}" for key, text in names.items()))
    rate = report.images / report.seconds
    told.append(
        f"{report.images} images in {report.seconds:.1f} s, {rate:.1f} images/s "
        f"({detector.engine_name})"
    )
    return told


def content(report):
    """Write the scores as JSON values; null where there is no object.

    Returns
    -------
    dict
    """
    evaluation = report.evaluation
    detector, options = evaluation.detector, evaluation.options
    coco = report.coco and {
        **{key: _number(value) for key, value in report.coco.items() if key != "per_class"},
        "per_class": _numbers(report.coco["per_class"]),
    }
    return {
        "result": lines(report)[0],
        "map": _number(report.map),
        "voc07": {"map": _number(report.voc07[1]), "per_class": _numbers(report.voc07[0])},
        "voc": {"map": _number(report.voc[1]), "per_class": _numbers(report.voc[0])},
        "coco": coco,
        "class_names": list(detector.class_names),
        "objects": report.objects.tolist(),
        "images": report.images,
        "images_per_second": report.images / report.seconds,
        "rec_path": options.rec_path,
        "image_shape": list(detector.image_shape),
        "overlap": options.overlap,
        "use_difficult": options.use_difficult,
        "nms": options.nms,
        "nms_topk": options.nms_topk,
        "force_nms": options.force_nms,
        "engine": detector.engine_name,
        "sha256": {os.path.basename(file): cards.checksum(file) for file in detector.files},
    }


def write_table(report, file):
    """Write a row for each class as comma-separated values; empty where there is no object.

    Parameters
    ----------
    report : Report
    file : file object
        Open for text.
    """
    table = csv.writer(file, lineterminator="\n")
    table.writerow(_COLUMNS)
    for name, objects, *values in _rows(report):
        table.writerow([name, objects, *("" if math.isnan(v) else f"{v:.6f}" for v in values)])


def _rows(report):
    names = report.evaluation.detector.class_names
    empty = np.full(len(names), np.nan)
    coco = report.coco["per_class"] if report.coco else empty
    return zip(names, report.objects.tolist(), report.voc07[0], report.voc[0], coco, strict=True)


def _table(report):
    width = max(5, *(len(name) for name in report.evaluation.detector.class_names))
    yield f"{'class':{width}}  objects  VOC 2007  VOC area   COCO"
    for name, objects, voc07, voc, coco in _rows(report):
        yield (
            f"{name:{width}}  {objects:7,}  {_percent(voc07):>8}  {_percent(voc):>8}  "
            f"{_percent(coco):>5}"
        )


def _percent(value):
    return "–" if math.isnan(value) else f"{100 * value:.2f}"


def _share(value):
    return _percent(value) if math.isnan(value) else f"{_percent(value)} %"


def _number(value):
    return None if math.isnan(value) else float(value)


def _numbers(values):
    return [_number(value) for value in values]
