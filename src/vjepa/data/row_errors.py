"""Where a row stands in its manifest, and the error that says so."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from vjepa.data.list_dialect import row_lines
from vjepa.data.manifest_error import ManifestError

Words = Callable[[object], str]
"""Says what is wrong with a value. A function, because a format would trip over braces in a class's name."""


def row_locations(source: Path, rows: int) -> list[str]:
    """Where each row stands in its source: `line 3`, or `row 2 (counted from 0)` of a folder or Parquet."""
    if source.suffix.lower() in (".csv", ".tsv", ".txt") and source.is_file():
        return [f"line {line}" for line in row_lines(source)]
    return [f"row {row} (counted from 0)" for row in range(rows)]


def check_rows(
    source: Path, wrong: pa.Array | pa.ChunkedArray, values: pa.ChunkedArray, words: Words
) -> None:
    """Raise ManifestError for the first row that is wrong, if any."""
    # A comparison with a missing value is null, and a value may be missing.
    row = pc.index(pc.fill_null(wrong, False), True).as_py()
    if row >= 0:
        raise row_error(source, row, values, words)


def row_error(source: Path, row: int, values: pa.ChunkedArray, words: Words) -> ManifestError:
    """The error of one row."""
    location = row_locations(source, len(values))[row]
    return ManifestError(f"{source}, {location}: {words(values[row].as_py())}")
