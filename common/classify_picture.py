"""Draw images beside their likeliest classes."""

import math
import os

from igc import pictures
from igc.data.image_files import ImageFiles

MOST = 60  # images of one picture
_COLUMNS = 3
_SMALL = 64  # pixels: shown as they are, not smoothed
_LONGEST = 28  # letters of a name


def draw(results, title, path):
    """Draw images with bars for the probabilities of their classes.

    Parameters
    ----------
    results : list of (str, list of igc.classify.Guess)
        As from `igc.classify.classify`; at most `MOST`.
    title : str
    path : str
        The picture; its ending says the format.

    Raises
    ------
    InputError
        When the picture cannot be written, or an image not be read.
    """
    image_format = pictures.format_of(path, "--out")
    columns = min(_COLUMNS, len(results))
    rows = math.ceil(len(results) / columns)
    figure = pictures.new(4.6 * columns, 0.5 + 1.9 * rows)
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[1, 1.2] * columns)
    images = ImageFiles([path for path, _ in results])
    places = grid.reshape(-1, 2)
    for number, (picture, bars) in enumerate(places):
        if number < len(results):
            name, guesses = results[number]
            _draw_image(picture, images.read(number)[0], os.path.basename(name))
            _draw_bars(bars, guesses)
        else:
            picture.axis("off")
            bars.axis("off")
    pictures.save(figure, path, image_format)


def _draw_image(axes, image, name):
    smooth = "nearest" if max(image.shape[:2]) <= _SMALL else "antialiased"
    axes.imshow(image, interpolation=smooth)
    axes.set_title(_short(name), fontsize=8)
    axes.axis("off")


def _draw_bars(axes, guesses):
    places = range(len(guesses))
    shares = [guess.probability for guess in guesses]
    axes.barh(places, shares, color=["#8fb4dd"] + ["#cfdbe8"] * (len(guesses) - 1))
    for place, guess in zip(places, guesses, strict=True):
        text = f"{_short(guess.name)}  {100 * guess.probability:.1f} %"
        axes.text(0.02, place, text, va="center", fontsize=8)
    axes.set(xlim=(0, 1), ylim=(len(guesses) - 0.4, -0.6))
    axes.axis("off")


def _short(text):
    # a dollar would begin a formula
    text = text.replace("$", r"\$")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
