"""Which videos there are: a folder, a list of `path label` lines, a CSV, a TSV or a Parquet file become one Arrow table.

    manifest = read_manifest("train.csv")
    manifest.row(7)       # Row(path=..., label=3, start=None, end=None)

The format, column by column, is in `data_manifests/README.md`. Whether the videos can be decoded is another question:

    python -m vjepa check-manifest train.csv
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from jaxtyping import Int64

from vjepa.data.manifest_files import ManifestError, _checked, _read


@dataclass(frozen=True)
class Row:
    """One video, or the segment of it from `start` to `end` (seconds; None: from the beginning, to the end)."""

    path: Path
    label: int | None
    start: float | None
    end: float | None


class Manifest:
    """Rows in one Arrow table, which processes forked from this one share without copying.

    source  the folder or file it was read from
    table   columns path, label (-1: none), start, end (null: none) and whatever else the file has
    """

    def __init__(self, source: Path, table: pa.Table):
        self.source, self.table = source, table
        self._folder = source if source.is_dir() else source.parent
        self._columns = [table[name].combine_chunks() for name in ("path", "label", "start", "end")]

    def __len__(self) -> int:
        return self.table.num_rows

    def row(self, i: int) -> Row:
        """Row `i`, its path made whole."""
        path, label, start, end = (column[i].as_py() for column in self._columns)
        return Row(self._folder / path, None if label == -1 else label, start, end)

    @property
    def labels(self) -> Int64[np.ndarray, "rows"]:
        """The label of each row, -1 where there is none."""
        return self._columns[1].to_numpy()


def read_manifest(path: str | Path) -> Manifest:
    """Read a folder, .txt, .csv, .tsv or .parquet. Raises ManifestError on anything that is not as it should be."""
    source = Path(path)
    if not source.exists():
        raise ManifestError(f"{source}: no such file or folder")
    try:
        table = _read(source)
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{source}: cannot be read: {error}") from error
    if not table.num_rows:
        raise ManifestError(f"{source}: there are no rows; expected one for each video")
    return Manifest(source, _checked(source, table))
