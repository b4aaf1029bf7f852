"""Tables whose rows are dicts: printed row by row, and in Markdown.

Columns are triples: the row's key, the title, and a format such as ``>9.1e`` whose first part is
the width on the terminal. None is printed as nothing.
"""

import re


def header(columns):
    """Set the titles out for the terminal."""
    return " ".join(f"{title:{_place(form)}}" for _, title, form in columns)


def line(columns, row):
    """Set a row out for the terminal."""
    return " ".join(f"{_text(row[key], form):{_place(form)}}" for key, _, form in columns)


def markdown(columns, rows):
    """Give the lines of a table."""
    return [
        "| " + " | ".join(title for _, title, _ in columns) + " |",
        "|" + "---|" * len(columns),
        *(
            "| " + " | ".join(_text(row[key], form) for key, _, form in columns) + " |"
            for row in rows
        ),
    ]


def _place(form):
    return re.match(r"[<>]\d+", form).group()


def _text(value, form):
    if value is None:
        return ""
    return f"{value:{form}}".strip()
