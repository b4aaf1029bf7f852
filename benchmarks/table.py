"""Results as text: the terminal's table, CSV, JSON, Markdown."""

import csv
import io
import json

from igc.files import atomic_write

HEADER = (
    f"{'case':<32} {'engine':<28} {'ms':>9} {'quartiles':>19} {'of best':>8} {'of dense':>8} "
    f"{'GF/s':>7} {'peak':>5} {'MiB':>6}"
)
LEGEND = (
    "of best: time over that of the best engine other than native; of dense: over the best time "
    "for the regular convolutions; below 1 is faster. peak: share of the machine's peak."
)
COLUMNS = (
    "network",
    "mode",
    "batch",
    "threads",
    "engine",
    "variant",
    "ms",
    "min",
    "q1",
    "q3",
    "steps",
    "ratio",
    "ratio_to_dense",
    "gflops",
    "fraction",
    "peak_rss_mb",
)


def line(row):
    """Set a row out for the terminal."""
    case = f"{row['mode']} {row['network']} b{row['batch']}"
    engine = row["engine"] + (f" ({row['variant']})" if row["variant"] else "")
    quartiles = f"{row['spread']['q1']:.2f}-{row['spread']['q3']:.2f}"
    return (
        f"{case:<32} {engine:<28} {row['ms']:9.2f} {quartiles:>19} {_times(row['ratio']):>8} "
        f"{_times(row['ratio_to_dense']):>8} {row['gflops']:7.1f} {row['fraction']:5.0%} "
        f"{row['peak_rss_mb']:6.0f}"
    )


def write_json(path, results):
    """Write everything.

    Parameters
    ----------
    path : str
    results : dict
        "machine", "results" and whatever else belongs to the run.
    """
    with atomic_write(path, "w") as file:
        json.dump(results, file, indent=1)
        file.write("\n")


def write_text(path, text):
    """Write a text."""
    with atomic_write(path, "w") as file:
        file.write(text)


def write_csv(path, rows, columns=COLUMNS):
    """Write the rows; what their "spread" holds gets columns of its own."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, **row.get("spread", {})})
    write_text(path, text.getvalue())


def markdown(results):
    """Set a run out in Markdown: the machine, the versions, a table for each case.

    Parameters
    ----------
    results : dict
        As for `write_json`, with "date", "versions" and "missing".

    Returns
    -------
    str
    """
    machine = results["machine"]
    lines = [
        f"{machine['cpu']}, {machine['threads']} threads, {results['date']}. Peak "
        f"{machine['peak_gflops']:.0f} GF/s, memory copy {machine['copy_gbs']:.0f} GB/s (read and "
        "written).",
        "",
        "; ".join(
            f"{engine}: {', '.join(f'{name} {number}' for name, number in found.items() if number)}"
            for engine, found in results["versions"].items()
        )
        + ".",
        "",
        f"Times are medians. {LEGEND[0].upper()}{LEGEND[1:]}",
    ]
    for case, rows in by_case(results["results"]):
        lines += [
            "",
            f"**{case}**",
            "",
            "| engine | ms | quartiles | of best | of dense | share of peak | peak memory, MiB |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in sorted(rows, key=lambda row: row["ms"]):
            name = row["engine"] + (f" ({row['variant']})" if row["variant"] else "")
            lines.append(
                f"| {name} | {row['ms']:.2f} | {row['spread']['q1']:.2f}–{row['spread']['q3']:.2f} "
                f"| {_times(row['ratio'])} | {_times(row['ratio_to_dense'])} "
                f"| {row['fraction']:.0%} | {row['peak_rss_mb']:.0f} |"
            )
    if results["missing"]:
        lines += ["", "Not measured:", ""]
        lines += [
            f"- {entry['case']}, {entry['engine']}: {entry['reason']}"
            for entry in results["missing"]
        ]
    return "\n".join(lines) + "\n"


def by_case(rows):
    """Gather the rows of each case: pairs of its name and rows, in the order of the run."""
    cases = {}
    for row in rows:
        cases.setdefault(f"{row['mode']} {row['network']} b{row['batch']}", []).append(row)
    return list(cases.items())


def _times(ratio):
    return "" if ratio is None else f"{ratio:.2f}×"
