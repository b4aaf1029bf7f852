"""How the cost grows: with the batch, with the width, with the threads."""

import os

from benchmarks import picture, session, table
from benchmarks.cases import INFER, TRAIN, Case

ENGINES = ("native", "mxnet", "torch")
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
WIDTHS = (1, 2, 3, 4)
THREADS = (1, 2)
DEPTH, PRIMARY, SECONDARY = 38, 24, 2
BATCH_OF_WIDTHS = 16


def network(factor):
    """Name plain_igc with `factor` times the published number of primary partitions."""
    return f"plain_igc_d{DEPTH}_L{PRIMARY * factor}M{SECONDARY}"


def cases(batches=BATCHES, widths=WIDTHS, threads=THREADS, train=False):
    """List the cases, those of both series once.

    Returns
    -------
    list of benchmarks.cases.Case
    """
    modes = (INFER, TRAIN) if train else (INFER,)
    found = [
        Case(name, mode, batch, count)
        for mode in modes
        for count in threads
        for name, batch in [(network(1), batch) for batch in batches]
        + [(network(factor), BATCH_OF_WIDTHS) for factor in widths]
    ]
    return list(dict.fromkeys(found))


def panels(rows):
    """Order the rows into panels of lines, as `benchmarks.picture.lines` takes them."""
    found = []
    sizes = {network(factor): factor for factor in WIDTHS}
    for mode in dict.fromkeys(row["mode"] for row in rows):
        chosen = [row for row in rows if row["mode"] == mode]
        batches = [row for row in chosen if row["network"] == network(1)]
        widths = [
            row for row in chosen if row["batch"] == BATCH_OF_WIDTHS and row["network"] in sizes
        ]
        found.append(
            (
                f"{mode} {network(1)}",
                "batch",
                "ms an image",
                _series(batches, lambda row: (row["batch"], row["ms"] / row["batch"])),
            )
        )
        found.append(
            (
                f"{mode} plain_igc d{DEPTH} M{SECONDARY}, batch {BATCH_OF_WIDTHS}",
                f"primary partitions / {PRIMARY}",
                "ms",
                _series(widths, lambda row: (sizes[row["network"]], row["ms"])),
            )
        )
    return [panel for panel in found if panel[3]]


def _series(rows, point):
    series = {}
    for row in rows:
        label = f"{row['engine']}, {row['threads']} thread" + "s" * (row["threads"] > 1)
        series.setdefault(label, []).append(point(row))
    return {label: sorted(points) for label, points in series.items()}


def run(chosen, names, repetitions, folder, json_path):
    """Measure and write ``growth.json``, ``growth.csv`` and ``growth.png`` into `folder`."""
    results = session.run(chosen, names, repetitions)
    if json_path:
        table.write_json(json_path, results)
    if folder and results["results"]:
        table.write_json(os.path.join(folder, "growth.json"), results)
        table.write_csv(os.path.join(folder, "growth.csv"), results["results"])
        path = os.path.join(folder, "growth.png")
        picture.lines(path, results["machine"]["cpu"], panels(results["results"]))
        print(f"written: {path}")
    return results
