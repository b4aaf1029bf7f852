"""Figures, drawn without a display and written whole or not at all."""

import io
import os

from igc.errors import InputError
from igc.files import atomic_write

FORMATS = (".png", ".pdf", ".svg")


def format_of(path, flag):
    """Tell a picture's format by its name.

    Parameters
    ----------
    path : str
    flag : str
        Which asked for it, such as ``"--plot"``; named in the error.

    Returns
    -------
    str
        ``"png"``, ``"pdf"`` or ``"svg"``.

    Raises
    ------
    InputError
        For another ending.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in FORMATS:
        raise InputError(f"{flag} {path}: the ending must be one of {', '.join(FORMATS)}")
    return ending[1:]


def new(width, height):
    """Make an empty figure of so many inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(text):
    """Write text for a picture as it is: a dollar would begin a formula."""
    return text.replace("$", r"\$")


def save(figure, path, image_format="png"):
    """Write a figure.

    Raises
    ------
    InputError
        When the file cannot be written; what stood there is then untouched.
    """
    image = io.BytesIO()
    figure.savefig(image, format=image_format)
    with atomic_write(path) as file:
        file.write(image.getvalue())
