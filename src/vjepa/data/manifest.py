"""Manifests: a folder, a `path label` list, a CSV, a TSV or a Parquet file becomes one Arrow table.

    manifest = read_manifest("train.csv")
    manifest.row(7)       # Row(path=..., label=3, start=None, end=None)

The format, column by column, is in `docs/manifests.md`. Whether the videos can be decoded is another
question:

    vjepa data check train.csv
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from vjepa.data.class_map import check_names, class_numbers, numbered
from vjepa.data.manifest_error import ManifestError
from vjepa.data.manifest_files import read_table, typed_table, with_column
from vjepa.data.media_paths import located

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

    source   the folder or file it was read from
    table    columns path, label (-1: none), start, end (null: none) and whatever else the file has
    folder   the folder that paths are relative to
    classes  the number of each class, if the file names classes; else None
    """

    def __init__(
        self,
        source: Path,
        table: pa.Table,
        folder: Path | None = None,
        classes: Mapping[str, int] | None = None,
    ) -> None:
        self.source = source
        self.table = table
        self.folder = folder or (source if source.is_dir() else source.parent)
        self.classes = classes
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

    def with_table(self, table: pa.Table) -> "Manifest":
        """Other rows, or other columns, of the same files."""
        return Manifest(self.source, table, self.folder, self.classes)


def read_manifest(path: str | Path, classes: Mapping[str, int] | None = None) -> Manifest:
    """Read a folder, a video, .txt, .csv, .tsv or .parquet. Raises ManifestError for any mistake in it.

    classes: The numbers of the classes that the file names, where another list has decided them."""
    (manifest,) = read_manifests([path], classes)
    return manifest


def read_manifests(paths: Sequence[str | Path], classes: Mapping[str, int] | None = None) -> list[Manifest]:
    """Several manifests, in which a name of a class has the same number. Raises ManifestError."""
    if "" in paths:
        raise ManifestError("a manifest is named by an empty text; give its path")
    read = {Path(path): located_table(Path(path)) for path in paths}
    check_names({source: table for source, (table, _) in read.items() if not holds_names(table)})
    names = {source: table["label"] for source, (table, _) in read.items() if holds_names(table)}
    if names and classes is None:
        classes = class_numbers(names)
    manifests = []
    for source in map(Path, paths):
        table, folder = read[source]
        if source in names:
            label = pc.fill_null(numbered(source, names[source], classes), NO_LABEL)
            table = with_column(table, "label", label)
        manifests.append(Manifest(source, table, folder, classes if source in names else None))
    return manifests


def holds_names(table: pa.Table) -> bool:
    """Whether the labels of a typed table are names, not numbers."""
    return not pa.types.is_integer(table.schema.field("label").type)


def located_table(source: Path) -> tuple[pa.Table, Path]:
    """The typed table of a manifest, and the folder that its paths are relative to."""
    if not source.exists():
        raise ManifestError(f"{source}: no such file or folder")
    try:
        table = read_table(source)
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{source}: cannot be read: {error}") from error
    if not table.num_rows:
        raise ManifestError(f"{source}: there are no rows; expected one for each video")
    table = typed_table(source, table)
    return (table, source) if source.is_dir() else located(source, table)
