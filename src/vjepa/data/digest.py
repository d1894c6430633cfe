"""Digests of training data: the first twelve hexadecimal digits of a SHA-256.

Two exports with equal digests were trained on the same rows. The content of videos is not read, which would
take as long as an epoch.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ROW_COLUMNS = ("path", "label", "start", "end")
"""The columns of a manifest that decide which clips there are."""
DIGITS = 12


def table_digest(table: pa.Table) -> str:
    """The digest of a manifest's rows, or of all columns of another table. Paths count as written."""
    if set(ROW_COLUMNS) <= set(table.column_names):
        # Of one type whatever the file's format, and without nulls, whose bytes may be anything.
        columns = [pc.fill_null(table[name], -1) for name in ("label", "start", "end")]
        table = pa.table([table["path"].cast(pa.large_string()), *columns], names=ROW_COLUMNS)
    # In one piece and without notes, because neither changes a row.
    table = table.combine_chunks().replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()[:DIGITS]


def array_digest(*arrays: np.ndarray) -> str:
    """The digest of the numbers of several arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:DIGITS]


def file_digest(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


def joint_digest(digests: Iterable[str]) -> str:
    """One digest for several sources: for a single one, its own."""
    first, *others = digests
    return hashlib.sha256(" ".join([first, *others]).encode()).hexdigest()[:DIGITS] if others else first
