"""Precision over recall, drawn for each class."""

import math

from igc import pictures

_COLUMNS = 8  # of panels


def draw(curves, averages, class_names, title, path):
    """Draw a panel for each class.

    Parameters
    ----------
    curves : list of (numpy.ndarray, numpy.ndarray) or None
        As `igc.detection.scores.Scores.curves`.
    averages : numpy.ndarray, shape (classes,)
        Average precision, written above each panel.
    class_names : sequence of str
    title : str
    path : str
        The picture; its ending says the format.

    Raises
    ------
    InputError
        When the picture cannot be written.
    """
    image_format = pictures.format_of(path, "--plot")
    columns = min(_COLUMNS, math.ceil(math.sqrt(len(curves))))
    rows = math.ceil(len(curves) / columns)
    side = 1.8 if columns > 2 else 4.2
    figure = pictures.new(max(4.2, side * columns), 0.6 + side * rows)
    figure.suptitle(pictures.plain(title), fontsize=9, wrap=True)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(curves) :]:
        axes.axis("off")
    for number, (axes, curve, average, name) in enumerate(
        zip(panels.flat, curves, averages, class_names, strict=False)
    ):
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
        if number % columns == 0:
            axes.set_ylabel("precision", fontsize=8)
        if number + columns >= len(curves):
            axes.set_xlabel("recall", fontsize=8)
            axes.tick_params(labelbottom=True)
        axes.tick_params(labelsize=7)
        if curve is None:
            axes.set_title(f"{pictures.plain(name)}: no object", fontsize=8)
            continue
        recall, precision = curve
        # where recall stands still precision falls: a saw, as the detections come
        axes.plot(recall, precision, color="#2f6db3", linewidth=1.2)
        axes.fill_between(recall, precision, color="#cfdbe8")
        axes.set_title(f"{pictures.plain(name)}: AP {100 * average:.1f} %", fontsize=8)
    pictures.save(figure, path, image_format)
