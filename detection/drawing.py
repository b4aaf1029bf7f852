"""Detections drawn into their image."""

import colorsys

import cv2
import numpy as np

from igc.data import recordio
from igc.files import atomic_write

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL = 22  # pixels, height of this font's letters at scale 1
_GOLDEN = 0.618034  # turns of the colour circle from class to class: neighbours differ most
_SMALLEST = 9  # pixels, of letters that can be read


def draw(image, detections, class_names):
    """Draw boxes with names and scores.

    Parameters
    ----------
    image : numpy.ndarray of uint8, shape (height, width, 3)
        Red, green, blue.
    detections : numpy.ndarray, shape (k, 6)
        `igc.detection.detector.COLUMNS`, edges in pixels.
    class_names : sequence of str
        OpenCV's letters are ASCII: a class whose name has others is drawn as its number.

    Returns
    -------
    numpy.ndarray of uint8
        A new image. Lines and letters grow with it; the highest score is on top.
    """
    drawn = np.ascontiguousarray(image).copy()
    side = min(image.shape[:2])
    width = max(1, round(side / 250))
    for kind, score, *edges in detections[::-1].tolist():
        colour = colour_of(int(kind))
        left, top, right, bottom = (round(edge) for edge in edges)
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, width)
        name = class_names[int(kind)]
        name = name if name.isascii() else f"class {int(kind)}"
        _label(drawn, f"{name} {score:.2f}", (left, top), colour, max(_SMALLEST, side / 32))
    return drawn


def colour_of(kind):
    """Choose the colour of a class.

    Returns
    -------
    (int, int, int)
        Red, green, blue.
    """
    shares = colorsys.hsv_to_rgb((kind * _GOLDEN + 0.33) % 1, 0.85, 1.0)
    return tuple(round(255 * share) for share in shares)


def write(path, image):
    """Write an image as PNG.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    with atomic_write(path) as file:
        file.write(recordio.encode(image))


def _label(image, text, corner, colour, size):
    """Write on a ground of the class's colour: above the corner or, without room there, below."""
    scale, weight = size / _CAPITAL, max(1, round(size / 11))
    (width, height), below = cv2.getTextSize(text, _FONT, scale, weight)
    margin = max(1, round(size / 5))
    tall, wide = height + below + margin, width + 2 * margin
    left = max(0, min(corner[0], image.shape[1] - wide))
    top = corner[1] - tall if corner[1] >= tall else corner[1]
    top = max(0, min(top, image.shape[0] - tall))
    cv2.rectangle(image, (left, top), (left + wide, top + tall), colour, cv2.FILLED)
    red, green, blue = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    place = (left + margin, top + margin + height)
    ink = (0, 0, 0) if bright else (255, 255, 255)
    cv2.putText(image, text, place, _FONT, scale, ink, weight, cv2.LINE_AA)
