"""Files of numbers that others may have written: nothing is read before it is known how much it is.

arrays = read_arrays(Path("episode.npz"), ["states", "extrinsics"])
check_table(Path("000000.parquet"))
"""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy

from vjepa.errors import UserError, damage_as_error, require

USUAL_BYTES = 2**28
"""Bytes that an array may have however small its file is: 1,300 images of 256 x 256."""
MOST_TIMES = 100
"""Times that a larger array may be as large as its file. Images of a camera are compressed five times; what
is compressed a thousand times holds nothing."""

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


def check_table(path: Path) -> None:
    """Raise UserError for a Parquet file that holds far more numbers than its size can mean.

    Raises errors of pyarrow for other files."""
    facts = pq.read_metadata(path)
    # What pyarrow says of a single column of a damaged file ends the process (pyarrow 26).
    unpacked = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
    lists = [kind.list_size for kind in pq.read_schema(path).types if pa.types.is_fixed_size_list(kind)]
    values = facts.num_rows * (facts.num_columns - len(lists) + sum(lists))
    what = f"{path}: the table of {facts.num_rows:,} rows"
    check_expansion(what, max(unpacked, 8 * values), path.stat().st_size)


def check_expansion(what: str, in_memory: int, in_file: int) -> None:
    """Raise UserError where a small file would fill the memory."""
    sentence = f"{what} would take {in_memory:,} bytes of memory, and its file has {in_file:,}; it is damaged"
    require(in_memory <= max(USUAL_BYTES, MOST_TIMES * in_file), sentence)
