"""The results as a short table, as CSV and as Markdown."""

import csv
import io
import math

from igc.files import atomic_write

NATIVE = "native-blocks"
LEGEND = (
    "PyTorch: the best of contiguous, channels last, for inference both convolutions as one dense "
    "3x3, and (where there was time) torch.compile; TF32 off, cuDNN's benchmark mode on. Device "
    "time, by CUDA graphs, data larger than the cache. training: forward and backward pass, all "
    "gradients. Roofline: data and results moved once at the measured bandwidth, or the "
    "operations at the measured rate of a matrix product of the type, whichever takes longer; for "
    "permutations a device copy."
)
COLUMNS = ("part", "case", "type", "mode", "images", "native_ms", "pytorch_ms", "pytorch_way")
COLUMNS += ("times", "share", "native_eager_ms", "pytorch_eager_ms")


def rows_of(results):
    """Set all measurements out.

    Parameters
    ----------
    results : benchmarks.gpu.session.Results

    Returns
    -------
    list of dict
        One a line, by `COLUMNS`.
    """
    rows = []
    for name, dtype, ours, copy in results.permutations:
        rows.append(
            _row("permutation", name, dtype, "", "", ours, copy, "device copy", copy / ours)
        )
    for row in results.operators:
        way, best = row.best
        line = _row(
            "operator", row.name, row.dtype, row.mode, row.images, row.native, best, way, row.share
        )
        rows.append(line)
    for shown, dtype, batch, found in results.steps:
        if len(found) < 2 or NATIVE not in found:
            continue
        ours, ours_eager = found[NATIVE]
        others = {way: times for way, times in found.items() if way != NATIVE}
        way = min(others, key=lambda way: others[way][0])
        best = others[way][0]
        line = _row("step", shown, dtype, "training step", batch, ours, best, way, math.nan)
        eager = min(times[1] for times in others.values())
        rows.append({**line, "native_eager_ms": ours_eager, "pytorch_eager_ms": eager})
    return rows


def _row(part, case, dtype, mode, images, native, best, way, share):
    values = part, case, dtype, mode, images, native, best, way, best / native, share
    return dict(zip(COLUMNS, (*values, math.nan, math.nan), strict=True))


def table(rows):
    """Write the terminal's and Markdown's table.

    Returns
    -------
    list of str
        Lines.
    """
    lines = [
        "| case | type | mode | images | native ms | PyTorch ms | its way | times | roofline |",
        "|---|---|---|--:|--:|--:|---|--:|--:|",
    ]
    for row in rows:
        share = "" if math.isnan(row["share"]) else f"{row['share']:.0%}"
        lines.append(
            f"| {row['case']} | {row['type']} | {row['mode'] or row['part']} | {row['images']} "
            f"| {row['native_ms']:.3f} | {row['pytorch_ms']:.3f} | {row['pytorch_way']} "
            f"| {row['times']:.2f} | {share} |"
        )
    return lines


def write(folder, name, rows, head):
    """Write Markdown, and CSV where something was timed.

    Parameters
    ----------
    folder : pathlib.Path
        Is made where it is missing.
    name : str
        Without the ending.
    rows : list of dict
    head : list of str
        Paragraphs: device, versions, date, checks.
    """
    parts = ["# The native operators on a GPU", *head]
    if rows:
        parts += [LEGEND, "\n".join(table(rows))]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
        with atomic_write(str(folder / f"{name}.csv"), "w") as file:
            file.write(text.getvalue())
    with atomic_write(str(folder / f"{name}.md"), "w") as file:
        file.write("\n\n".join(parts) + "\n")


def write_lines(folder, name, lines):
    """Write lines as they are, to a text file."""
    with atomic_write(str(folder / f"{name}.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")


def _cell(value):
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.4f}"
