"""Numbers from Parquet files, whatever types their writers chose.

    parts, faults = read_numbers(files, {"timestamp": 1, "observation.state": 7})

Every type of number is read: pandas turns whole numbers into floats as soon as one of them is missing.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from jaxtyping import Bool, Float, Float64

from vjepa.data.array_files import check_table
from vjepa.errors import UserError, not_downloaded
from vjepa.robots.episodes import TrajectoryError

BATCH = 1_000_000
"""Rows that are converted at once: many small files take less time together, large ones less memory alone."""

Numbers = dict[str, Float[np.ndarray, "rows d"]]
Faults = dict[Path, str]
"""Why a file cannot be used, in a sentence that names it."""


def read_numbers(files: Iterable[Path], widths: Mapping[str, int]) -> tuple[list[Numbers], Faults]:
    """Columns by name, each with so many numbers in a row, of all files that have them. Missing ones are NaN.

    Single numbers are float64, since indices and times need the digits; vectors are float32.
    """
    faults: Faults = {}
    parts = []
    for names, table in _batches(files, list(widths), faults):
        try:
            parts.append({name: _vectors(table[name], width, name) for name, width in widths.items()})
        except TrajectoryError as error:
            faults |= {file: f"{file}: {error}" for file in names}
    return parts, faults


def _batches(
    files: Iterable[Path], columns: list[str], faults: Faults
) -> Iterator[tuple[list[Path], pa.Table]]:
    """Files one after the other, in one table as long as their types are the same."""
    names: list[Path] = []
    tables: list[pa.Table] = []
    rows = 0
    for file in files:
        try:
            table = _read_table(file, columns)
        except TrajectoryError as error:
            faults[file] = str(error)
            continue
        if tables and (rows > BATCH or table.schema != tables[0].schema):
            yield names, pa.concat_tables(tables)
            names, tables, rows = [], [], 0
        names.append(file)
        tables.append(table)
        rows += table.num_rows
    if tables:
        yield names, pa.concat_tables(tables)


def _read_table(file: Path, columns: list[str]) -> pa.Table:
    try:
        check_table(file)
        with pa.parquet.ParquetFile(file) as parquet:
            absent = [name for name in columns if name not in parquet.schema_arrow.names]
            if not absent:
                return parquet.read(columns).replace_schema_metadata(None)
    except UserError as error:
        raise TrajectoryError(str(error)) from error
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise TrajectoryError(f"{file}: {file_fault(file) or f'cannot be read: {error}'}") from error
    raise TrajectoryError(f"{file}: no column {absent[0]!r}; the dataset is not complete")


def file_fault(file: Path) -> str | None:
    """Why a file does not hold what its name says, seen from outside: None if it may be right."""
    try:
        size = file.stat().st_size
    except OSError:
        return "no such file"
    if size == 0:
        return "the file is empty"
    # A pointer is three short lines; larger files are not opened.
    return not_downloaded(file.read_bytes()) if size < 1024 else None


def is_whole(values: Float64[np.ndarray, "*n"], least: int = 0) -> Bool[np.ndarray, "*n"]:
    """Where there is a whole number that is not below `least`. NaN and infinity are none."""
    # Beyond 2^53 not every whole number has a floating-point one.
    return (values >= least) & (values < 2**53) & (np.floor(values) == values)


def _vectors(column: pa.ChunkedArray, width: int, name: str) -> Float[np.ndarray, "rows d"]:
    """A column of numbers or of lists of numbers; rows without the right number of them become NaN."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    rows = column.combine_chunks()
    right = _right_rows(rows, width)

    # Vectors are lists of a fixed size in some files and of any size in others; matrices are lists of lists.
    flat = rows if right.all() else rows.filter(pa.array(right))
    while _is_list(flat.type):
        flat = flat.flatten()
    if not _is_number(flat.type):
        raise TrajectoryError(f"column {name} holds {flat.type}, expected numbers")
    # A mistake in meta/info.json concerns all rows, and a broken row only itself.
    if len(flat) != width * right.sum() or (len(rows) and not right.any()):
        raise TrajectoryError(f"column {name} does not hold {width} numbers in a row, as meta/info.json says")

    kind = pa.float64() if width == 1 else pa.float32()
    numbers = flat.cast(kind, safe=False).to_numpy(zero_copy_only=False).reshape(-1, width)
    if right.all():
        return numbers
    vectors = np.full((len(rows), width), np.nan, numbers.dtype)
    vectors[right] = numbers
    return vectors


def _right_rows(rows: pa.Array, width: int) -> Bool[np.ndarray, " rows"]:
    """Which rows hold `width` numbers, as far as their outermost list tells."""
    if not _is_list(rows.type):
        return np.ones(len(rows), bool)  # a missing number becomes NaN by itself
    right = rows.is_valid()
    if not _is_list(rows.type.value_type):
        right = pc.fill_null(pc.equal(pc.list_value_length(rows), width), False)
    return right.to_numpy(zero_copy_only=False)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    """Whether it can be cast to a float; a column that is missing everywhere is of type null."""
    is_exact = pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_boolean(kind)
    return is_exact or pa.types.is_floating(kind) or pa.types.is_null(kind)
