"""What may be done to an image and its boxes before a detector sees them.

The settings are those of MXNet's detection augmenter (``src/io/image_det_aug_default.cc``), the
preset is what the IGCV3 repository's ``detection/config/config.py`` gives it; SSD (ECCV 2016,
section 2.2) has the idea.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from igc.data import geometry

_TRIALS = 25  # of a crop sampler
_MIN_ASPECT, _MAX_ASPECT = 0.5, 2.0
_INTERPOLATIONS = (
    cv2.INTER_NEAREST,
    cv2.INTER_LINEAR,
    cv2.INTER_CUBIC,
    cv2.INTER_AREA,
    cv2.INTER_LANCZOS4,
)


@dataclass(frozen=True)
class BoxAugmentation:
    """Settings of the augmentation; the defaults do nothing.

    The order is: mirror, colour, pad, crop, resize to the network's input.

    Attributes
    ----------
    mirror : float
        How often the image is mirrored left to right.
    hue, saturation, light : int
        A whole number from ± this is added to hue (0 to 180), saturation and lightness (0 to 255).
    contrast : float
        Pixels are multiplied by 1 ± a number up to this.
    colour : float
        How often each of these four happens.
    pad : float
        How often the image is put onto a larger canvas of grey.
    pad_scale : float
        Largest side of the canvas in sides of the image.
    crop : float
        How often a part is cut out.
    overlaps : tuple of float
        One for each way to crop: the least overlap (intersection over union) of the part with one
        of the boxes.
    crop_scale : float
        Least side of the part, as the root of its share of the area.
    random_interpolation : bool
        Resize with one of five interpolations instead of bilinear.
    """

    mirror: float = 0.0
    hue: int = 0
    saturation: int = 0
    light: int = 0
    contrast: float = 0.0
    colour: float = 0.0
    pad: float = 0.0
    pad_scale: float = 1.0
    crop: float = 0.0
    overlaps: tuple = ()
    crop_scale: float = 1.0
    random_interpolation: bool = False

    draw_names = ("boxes",)  # from which all draws of an image follow
    is_simple = False

    def __str__(self):
        return "none" if self == NONE else "ssd" if self == SSD else repr(self)

    def apply(self, image, boxes, draw, size, fill):
        """Augment an image.

        Parameters
        ----------
        image : numpy.ndarray of uint8, shape (height, width, 3)
        boxes : numpy.ndarray, shape (boxes, 6)
            As `igc.detection.boxes.parse` gives them.
        draw : float
            The image's random number, in [0, 1).
        size : (int, int)
            Height and width of the result.
        fill : tuple of int
            Colour of the canvas.

        Returns
        -------
        image : numpy.ndarray of uint8, shape (*size, 3)
        boxes : numpy.ndarray, shape (at least 1, 6)
            Those whose centre is still in the image, cut off at its edges.
        """
        random = np.random.Generator(np.random.Philox(key=int(draw * 2**53)))
        boxes = boxes.copy()
        if random.random() < self.mirror:
            image = cv2.flip(image, 1)
            boxes[:, [1, 3]] = 1 - boxes[:, [3, 1]]
        image = self._colour(image, random)
        if random.random() < self.pad:
            image, boxes = self._pad(image, boxes, random, fill)
        if random.random() < self.crop:
            image, boxes = self._crop(image, boxes, random)
        method = cv2.INTER_LINEAR
        if self.random_interpolation:
            method = _INTERPOLATIONS[random.integers(len(_INTERPOLATIONS))]
        return cv2.resize(image, (size[1], size[0]), interpolation=method), boxes

    def _colour(self, image, random):
        amounts = [
            int(random.integers(-most, most + 1)) if random.random() < self.colour else 0
            for most in (self.hue, self.light, self.saturation)
        ]
        if any(amounts):
            image = geometry.shift_hls(image, *amounts)
        if random.random() < self.colour:
            image = cv2.convertScaleAbs(
                image, alpha=1 + random.uniform(-self.contrast, self.contrast)
            )
        return image

    def _pad(self, image, boxes, random, fill):
        scale = random.uniform(1, self.pad_scale)
        height, width = image.shape[:2]
        tall, wide = int(height * scale), int(width * scale)
        top, left = random.integers(tall - height + 1), random.integers(wide - width + 1)
        canvas = np.empty((tall, wide, 3), np.uint8)
        canvas[:] = fill
        canvas[top : top + height, left : left + width] = image
        boxes[:, [1, 3]] = (boxes[:, [1, 3]] * width + left) / wide
        boxes[:, [2, 4]] = (boxes[:, [2, 4]] * height + top) / tall
        return canvas, boxes

    def _crop(self, image, boxes, random):
        """Try the samplers in any order; where none finds a part, leave the image whole."""
        height, width = image.shape[:2]
        for number in random.permutation(len(self.overlaps)):
            for _ in range(_TRIALS):
                part = self._part(random, width / height)
                if _overlaps(boxes, part).max() < self.overlaps[number]:
                    continue
                left, right = int(part[0] * width), math.ceil(part[2] * width)
                top, bottom = int(part[1] * height), math.ceil(part[3] * height)
                edges = left / width, top / height, right / width, bottom / height
                kept = _cut(boxes, edges)
                if len(kept):
                    return image[top:bottom, left:right], kept
        return image, boxes

    def _part(self, random, aspect):
        """Draw a part of the image: left, top, right, bottom as fractions of it."""
        scale = random.uniform(self.crop_scale, 1)
        least = max(_MIN_ASPECT / aspect, scale**2)
        ratio = random.uniform(least, max(least, min(_MAX_ASPECT / aspect, 1 / scale**2)))
        wide, tall = min(scale * math.sqrt(ratio), 1), min(scale / math.sqrt(ratio), 1)
        left, top = random.uniform(0, 1 - wide), random.uniform(0, 1 - tall)
        return left, top, left + wide, top + tall


def _overlaps(boxes, part):
    """Give intersection over union of each box with a part of the image."""
    edges = boxes[:, 1:5]
    sides = np.minimum(edges[:, 2:], part[2:]) - np.maximum(edges[:, :2], part[:2])
    common = sides.clip(0).prod(axis=1)
    areas = (edges[:, 2:] - edges[:, :2]).prod(axis=1)
    return common / (areas + (part[2] - part[0]) * (part[3] - part[1]) - common)


def _cut(boxes, part):
    """Keep the boxes whose centre is in a part of the image, as fractions of that part."""
    low, high = np.array(part[:2], np.float32), np.array(part[2:], np.float32)
    centres = (boxes[:, 1:3] + boxes[:, 3:5]) / 2
    kept = boxes[((centres > low) & (centres < high)).all(axis=1)].copy()
    for columns in (slice(1, 3), slice(3, 5)):
        kept[:, columns] = ((kept[:, columns] - low) / (high - low)).clip(0, 1)
    return kept


NONE = BoxAugmentation()
SSD = BoxAugmentation(
    mirror=0.5,
    hue=18,
    saturation=32,
    light=32,
    contrast=0.5,
    colour=0.5,
    pad=0.5,
    pad_scale=4.0,
    crop=5 / 6,  # five samplers, and the whole image
    overlaps=(0.1, 0.3, 0.5, 0.7, 0.9),
    crop_scale=0.3,
    random_interpolation=True,
)
