"""Whether two engines detect the same: boxes of one matched with those of the other."""

from dataclasses import dataclass

import numpy as np

ALLOWED = 0.01
"""Share of boxes without a partner beyond which an export is wrong: two that are equal but for
rounding may change places at the last of the rows, or an overlap be just that of the threshold."""

CLOSE = 1e-4
"""Difference of scores, and of edges as fractions of the image, up to which boxes are partners."""


@dataclass(frozen=True)
class Matching:
    """How far an engine's detections on some images are from MXNet's.

    Attributes
    ----------
    engine : str
    output : {"detections"}
    found : int
        MXNet's boxes.
    largest : float
        Difference of a score or an edge between partners.
    share : float
        Boxes of either side without a partner, of all boxes.
    """

    engine: str
    output: str
    found: int
    largest: float
    share: float
    allowed = ALLOWED

    def __str__(self):
        return (
            f"{self.engine}: {self.found} detections of MXNet's, {self.share:.2%} of both without "
            f"a partner, the others differ by at most {self.largest:.1e}"
        )


def match(given, wanted, close=CLOSE):
    """Match the detections of an image.

    Parameters
    ----------
    given, wanted : numpy.ndarray, shape (rows, 6)
        Class, score, left, top, right, bottom; rows of class -1 are no boxes. The order is of no
        account.
    close : float
        See `CLOSE`.

    Returns
    -------
    largest : float
        Difference of a score or an edge between partners.
    alone : int
        Boxes of either side without a partner; what is no number has none.
    """
    given, wanted = (rows[~(rows[:, 0] < 0)].astype(np.float64) for rows in (given, wanted))
    largest, partners, free = 0.0, 0, np.ones(len(given), bool)
    for row in wanted:
        apart = np.abs(given[:, 1:] - row[1:]).max(axis=1, initial=0)
        apart = np.where(free & (given[:, 0] == row[0]) & (apart <= close), apart, np.inf)
        if not np.isfinite(apart).any():
            continue
        nearest = apart.argmin()
        free[nearest] = False
        largest, partners = max(largest, apart[nearest]), partners + 1
    return float(largest), len(given) + len(wanted) - 2 * partners


def compare(engine, output, given, wanted):
    """Match the detections of some images.

    Parameters
    ----------
    engine, output : str
        As in `Matching`.
    given, wanted : list of numpy.ndarray, shape (n, rows, 6)
        Batches; MXNet's may have more rows, see `match`.

    Returns
    -------
    Matching
    """
    pairs = [
        pair for batches in zip(given, wanted, strict=True) for pair in zip(*batches, strict=True)
    ]
    matched = [match(*pair) for pair in pairs]
    found = sum(int((rows[:, 0] >= 0).sum()) for _, rows in pairs)
    boxes = sum(int((~(rows[:, 0] < 0)).sum()) for pair in pairs for rows in pair)
    alone = sum(count for _, count in matched)
    largest = max((largest for largest, _ in matched), default=0.0)
    return Matching(engine, output, found, largest, alone / max(boxes, 1))
