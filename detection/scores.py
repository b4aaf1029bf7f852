"""How good detections are: mean average precision as VOC and as COCO define it.

VOC's is computed by gluon-cv (``gluoncv.utils.metrics.voc_detection``), COCO's by pycocotools, the
code of COCO's authors. Edges are those of areas, not inclusive pixels: both take the same overlaps.

They differ in the following, all of which leaves a detector's rank alone:

- recall: VOC sums the area under the curve, or (2007) samples it at 11 points, COCO at 101;
- a detection whose best object is taken already is wrong in VOC; COCO gives it the next best one;
- COCO looks at the 100 best detections of an image and class;
- an object that does not count: VOC has difficult ones, and leaves out what finds them. COCO has
  crowds alone, which take any number of detections, and whose overlap is the share of the
  *detection* that they cover. What a pack marks as difficult is a crowd to COCO.
"""

import contextlib
import io

import numpy as np

from igc import extras
from igc.errors import InputError

AREAS = ("all", "small", "medium", "large")
"""COCO's sizes of objects: of a box less than 32² pixels, less than 96², and more."""

_STATS = ("map", "ap50", "ap75", "small", "medium", "large")
_MOST = 100  # detections of an image and class that COCO looks at


def voc_map(images, num_classes, iou=0.5, use_07=False):
    """Compute VOC's mean average precision; made to be called after each epoch of training.

    Parameters
    ----------
    images : iterable of (numpy.ndarray, numpy.ndarray)
        For each image its detections, shape (k, 6): class, score, left, top, right, bottom, rows of
        class -1 being left out; and its boxes, shape (m, 5 or more), `igc.detection.boxes.COLUMNS`,
        rows of class -1 being left out. Edges of both in fractions of the image.
    num_classes : int
    iou : float
        Overlap from which on a detection finds an object.
    use_07 : bool
        Sample recall at 11 points, as VOC did until 2009, instead of the area under the curve.

    Returns
    -------
    per_class : numpy.ndarray of float64, shape (num_classes,)
        NaN for a class without an object that counts.
    mean : float
        Over the other classes; NaN when there are none.

    Raises
    ------
    InputError
        When gluon-cv cannot be imported.
    """
    metric = _metric(num_classes, iou, use_07)
    for found, boxes in images:
        _update(metric, found, boxes)
    return _result(metric, num_classes)


