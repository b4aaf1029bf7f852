"""Groups of runs as a table: for people in Markdown, for programs as CSV."""

import csv
import io

_HEADER = (
    "runs of",
    "runs",
    "epochs",
    "test top-1, %¹",
    "at its best epoch²",
    "training top-1, %",
    "parameters",
    "multiply-adds",
    "s/epoch",
)
_NOTES = (
    "¹ of the last epoch, over the runs: median (mean ± deviation, best).",
    "² of each run's best epoch, chosen by the same images, and so too high by a little.",
)
_SPREAD = ("median", "mean", "deviation", "best")


def markdown(groups):
    """Write groups as a table with its notes.

    Parameters
    ----------
    groups : list of igc.results.groups.Group

    Returns
    -------
    str
    """
    lines = [_HEADER, ("---",) * len(_HEADER)]
    for group in groups:
        parameters, multiply_adds = group.costs
        lines.append(
            (
                group.label,
                str(len(group.runs)),
                group.epochs,
                percent(group.last()),
                percent(group.highest()),
                percent(group.last("train_top1")),
                "" if parameters is None else f"{parameters:,}",
                "" if multiply_adds is None else f"{multiply_adds:,}",
                "" if group.seconds is None else f"{group.seconds:.1f}",
            )
        )
    table = [f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in lines]
    return "\n".join([*table, "", *_NOTES]) + "\n"


def percent(spread):
    """Write a spread of fractions in per cent, as the papers have it; of one run its number."""
    if spread is None:
        return ""
    median, mean, deviation, best = (100 * getattr(spread, name) for name in _SPREAD)
    if spread.count == 1:
        return f"{median:.2f}"
    return f"{median:.2f} ({mean:.2f} ± {deviation:.2f}, {best:.2f})"


def text(groups):
    """Write groups as CSV, a line each; accuracies are fractions.

    Returns
    -------
    str
    """
    measures = {
        "test_top1": lambda group: group.last(),
        "test_top1_best_epoch": lambda group: group.highest(),
        "training_top1": lambda group: group.last("train_top1"),
    }
    columns = ["runs_of", "runs", "epochs"]
    columns += [f"{measure}_{name}" for measure in measures for name in _SPREAD]
    columns += ["parameters", "multiply_adds", "seconds_per_epoch", "files"]
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(columns)
    for group in groups:
        row = [group.label, len(group.runs), group.epochs]
        for measure in measures.values():
            spread = measure(group)
            row += [None if spread is None else f"{getattr(spread, n):.6g}" for n in _SPREAD]
        seconds = None if group.seconds is None else f"{group.seconds:.2f}"
        row += [*group.costs, seconds, "\n".join(run.path for run in group.runs)]
        writer.writerow(row)
    return written.getvalue()
