"""Tables of results as text or Markdown, and the mean and spread of a result over seeds.

text_table("accuracy", [("our encoder", "0.912"), ("chance", "0.125")], ("<26", ">6"))
markdown_table(("run", "accuracy"), [("baseline", "0.912 ± 0.004")])
"""

import statistics
from collections.abc import Sequence

Cells = Sequence[str]


def text_table(caption: str, rows: Sequence[Cells], columns: Sequence[str]) -> str:
    """A caption, and below it rows of aligned cells, indented by two spaces.

    `columns` holds the alignment and width of every column as a format specification: "<26" aligns left in 26
    characters, ">8" right in 8. A header is simply the first row.
    """
    lines = [caption]
    for row in rows:
        cells = [format(cell, column) for cell, column in zip(row, columns, strict=True)]
        # An empty last cell must not leave spaces at the end.
        lines.append("  " + "".join(cells).rstrip())
    return "\n".join(lines)


def markdown_table(header: Cells, rows: Sequence[Cells]) -> str:
    """A table for README or an issue; every row has one cell for each of the header's."""
    rule = "|---" * len(header) + "|"
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]])


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the deviation of a single value is 0."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
