"""Manifests: a folder, a `path label` list, a CSV, a TSV or a Parquet file becomes one Arrow table.

    manifest = read_manifest("train.csv")
    manifest.row(7)       # Row(path=..., label=3, start=None, end=None)

The format, column by column, is in `docs/manifests.md`. Whether the videos can be decoded is another
question:

    vjepa data check train.csv
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from vjepa.data.manifest_files import ManifestError, read_table, typed_table

NO_LABEL = -1  # as in the table: a number, because a batch of labels is one tensor


@dataclass(frozen=True)
class Row:
    """One video, or its segment from `start` to `end` in seconds (None: from the beginning, to the end)."""

    path: Path
    label: int | None
    start: float | None
    end: float | None

    @property
    def label_number(self) -> int:
        """The label, or -1 if there is none, as a batch holds it."""
        return NO_LABEL if self.label is None else self.label


class Manifest:
    """Rows in one Arrow table, which processes forked from this one share without copying.

    Python lists would be copied into each of them, as their reference counts change.

    source  the folder or file it was read from
    folder  the folder that paths are relative to
    table   columns path, label (-1: none), start, end (null: none) and whatever else the file has
    """

    def __init__(self, source: Path, table: pa.Table) -> None:
        self.source = source
        self.folder = source if source.is_dir() else source.parent
        self.table = table
        # In one chunk each: in a chunked column, each access would search for the chunk.
        self._columns = [table[name].combine_chunks() for name in ("path", "label", "start", "end")]

    def __len__(self) -> int:
        return self.table.num_rows

    def row(self, i: int) -> Row:
        """Row `i`, its path relative to the working directory, or absolute."""
        path, label, start, end = (column[i].as_py() for column in self._columns)
        # An absolute path replaces the folder: that is what `/` does in pathlib.
        return Row(self.folder / path, None if label == NO_LABEL else label, start, end)

    @property
    def labels(self) -> Int64[np.ndarray, "rows"]:
        """The label of each row, -1 where there is none."""
        return self._columns[1].to_numpy()  # label


def read_manifest(path: str | Path) -> Manifest:
    """Read a folder, .txt, .csv, .tsv or .parquet. Raises ManifestError for any mistake in it."""
    source = Path(path)
    if not source.exists():
        raise ManifestError(f"{source}: no such file or folder")
    try:
        table = read_table(source)
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{source}: cannot be read: {error}") from error
    if not table.num_rows:
        raise ManifestError(f"{source}: there are no rows; expected one for each video")
    return Manifest(source, typed_table(source, table))
