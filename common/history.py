"""What a run leaves to look at: ``summary.csv``, a curve, and TensorBoard events."""

import csv
import io
import os

from igc import pictures
from igc.errors import InputError
from igc.files import atomic_write
from igc.task import CLASSIFICATION


class History:
    """The rows of a run, one an epoch; files are brought up to date with each row.

    Parameters
    ----------
    folder : str
        Gets ``summary.csv``, ``curve.png`` and the TensorBoard events.
    title : str
        Stands above the curve.
    keep : int
        Rows of an earlier run up to this epoch are kept (a run taken up again), later ones go.
    task : igc.task.Task
        Whose columns the rows have.
    """

    def __init__(self, folder, title, keep=0, task=CLASSIFICATION):
        self.folder, self.title, self.task = folder, title, task
        self.rows = [row for row in self._earlier() if row["epoch"] <= keep] if keep else []
        self._events = None

    @property
    def summary(self):
        """Path of ``summary.csv``."""
        return os.path.join(self.folder, "summary.csv")

    @property
    def curve(self):
        """Path of ``curve.png``."""
        return os.path.join(self.folder, "curve.png")

    def _earlier(self):
        if not os.path.exists(self.summary):
            return []
        try:
            with open(self.summary, newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file)
                return [read_row(row, self.summary, self.task.columns) for row in rows]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.summary}: cannot be read ({error}); move it away") from error

    def add(self, row):
        """Add an epoch.

        Parameters
        ----------
        row : dict
            Values for the task's columns (accuracies as fractions); None for what was not
            measured.
        """
        self.rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, self.task.columns, lineterminator="\n")
        writer.writeheader()
        for kept in self.rows:
            writer.writerow({name: _cell(kept[name]) for name in self.task.columns})
        with atomic_write(self.summary, "w") as file:
            file.write(text.getvalue())
        draw(self.rows, self.curve, self.title, self.task)
        self._write_events(row)

    def _write_events(self, row):
        if self._events is None:
            from tensorboardX import SummaryWriter  # slow to import, and only training needs it

            self._events = SummaryWriter(self.folder)
        for name in self.task.columns[1:]:
            if row[name] is not None:
                self._events.add_scalar(name.replace("_", "/", 1), row[name], row["epoch"])
        self._events.flush()

    def close(self):
        """Close the TensorBoard file."""
        if self._events is not None:
            self._events.close()


def _cell(value):
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def read_row(row, path, columns=CLASSIFICATION.columns):
    """Turn a line of ``summary.csv`` into numbers (None for an empty cell).

    Raises
    ------
    InputError
        When a cell is no number or a column is missing.
    """
    try:
        numbers = {name: float(row[name]) if row[name] else None for name in columns}
        numbers["epoch"] = int(numbers["epoch"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: not a summary of a run here; move it away") from None
    return numbers


def draw(rows, path, title, task=CLASSIFICATION):
    """Draw loss and score over the epochs, and learning rate and speed below, as PNG."""
    from matplotlib.ticker import MaxNLocator

    figure = pictures.new(9, 6)
    (loss, error), (rate, speed) = figure.subplots(
        2, 2, sharex=True, gridspec_kw={"height_ratios": [3, 1]}
    )
    epochs = [row["epoch"] for row in rows]
    shown, trained, validated, error_of = task.curve
    sign = -1 if error_of else 1
    panels = [
        (loss, "loss", [("train_loss", "training", 1), ("val_loss", "validation", 1)]),
        (error, shown, [(trained, "training", sign), (validated, "validation", sign)]),
        (rate, "learning rate", [("lr", None, 1)]),
        (speed, "images/s", [("images_per_second", None, 1)]),
    ]
    for axes, label, lines in panels:
        for column, name, sign in lines:
            values = [row.get(column) for row in rows]
            if all(value is None for value in values):
                continue
            values = [float("nan") if value is None else value for value in values]
            if sign < 0:
                values = [100 * (1 - value) for value in values]
            axes.plot(epochs, values, marker="o" if len(rows) < 40 else None, ms=3, label=name)
            if name:
                axes.legend(frameon=False)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    rate.set_yscale("log" if all(row["lr"] > 0 for row in rows) else "linear")
    for axes in (rate, speed):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title)
    pictures.save(figure, path)
