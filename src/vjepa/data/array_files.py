"""Arrays and tables that others may have written: nothing is read before it is known how much it is.

arrays = read_arrays(Path("episode.npz"), ["states", "extrinsics"])
table = read_table(Path("000000.parquet"))
"""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.lib import format as npy

from vjepa.errors import UserError, damage_as_error, require

USUAL_BYTES = 2**28
"""Bytes that an array may have however small its file is: 1,300 images of 256 x 256."""
MOST_TIMES = 100
"""Times that a larger array may be as large as its file. Images of a camera are compressed five times; what
is compressed a thousand times holds nothing."""

MOST_COUNTED = 2**24
"""Bytes of a file whose texts are counted, which takes half a second for a million rows."""

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
    check_expansion(what, max(unpacked, 8 * values), path.stat().st_size)
    if path.stat().st_size < MOST_COUNTED:
        check_expansion(what, text_bytes(path), path.stat().st_size)


def text_bytes(path: Path) -> int:
    """Bytes of all texts of a Parquet file, in which one that many rows share may lie once."""
    with pq.ParquetFile(path) as file:
        columns = map(file.schema.column, range(len(file.schema)))
        texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    # As dictionaries, so that it is in memory once, too.
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        batches = file.iter_batches(columns=texts) if texts else ()
        return sum(text_bytes_in(column) for batch in batches for column in batch.columns)


def text_bytes_in(column: pa.Array) -> int:
    """Bytes of the texts of a column, in lists and structures too, each as often as it is named."""
    if pa.types.is_dictionary(column.type):
        return pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0
    if not pa.types.is_nested(column.type):
        return 0
    if pa.types.is_map(column.type):  # a list of pairs, which Arrow cannot flatten
        pair = pa.struct({"key": column.type.key_type, "value": column.type.item_type})
        column = column.cast(pa.list_(pair))
    parts = column.flatten()
    return sum(map(text_bytes_in, [parts] if isinstance(parts, pa.Array) else parts))


def check_expansion(what: str, in_memory: int, in_file: int) -> None:
    """Raise UserError where a small file would fill the memory."""
    sentence = f"{what} would take {in_memory:,} bytes of memory, and its file has {in_file:,}; it is damaged"
    require(in_memory <= max(USUAL_BYTES, MOST_TIMES * in_file), sentence)
