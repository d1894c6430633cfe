"""Reads a Parquet manifest in batches, checks every value, and writes the Arrow streams of its cache."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from vjepa.data.array_files import check_table, check_utf8
from vjepa.data.class_map import cleaned
from vjepa.data.column_files import NumberFile, TextFile, without
from vjepa.data.list_dialect import column_names
from vjepa.data.manifest_error import ManifestError
from vjepa.data.manifest_files import (
    MEMBER,
    blanks_as_nulls,
    check_columns_named,
    class_names_in,
    holds_members,
    with_column,
    with_numbers,
    with_paths,
    without_views,
)
from vjepa.data.media_paths import plain_paths, protocols_in
from vjepa.data.row_digest import NO_VALUE, common_folder, table_digest
from vjepa.data.row_errors import RowError

BATCH = 2**16
"""Rows that are read at once."""
BUFFER = 2**22
"""Bytes of a column of the Parquet file that are read at once."""
MOST_NAMES = 1_000_000
"""Different names in a column of labels. More are no classes, and would not fit into the notes of a file."""
KINDS = {
    **dict.fromkeys(("path", "shard", "digest"), pa.large_string()),
    **dict.fromkeys(("label", "offset", "size"), pa.int64()),
    **dict.fromkeys(("start", "end", "duration"), pa.float64()),
}
"""The columns that lie in one piece each, so that a row is found without a search."""


class RowFacts(NamedTuple):
    """What was found out about a manifest while its rows were read."""

    key: str
    """What the source was like."""
    home: str
    """The home folder that paths with `~/` were completed with; empty if there were none."""
    protocols: list[str]
    """Those of its addresses."""
    digests: list[str]
    """Of its rows, with paths as they are and with paths below the folder that all of them share."""


class Builder:
    """Reads one Parquet file. Its columns grow in files of `folder`, so they take no memory.

    Raises ManifestError for the first mistake, like the reader of small files."""

    def __init__(self, source: Path, folder: Path) -> None:
        check_table(source)
        self.source = source
        self.folder = folder
        self.file = pa.parquet.ParquetFile(source, buffer_size=BUFFER, pre_buffer=False)
        self.given = self.file.schema_arrow.names
        self.names = column_names(self.given)
        check_columns_named(
            source, without_views(self.file.schema_arrow.empty_table().rename_columns(self.names)).schema
        )
        self.classes = self.class_names()
        kinds = {name: kind for name, kind in KINDS.items() if name in ("label", "start", "end", *self.names)}
        if not holds_members(self.names):
            kinds = {name: kind for name, kind in kinds.items() if name not in MEMBER}
        self.columns = {name: column_file(folder / name, kind) for name, kind in kinds.items()}
        # In digests a number stands for a missing time.
        self.filled = {
            name: column_file(folder / f"{name}.filled", pa.float64()) for name in ("start", "end")
        }
        self.protocols: set[str] = set()
        self.has_home = False
        self.range: tuple[str, str] | None = None
        """The first and the last path in the alphabet."""

    def batches(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of these columns."""
        given = [self.given[self.names.index(name)] for name in names]
        for batch in self.file.iter_batches(BATCH, columns=given):
            yield without_views(pa.Table.from_batches([batch]).select(given).rename_columns(list(names)))

    def class_names(self) -> pa.Array | None:
        """The names of classes in the column of labels, in alphabetical order; None if it holds numbers."""
        if "label" not in self.names or not is_text(self.file.schema_arrow.field(self.names.index("label"))):
            return None
        found = pa.array([], pa.large_string())
        for table in self.batches(["label"]):
            texts = table["label"].cast(pa.large_string()).combine_chunks()
            found = pc.unique(pa.concat_arrays([found, pc.unique(texts)]))
            if len(found) > MOST_NAMES:
                reason = f"column label holds more than {MOST_NAMES:,} different texts; expected classes"
                raise ManifestError(f"{self.source}: {reason}; rename the column")
        names = class_names_in(pa.chunked_array([found]))
        return names and pa.array(sorted({*names.to_pylist()} - {None}), pa.large_string())

    def write(self, target: Path, key: str) -> None:
        """Write all columns, and facts about them, into a file."""
        self.each_batch([name for name in self.names if name in self.columns], self.append)
        columns = {name: file.column() for name, file in self.columns.items()}
        home = str(Path.home()) if self.has_home else ""
        facts = RowFacts(key, home, sorted(self.protocols), self.digests(columns))
        for name in ("start", "end", "duration"):
            if name in columns:
                columns[name] = without(columns[name], pc.is_nan(columns[name]))
        if self.classes is not None:
            columns["label"] = named(columns["label"], self.classes)
        table = pa.table(columns).replace_schema_metadata({"facts": json.dumps(facts._asdict())})
        with pa.OSFile(str(target), "wb") as file:
            with pa.ipc.new_stream(file, table.schema) as stream:
                stream.write_table(table)
            self.write_others(file)

    def each_batch(self, names: Sequence[str], use: Callable[[pa.Table], None]) -> None:
        """Call a function with the rows of these columns. Its RowError is told with the row of the file."""
        rows = 0
        for table in self.batches(names) if names else ():
            try:
                use(table)
            except RowError as error:
                raise error.moved(rows) from error
            rows += table.num_rows

    def append(self, table: pa.Table) -> None:
        """Check some rows, and add them to the columns."""
        if self.classes is not None:
            names = cleaned(blanks_as_nulls(table["label"].cast(pa.large_string())))
            table = with_column(table, "label", pc.index_in(names, value_set=self.classes).cast(pa.int64()))
        table = with_numbers(self.source, with_paths(self.source, table))
        self.has_home |= pc.any(pc.starts_with(table["path"], "~/")).as_py()
        path = plain_paths(table["path"])
        self.protocols.update(protocols_in(path))
        ends = pc.min_max(path).as_py().values()
        self.range = tuple(f(*ends, *(self.range or ())) for f in (min, max))
        table = with_column(table, "path", path)
        for name, file in self.columns.items():
            is_number = KINDS[name] == pa.float64()
            file.append(pc.fill_null(table[name], float("nan")) if is_number else table[name])
        for name, file in self.filled.items():
            file.append(pc.fill_null(table[name], NO_VALUE))

    def digests(self, columns: dict[str, pa.Array]) -> list[str]:
        """The digests of all rows."""
        times = {name: file.column() for name, file in self.filled.items()}
        rows = {"path": columns["path"], "label": columns["label"], **times}
        digest = table_digest(pa.table(rows))
        prefix = len(common_folder(*self.range))
        if not prefix:
            return [digest, digest]
        below = TextFile(self.folder / "below")
        for first in range(0, len(rows["path"]), BATCH):
            paths = rows["path"].slice(first, BATCH)
            below.append(pa.chunked_array([pc.utf8_slice_codeunits(paths, prefix)]))
        return [digest, table_digest(pa.table(rows | {"path": below.column()}))]

    def write_others(self, file: pa.NativeFile) -> None:
        """Write the columns that no draw asks for."""
        names = [name for name in self.names if name not in self.columns]
        first = next(self.batches(names)) if names else pa.table({})
        with pa.ipc.new_stream(file, first.schema) as stream:
            self.each_batch(names, partial(self.write_checked, stream))

    def write_checked(self, stream: pa.ipc.RecordBatchStreamWriter, table: pa.Table) -> None:
        check_utf8(self.source, table, ("label_name",))
        stream.write_table(table)


def column_file(path: Path, kind: pa.DataType) -> NumberFile | TextFile:
    return TextFile(path) if kind == pa.large_string() else NumberFile(path, kind)


def is_text(field: pa.Field) -> bool:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def named(codes: pa.Array, names: pa.Array) -> pa.DictionaryArray:
    """Names of classes, by their numbers; no name where the number is -1."""
    buffers = without(codes, pc.less(codes, 0)).buffers()
    kind = pa.dictionary(pa.int64(), pa.large_string())
    return pa.DictionaryArray.from_buffers(kind, len(codes), buffers, names)
