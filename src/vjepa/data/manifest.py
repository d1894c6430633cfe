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
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from vjepa.data.class_map import check_names, class_numbers, numbered, numbers_itself
from vjepa.data.manifest_cache import cached_table, is_large
from vjepa.data.manifest_error import ManifestError
from vjepa.data.manifest_files import holds_members, read_table, typed_table, with_column
from vjepa.data.media_paths import located, plain_paths, protocols_in
from vjepa.data.remote_lists import ListFile, remote_list
from vjepa.data.row_errors import RowError
from vjepa.data.storage import (
    StorageConfig,
    StorageError,
    check_place,
    check_protocol,
    is_address,
    joined,
)
from vjepa.data.stored import Stored
from vjepa.errors import damage_as_error

NO_LABEL = -1  # as in the table: a number, because a batch of labels is one tensor


@dataclass(frozen=True)
class Row:
    """One video, or its segment from `start` to `end` in seconds (None: from the beginning, to the end)."""

    path: Path | Stored
    """A file, or what lies in a storage or in a shard."""
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
    folder   the folder, or its address, that paths are relative to
    classes  the number of each class, if the file names classes; else None
    storage  how files at addresses are read
    digests  those of the rows, if they are known: with paths as they are, and below the folder that all share
    address  where the source comes from, if that is a storage; else empty
    """

    def __init__(
        self,
        source: Path,
        table: pa.Table,
        folder: Path | str | None = None,
        classes: Mapping[str, int] | None = None,
        storage: StorageConfig = StorageConfig(),
        digests: Sequence[str] = (),
        address: str = "",
    ) -> None:
        self.source = source
        self.table = table
        self.folder = folder or (source if source.is_dir() else source.parent)
        self.classes = classes
        self.storage = storage
        self.digests = digests
        self.address = address
        self._columns = [in_one_piece(table[name]) for name in ("path", "label", "start", "end")]
        names = [name for name in ("shard", "offset", "size", "digest") if name in table.column_names]
        self._members = [in_one_piece(table[name]) for name in names] if holds_members(names) else None

    def __len__(self) -> int:
        return self.table.num_rows

    def row(self, i: int) -> Row:
        """Row `i`, its path relative to the working directory, or absolute."""
        path, label, start, end = (column[i].as_py() for column in self._columns)
        return Row(self._media(path, i), None if label == NO_LABEL else label, start, end)

    def _media(self, path: str, i: int) -> Path | Stored:
        """The file of row `i`, whose path is given."""
        if self._members and self._members[0][i].is_valid:
            shard, offset, size, *digest = (column[i].as_py() for column in self._members)
            return Stored(joined(self.folder, shard), path, offset, size, *digest, config=self.storage)
        if is_address(self.folder) or is_address(path):
            return Stored(joined(self.folder, path), config=self.storage)
        # An absolute path replaces the folder: that is what `/` does in pathlib.
        return self.folder / path

    @property
    def labels(self) -> Int64[np.ndarray, "rows"]:
        """The label of each row, -1 where there is none."""
        return self._columns[1].to_numpy()  # label

    @property
    def different_labels(self) -> list[int]:
        """The labels that occur, -1 among them if a row has none, in rising order."""
        return sorted(pc.unique(self._columns[1]).to_pylist())

    def with_table(self, table: pa.Table) -> "Manifest":
        """Other rows, or other columns, of the same files."""
        return Manifest(self.source, table, self.folder, self.classes, self.storage, address=self.address)


def in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    """The column without chunks: among several, each access would search for the right one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def read_manifest(
    path: str | Path, classes: Mapping[str, int] | None = None, storage: StorageConfig = StorageConfig()
) -> Manifest:
    """Read a folder, a video, .txt, .csv, .tsv or .parquet. Raises ManifestError for any mistake in it.

    classes: The numbers of the classes that the file names, where another list has decided them.
    storage: How it and its videos are read, if they lie in a storage."""
    (manifest,) = read_manifests([path], classes, storage)
    return manifest


