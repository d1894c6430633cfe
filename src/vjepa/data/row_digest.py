"""The digest of a table's rows, as exports and runs record it: twelve hexadecimal digits of a SHA-256.

It is that of an Arrow stream of the columns. The stream goes through the hash piece by piece, so a table that
is mapped from a file takes no memory.
"""

import hashlib
from itertools import takewhile

import pyarrow as pa
import pyarrow.compute as pc

ROW_COLUMNS = ("path", "label", "start", "end")
"""The columns of a manifest that decide which clips there are."""
DIGITS = 12
NO_VALUE = -1
"""What stands for a missing label or time in a digest."""


class HashSink:
    """A file that keeps nothing of what is written to it but the hash."""

    closed = False

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: bytes | pa.Buffer) -> int:
        self.hash.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


def table_digest(table: pa.Table) -> str:
    """The digest of a manifest's rows, or of all columns of another table. Paths count as written."""
    if set(ROW_COLUMNS) <= set(table.column_names):
        # Of one type whatever the file's format, and without nulls, whose bytes may be anything.
        columns = [without_nulls(table[name]) for name in ("label", "start", "end")]
        table = pa.table([table["path"].cast(pa.large_string()), *columns], names=ROW_COLUMNS)
    # In one piece and without notes, because neither changes a row.
    table = table.combine_chunks().replace_schema_metadata(None)
    sink = HashSink()
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), table.schema) as stream:
        stream.write_table(table)
    return sink.hash.hexdigest()[:DIGITS]


def without_nulls(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with -1 for nulls; the same one if there are none, which may be mapped from a file."""
    return pc.fill_null(column, NO_VALUE) if column.null_count else column


def without_common_folder(table: pa.Table) -> pa.Table:
    """The table with paths that begin below the folder that all of them share."""
    paths = table["path"].cast(pa.large_string())
    least, greatest = pc.min_max(paths).as_py().values()
    below = pc.utf8_slice_codeunits(paths, len(common_folder(least, greatest)))
    return table.set_column(table.column_names.index("path"), "path", below)


def common_folder(least: str | None, greatest: str | None) -> str:
    """The folder, with the slash at its end, that all paths share between these two in the alphabet."""
    first, last = ((end or "").split("/")[:-1] for end in (least, greatest))
    shared = takewhile(lambda folders: folders[0] == folders[1], zip(first, last, strict=False))
    return "".join(f"{folder}/" for folder, _ in shared)
