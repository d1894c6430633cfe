"""Arrays and tables that others may have written: nothing is read before it is known how much it is.

arrays = read_arrays(Path("episode.npz"), ["states", "extrinsics"])
table = read_table(Path("000000.parquet"))
"""

import math
import zipfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.lib import format as npy

from vjepa.data.row_errors import RowError
from vjepa.errors import UserError, damage_as_error, require

USUAL_BYTES = 2**28
"""Bytes that an array may have however small its file is: 1,300 images of 256 x 256."""
MOST_TIMES = 100
"""Times that a larger array may be as large as its file. Images of a camera are compressed five times; what
is compressed a thousand times holds nothing."""

MOST_COUNTED = 2**24
"""Bytes of a file whose texts are always counted, which takes half a second for a million rows."""
MOST_GROUPS = 1000
"""Groups of rows whose dictionaries are looked at. The texts of a table of more, small ones, are counted."""
PREFIXED = "DELTA_BYTE_ARRAY"
"""An encoding of texts by what each shares with the one before it."""
FEW_ROWS = 64
"""Rows of such texts that are in memory at once while they are counted: each may be long."""

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_arrays(path: Path, names: Sequence[str], advice: str = "make it again") -> dict[str, np.ndarray]:
    """The arrays of these names, which hold numbers.

    Raises UserError for a file that lacks one, is damaged, or holds other things, and OSError if it cannot be
    opened."""
    with damage_as_error(path, UserError, advice), zipfile.ZipFile(path) as file:
        missing = [name for name in names if f"{name}.npy" not in file.namelist()]
        held = [name.removesuffix(".npy") for name in file.namelist()]
        require(not missing, f"it holds {held[:20]}; expected {' and '.join(names)}")
        return {name: read_array(file, name, path.stat().st_size) for name in names}


def read_array(file: zipfile.ZipFile, name: str, size: int) -> np.ndarray:
    """One array of an open file of `size` bytes. Raises UserError if it is no array of numbers."""
    with file.open(f"{name}.npy") as member:
        version = npy.read_magic(member)
        require(version in HEADERS, f"{name} is an array of an unknown version {version}")
        shape, _, kind = HEADERS[version](member)
    require(kind.kind in "biuf" and kind.itemsize <= 8, f"{name} holds {kind}, expected numbers")
    count = math.prod(shape) * kind.itemsize
    require(min((0, *shape)) >= 0, f"{name} has the shape {shape}")
    check_expansion(f"{name} of {shape}", count, size)
    with file.open(f"{name}.npy") as member:
        array = npy.read_array(member, allow_pickle=False)
    return array.astype(kind.newbyteorder("="), copy=False)  # PyTorch has one order of bytes


def read_table(path: Path) -> pa.Table:
    """A Parquet file whose size is checked (`check_table`). Raises UserError, or errors of pyarrow."""
    check_table(path)
    return pq.read_table(path)


def check_table(path: Path) -> None:
    """Raise UserError for a Parquet file that holds far more numbers or texts than its size can mean.

    Raises errors of pyarrow for other files."""
    facts = pq.read_metadata(path)
    # What pyarrow says of a single column of a damaged file ends the process (pyarrow 26).
    unpacked = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
    lists = [kind.list_size for kind in pq.read_schema(path).types if pa.types.is_fixed_size_list(kind)]
    values = facts.num_rows * (facts.num_columns - len(lists) + sum(lists))
    what = f"{path}: the table of {facts.num_rows:,} rows"
    size = path.stat().st_size
    check_expansion(what, max(unpacked, 8 * values), size)
    if size < MOST_COUNTED or most_text_bytes(path) + unpacked > most_bytes(size):
        check_expansion(what, text_bytes(path), size)


def text_bytes(path: Path) -> int:
    """Bytes of all texts of a Parquet file, in which one that many rows share may lie once."""
    texts, prefixed = text_columns(path)
    # As dictionaries, so that it is in memory once, too.
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        batches = [file.iter_batches(columns=texts)] if texts else []
        batches += [file.iter_batches(FEW_ROWS, columns=prefixed)] if prefixed else []
        return sum(text_bytes_in(column) for batch in chain(*batches) for column in batch.columns)


