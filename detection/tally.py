"""Counts of boxes: how many of each class, in an image, and of which size."""

from collections import Counter

_SMALL, _MEDIUM = 32**2, 96**2  # square pixels: where COCO's evaluation draws the lines
_KINDS = ("small", "medium", "large")


class Tally:
    """Counts the boxes of a pack, image by image."""

    def __init__(self):
        self.per_class, self.per_image = Counter(), Counter()
        self._areas, self._difficult = Counter(), 0
        self._least, self._greatest = [float("inf")] * 2, [0.0] * 2

    def add(self, boxes, height, width):
        """Count the boxes of an image.

        Parameters
        ----------
        boxes : numpy.ndarray, shape (boxes, 6)
            As `igc.detection.boxes.parse` gives them.
        height, width : int
            Of the image, in pixels.
        """
        self.per_image[len(boxes)] += 1
        for kind, left, top, right, bottom, difficult in boxes.tolist():
            self.per_class[int(kind)] += 1
            self._difficult += bool(difficult)
            sides = (bottom - top) * height, (right - left) * width
            area = sides[0] * sides[1]
            self._areas[_KINDS[(area >= _SMALL) + (area > _MEDIUM)]] += 1
            for axis, side in enumerate(sides):
                self._least[axis] = min(self._least[axis], side)
                self._greatest[axis] = max(self._greatest[axis], side)

    def lines(self, class_names=(), num_classes=None):
        """Put the counts into words.

        Parameters
        ----------
        class_names : sequence of str
            Names of the classes, where they are known.
        num_classes : int, optional
            Classes below it that have no box are told, too.

        Yields
        ------
        str
        """
        total, most = self.per_class.total(), max(self.per_image)
        yield (
            f"  {total:,} boxes, {min(self.per_image):,} to {most:,} in an image "
            f"({total / self.per_image.total():.1f} on average), {self._difficult:,} difficult"
        )
        (low, narrow), (high, wide) = self._least, self._greatest
        areas = ", ".join(f"{self._areas[kind]:,} {kind}" for kind in _KINDS)
        yield (
            f"  boxes are {low:.0f} to {high:.0f} high and {narrow:.0f} to {wide:.0f} wide: "
            f"{areas} (less than 32 x 32, up to 96 x 96 pixels, more)"
        )
        shown = sorted(set(self.per_class) | set(range(num_classes or 0)))
        yield f"  {len(self.per_class)} of {len(shown)} classes have boxes:"
        for label in shown:
            name = class_names[label] if label < len(class_names) else ""
            yield f"  {label:4d} {self.per_class[label]:9,d}  {name}".rstrip()
