"""Where a row stands in its manifest, and the error that says so."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from vjepa.data.list_dialect import row_lines
from vjepa.data.manifest_error import ManifestError

Words = Callable[[object], str]
"""Says what is wrong with a value. A function, because a format would trip over braces in a class's name."""


class RowError(ManifestError):
    """A mistake in a row of a list or table; rows are counted from 0."""

    def __init__(self, source: Path, row: int, reason: str) -> None:
        super().__init__(f"{source}, {row_locations(source, [row])[0]}: {reason}")
        self.source = source
        self.row = row
        self.reason = reason

    def moved(self, rows: int) -> "RowError":
        """The same mistake in a row that so many more precede."""
        return RowError(self.source, self.row + rows, self.reason)


def row_locations(source: Path, rows: Sequence[int]) -> list[str]:
    """Where these rows stand in the source: `line 3`, or `row 2 (counted from 0)` of other kinds."""
    if source.suffix.lower() in (".csv", ".tsv", ".txt") and source.is_file():
        lines = row_lines(source)
        return [f"line {lines[row]}" for row in rows]
    return [f"row {row} (counted from 0)" for row in rows]


def check_rows(
    source: Path, wrong: pa.Array | pa.ChunkedArray, values: pa.ChunkedArray, words: Words
) -> None:
    """Raise RowError for the first row that is wrong, if any."""
    # A comparison with a missing value is null, and a value may be missing.
    row = pc.index(pc.fill_null(wrong, False), True).as_py()
    if row >= 0:
        raise RowError(source, row, words(values[row].as_py()))