def most_text_bytes(path: Path) -> int | float:
    """Bytes that the texts cannot exceed, beside those that lie in the file; infinite where nothing tells.

    That takes a moment for any number of rows: only the dictionaries of each group of rows are read."""
    texts, prefixed = text_columns(path)
    nested = any("." in name for name in texts)  # a row may have any number of them
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        if prefixed or nested or file.num_row_groups > MOST_GROUPS:
            return math.inf
        return sum(most_in_group(file, group, texts) for group in range(file.num_row_groups)) if texts else 0


def most_in_group(file: pq.ParquetFile, group: int, texts: Sequence[str]) -> int:
    """The same of one group: no text of a dictionary is longer than its longest."""
    # The first row of a column brings its whole dictionary.
    first = next(file.iter_batches(1, [group], texts), None)
    columns = first.columns if first else ()
    longest = (pc.max(pc.binary_length(column.dictionary)).as_py() or 0 for column in columns)
    return file.metadata.row_group(group).num_rows * sum(longest)


def text_columns(path: Path) -> tuple[list[str], list[str]]:
    """The columns of texts and bytes, those in lists too: which Arrow reads as dictionaries, which it cannot.

    The latter keep only where a text differs from the one before it."""
    with pq.ParquetFile(path) as file:
        columns = {i: file.schema.column(i) for i in range(len(file.schema))}
        texts = {i: column.path for i, column in columns.items() if column.physical_type == "BYTE_ARRAY"}
        groups = range(min(1, file.num_row_groups))
        if not texts or not next(file.iter_batches(1, groups, [*texts.values()]), None):
            return [*texts.values()], []
        # What could be read can also be asked about, without an end of the process.
        facts = file.metadata.row_group(0)
        prefixed = [name for i, name in texts.items() if PREFIXED in facts.column(i).encodings]
    return [name for name in texts.values() if name not in prefixed], prefixed


def text_bytes_in(column: pa.Array) -> int:
    """Bytes of the texts of a column, in lists and structures too, each as often as it is named."""
    if pa.types.is_dictionary(column.type):
        return pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0
    if not pa.types.is_nested(column.type):
        return pc.sum(pc.binary_length(column)).as_py() or 0 if is_text(column.type) else 0
    if pa.types.is_map(column.type):  # a list of pairs, which Arrow cannot flatten
        pair = pa.struct({"key": column.type.key_type, "value": column.type.item_type})
        column = column.cast(pa.list_(pair))
    parts = column.flatten()
    return sum(map(text_bytes_in, [parts] if isinstance(parts, pa.Array) else parts))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds texts or bytes of any length."""
    short = pa.types.is_string(kind) or pa.types.is_binary(kind)
    return short or pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)


def check_utf8(source: Path, table: pa.Table, names: Sequence[str]) -> None:
    """Raise RowError for a text of these columns that is no UTF-8, which Arrow finds only when it is read."""
    for name in names:
        if name not in table.column_names or pa.types.is_nested(table[name].type):
            continue
        column = table[name]
        if not is_utf8(column):
            row = next(i for i in range(len(column)) if not is_utf8(column[i : i + 1]))
            raise RowError(source, row, f"{name} is not UTF-8; write it anew")


def is_utf8(column: pa.ChunkedArray) -> bool:
    try:
        column.cast(pa.large_string()).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def check_expansion(what: str, in_memory: int, in_file: int) -> None:
    """Raise UserError where a small file would fill the memory."""
    sentence = f"{what} would take {in_memory:,} bytes of memory, and its file has {in_file:,}; it is damaged"
    require(in_memory <= most_bytes(in_file), sentence)


def most_bytes(in_file: int) -> int:
    """Bytes of memory that a file of so many bytes may take."""
    return max(USUAL_BYTES, MOST_TIMES * in_file)