class Scores:
    """Collects the detections of images, and scores them.

    Parameters
    ----------
    num_classes : int
    use_difficult : bool
        Count difficult objects like any other.
    """

    def __init__(self, num_classes, use_difficult=False):
        self.num_classes, self._use_difficult = num_classes, use_difficult
        self._images = []

    def __len__(self):
        return len(self._images)

    def add(self, detections, boxes, size):
        """Add an image.

        Parameters
        ----------
        detections : numpy.ndarray, shape (k, 6)
            Class, score, left, top, right, bottom in pixels of the image
            (`igc.detection.detector.COLUMNS`).
        boxes : numpy.ndarray, shape (m, 6)
            What is there, `igc.detection.boxes.COLUMNS`: edges as fractions.
        size : (int, int)
            Height and width of the image, in pixels.

        Raises
        ------
        InputError
            When a class is none of 0 to `num_classes` - 1.
        """
        height, width = size
        truth = np.array(boxes, np.float64).reshape(-1, 6)
        truth[:, 1:5] *= (width, height, width, height)
        if self._use_difficult:
            truth[:, 5] = 0
        found = np.array(detections, np.float64).reshape(-1, 6)
        for rows, what in ((found, "detection"), (truth, "box")):
            wrong = rows[(rows[:, 0] < 0) | (rows[:, 0] >= self.num_classes), 0]
            if wrong.size:
                raise InputError(
                    f"image {len(self)}: a {what} of class {wrong[0]:g}, which is none of 0 to "
                    f"{self.num_classes - 1}; give --num-class as many as there are"
                )
        self._images.append((found, truth, (height, width)))

    def objects(self):
        """Count the objects of each class that count.

        Returns
        -------
        numpy.ndarray of int64, shape (num_classes,)
        """
        counts = np.zeros(self.num_classes, np.int64)
        for _, truth, _ in self._images:
            np.add.at(counts, truth[truth[:, 5] == 0, 0].astype(int), 1)
        return counts

    def voc(self, iou=0.5, use_07=False):
        """Score as VOC does; parameters, results and errors as of `voc_map`."""
        return _result(self._filled(iou, use_07), self.num_classes)

    def curves(self, iou=0.5):
        """Give precision over recall, detection by detection, as VOC counts them.

        Returns
        -------
        list of (numpy.ndarray, numpy.ndarray) or None
            For each class recall and precision, at falling scores; None for a class without an
            object that counts. Both are empty where nothing was detected.
        """
        metric = self._filled(iou, False)
        if not metric._n_pos:
            return [None] * self.num_classes
        recalls, precisions = metric._recall_prec()
        curves = [None] * self.num_classes
        for kind, (recall, precision) in enumerate(zip(recalls, precisions, strict=True)):
            if recall is not None:
                # detections of difficult objects before any other: no share of nothing
                counted = np.isfinite(precision)
                curves[kind] = recall[counted], precision[counted]
        return curves

    def coco(self):
        """Score as COCO does.

        Returns
        -------
        dict of str to object
            ``map`` (mean over overlaps .5, .55 to .95), ``ap50``, ``ap75``, and ``map`` of objects
            of each size of `AREAS`, by the area of their boxes in pixels of the image: floats, NaN
            where there is no such object. ``per_class``: ``map`` of each class, numpy.ndarray of
            float64, shape (num_classes,).

        Raises
        ------
        InputError
            When pycocotools is not installed.
        """
        extras.require("pycocotools", "detection")
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):  # it talks
            truth, found = _dataset(COCO(), self._truths()), _dataset(COCO(), self._found())
            scored = COCOeval(truth, found, "bbox")
            scored.params.imgIds = list(range(1, len(self) + 1))
            scored.params.catIds = list(range(1, self.num_classes + 1))
            scored.evaluate()
            scored.accumulate()
            scored.summarize()
        values = np.where(scored.stats[: len(_STATS)] < 0, np.nan, scored.stats[: len(_STATS)])
        # (overlaps, recalls, classes, areas, numbers of detections); the last number is 100
        precision = scored.eval["precision"][:, :, :, AREAS.index("all"), -1]
        per_class = precision.mean(axis=(0, 1))
        per_class[per_class < 0] = np.nan
        return {**dict(zip(_STATS, map(float, values), strict=True)), "per_class": per_class}

    def _filled(self, iou, use_07):
        metric = _metric(self.num_classes, iou, use_07)
        for found, truth, _ in self._images:
            _update(metric, found, truth)
        return metric

    def _truths(self):
        for image, (_, truth, _) in enumerate(self._images, start=1):
            for kind, left, top, right, bottom, difficult in truth.tolist():
                edges = left, top, right, bottom
                yield {**_annotation(image, kind, edges), "iscrowd": int(difficult != 0)}

    def _found(self):
        for image, (found, _, _) in enumerate(self._images, start=1):
            for kind, score, left, top, right, bottom in found.tolist():
                yield {**_annotation(image, kind, (left, top, right, bottom)), "score": score}


def _annotation(image, kind, edges):
    left, top, right, bottom = edges
    width, height = right - left, bottom - top
    return {
        "image_id": image,
        "category_id": int(kind) + 1,
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
    }


def _dataset(coco, annotations):
    # a number 0 would count as "no match"
    numbered = [{**entry, "id": number} for number, entry in enumerate(annotations, start=1)]
    coco.dataset = {"images": [], "categories": [], "annotations": numbered}
    coco.createIndex()
    return coco


def _metric(num_classes, iou, use_07):
    try:
        from gluoncv.utils.metrics import voc_detection
    except (ImportError, RuntimeError) as error:  # the second beside PyTorch 2
        raise InputError(
            f"gluon-cv cannot be imported ({error}); run: pip install '.[zoo]' && pip install "
            "--no-deps gluoncv==0.10.5.post0, in an environment without PyTorch"
        ) from error
    kind = voc_detection.VOC07MApMetric if use_07 else voc_detection.VOCMApMetric
    return kind(iou_thresh=iou, class_names=[str(number) for number in range(num_classes)])


def _update(metric, found, truth):
    found = np.asarray(found, np.float64)
    found = found[found[:, 0] >= 0]
    truth = np.asarray(truth, np.float64)
    truth = truth[truth[:, 0] >= 0]
    difficult = truth[:, 5] if truth.shape[1] > 5 else np.zeros(len(truth))
    rows = (
        _inclusive(found[:, 2:6]),
        found[:, 0],
        found[:, 1],
        _inclusive(truth[:, 1:5]),
        truth[:, 0],
        difficult,
    )
    metric.update(*(array[None] for array in rows))


def _inclusive(edges):
    # gluon-cv takes VOC's right and bottom, the last pixel inside, and adds the 1 again
    return edges - (0, 0, 1, 1)


def _result(metric, num_classes):
    if not any(metric._n_pos.values()):
        return np.full(num_classes, np.nan), float("nan")
    _, values = metric.get()
    return np.array(values[:-1], np.float64), float(values[-1])