def read_manifests(
    paths: Sequence[str | Path],
    classes: Mapping[str, int] | None = None,
    storage: StorageConfig = StorageConfig(),
) -> list[Manifest]:
    """Several manifests, in which a name of a class has the same number. Raises ManifestError."""
    if "" in paths:
        raise ManifestError("a manifest is named by an empty text; give its path")
    lists = [remote_list(str(path), storage) if is_address(path) else ListFile(Path(path)) for path in paths]
    found = {listed.source: read_list(listed, storage) for listed in lists}
    check_names({source: rows.table for source, rows in found.items() if not rows.names_classes})
    names = {source: rows.table["label"] for source, rows in found.items() if rows.names_classes}
    if names and classes is None:
        classes = class_numbers(names)
    manifests = []
    for source, address, _ in lists:
        table, folder, digests, _ = found[source]
        if source in names:
            table = with_column(table, "label", numbered(source, names[source], classes))
            # What is known of a mapped manifest holds for the numbers that it gives by itself.
            digests = digests if numbers_itself(names[source], classes) else ()
        own = classes if source in names else None
        manifests.append(Manifest(source, table, folder, own, storage, digests, address))
        check_reachable(manifests[-1], found[source].protocols)
    return manifests


class Rows(NamedTuple):
    """What the file of a manifest says, before names of classes have numbers."""

    table: pa.Table
    folder: Path | str
    digests: Sequence[str] = ()
    protocols: Sequence[str] = ()
    """Those of its addresses."""

    @property
    def names_classes(self) -> bool:
        return not pa.types.is_integer(self.table.schema.field("label").type)


def read_list(listed: ListFile, storage: StorageConfig) -> Rows:
    """The rows of a manifest. Raises ManifestError."""
    source, address, table = listed
    if table is not None:
        return Rows(typed_table(source, table), listed.folder)
    try:
        rows = read_file(source, storage)
    except ManifestError as error:
        # Nobody knows the name of the copy.
        raise ManifestError(str(error).replace(str(source), address) if address else str(error)) from error
    if address:
        return rows._replace(folder=listed.folder)
    if source.is_dir() or holds_members(rows.table.column_names):
        return rows
    path, folder = located(source, rows.table["path"])
    return rows._replace(table=with_column(rows.table, "path", path), folder=folder)


def read_file(source: Path, storage: StorageConfig) -> Rows:
    """The rows of a file or folder of this machine. Raises ManifestError."""
    folder = source if source.is_dir() else source.parent
    if not source.exists():
        raise ManifestError(f"{source}: no such file or folder")
    try:
        with damage_as_error(source, ManifestError, "write it anew"):
            if source.suffix.lower() == ".parquet" and source.is_file() and is_large(source):
                table, facts = cached_table(source, storage.folder)
                return Rows(table, folder, facts.digests, facts.protocols)
            table = read_table(source)
    except OSError as error:
        raise ManifestError(f"{source}: cannot be read: {error}") from error
    if not table.num_rows:
        raise ManifestError(f"{source}: there are no rows; expected one for each video")
    with damage_as_error(source, ManifestError, "write it anew"):  # text that is not UTF-8 shows only now
        table = typed_table(source, table)
        path = plain_paths(table["path"])
    return Rows(with_column(table, "path", path), folder, protocols=protocols_in(path))


def check_reachable(manifest: Manifest, protocols: Sequence[str]) -> None:
    """Raise ManifestError if the storage of the first row cannot be asked for it.

    A file that is missing there is a bad file, and no reason to stop."""
    for protocol in protocols:
        try:
            check_protocol(protocol)
        except StorageError as error:
            row = pc.index(pc.starts_with(manifest.table["path"], f"{protocol}://"), True).as_py()
            raise RowError(manifest.source, row, f"{manifest.row(row).path}: {error}") from error
    first = manifest.row(0).path
    try:
        if isinstance(first, Stored) and is_address(first.address):
            check_place(first.address, manifest.storage)
    except StorageError as error:
        raise ManifestError(f"{manifest.address or manifest.source}, first row: {first}: {error}") from error
