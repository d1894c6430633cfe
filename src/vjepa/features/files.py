"""A folder of features: Parquet files of some clips each (shards), and a note on what the folder holds.

    features = read_features("features")
    features.values[7], features.columns["path"][7]

A file has one row for each clip, with the columns row, path, label, start (seconds; empty for the middle
clip), shape, and features, a flat list of numbers. Files appear complete or not at all. Folders of
safetensors files, which older versions could write, are still read.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from jaxtyping import Float
from safetensors import safe_open

from vjepa.data.array_files import read_table
from vjepa.data.manifest import Manifest
from vjepa.data.windows import Window
from vjepa.errors import damage_as_error, require

FORMAT = "parquet"
MOST_SHARDS = 10**6
"""Files of a folder, by the six digits of their names."""
NOTE = "features.json"
"""The note's name. It holds the settings, the digests of the sources, and the number of shards."""
TYPES = {"row": pa.int64(), "path": pa.string(), "label": pa.int64(), "start": pa.float64()}
"""The columns that describe a clip."""


@dataclass(frozen=True)
class Shard:
    """One file: its number and its windows."""

    number: int
    windows: Sequence[Window]

    def file(self, out: Path, format: str = FORMAT) -> Path:
        return out / shard_name(self.number, format)


def shard_name(number: int, format: str) -> str:
    return f"{number:06d}.{format}"


class Features(NamedTuple):
    """All clips of a folder, in the order of the manifest."""

    values: Float[np.ndarray, "b *shape"]
    columns: dict[str, list]
    """row, path, label (-1: none), start."""


def write_note(out: Path, note: dict) -> None:
    """Write the note, and make the folder if it does not exist."""
    out.mkdir(parents=True, exist_ok=True)
    # A file that is moved into place is never seen half written, not even by another process.
    temporary = out / f".{NOTE}.{os.getpid()}"
    temporary.write_text(json.dumps(note, indent=1))
    temporary.replace(out / NOTE)


def read_note(out: str | Path) -> dict:
    """The note of a folder. Raises UserError if the folder holds no features."""
    file = Path(out) / NOTE
    require(file.exists(), f"{out} holds no features; write some with `vjepa features`")
    try:
        note = json.loads(file.read_text())
    except (ValueError, RecursionError):
        note = None
    known = isinstance(note, dict) and note.get("format") in (FORMAT, "safetensors")
    shards = note.get("shards", 0) if known else None
    complete = type(shards) is int and 0 <= shards < MOST_SHARDS
    require(complete, f"{file} is damaged; write the features into a new folder")
    return note


def write_shard(
    out: Path, shard: Shard, manifest: Manifest, features: Iterable[tuple[int, np.ndarray | str]]
) -> list[str]:
    """Write the features of a shard's clips, and return why the other clips have none.

    `features` yields a clip's place in the shard with its values or the reason, in any order.
    """
    # Clips that could not be decoded come before the others of their batch.
    ordered = sorted(features, key=lambda pair: pair[0])
    good = [(place, values) for place, values in ordered if not isinstance(values, str)]
    columns = columns_of(manifest, [shard.windows[place] for place, _ in good])
    path = shard.file(out)
    # The process number keeps apart processes that write the same shard by mistake.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write_parquet(temporary, columns, [values for _, values in good])
    temporary.replace(path)
    return [reason for _, reason in ordered if isinstance(reason, str)]


def columns_of(manifest: Manifest, windows: Sequence[Window]) -> dict[str, list]:
    """The columns that describe the clips of these windows."""
    rows = [window.row for window in windows]
    return {
        "row": rows,
        "path": [str(manifest.table["path"][row]) for row in rows],
        "label": [int(manifest.labels[row]) for row in rows],
        "start": [window.start for window in windows],
    }


def write_parquet(path: Path, columns: dict[str, list], values: list[np.ndarray]) -> None:
    """Write one row for each clip: its columns, and its values with their shape."""
    # Without clips the type of the numbers is unknown; an empty column of any type can be read.
    number = pa.from_numpy_dtype(values[0].dtype) if values else pa.float32()
    table = {name: pa.array(column, TYPES[name]) for name, column in columns.items()}
    # Parquet has no arrays of several axes, so values are flat and their shape stands beside them.
    table["shape"] = pa.array([value.shape for value in values], pa.list_(pa.int64()))
    table["features"] = pa.array([value.ravel() for value in values], pa.list_(number))
    pa.parquet.write_table(pa.table(table), path)


def read_features(out: str | Path) -> Features:
    """Every clip of a folder. Raises UserError if the folder is not finished, or if it holds no clip."""
    shards = [shard for shard in map(read_shard, complete_files(Path(out))) if len(shard.values)]
    require(bool(shards), f"{out} holds no clip: none could be decoded")
    values = np.concatenate([shard.values for shard in shards])
    columns = {name: [value for shard in shards for value in shard.columns[name]] for name in TYPES}
    return Features(values, columns)


def complete_files(out: Path) -> list[Path]:
    """The files of all shards. Raises UserError if one is missing."""
    note = read_note(out)
    format = note["format"]
    names = [shard_name(number, format) for number in range(note.get("shards", 0))]
    missing = set(names) - set(os.listdir(out))
    # Older formats can be read, but not continued.
    remedy = "run the command that began it again"
    if format != FORMAT:
        remedy = f"{format} files are no longer written, so extract the features into another folder"
    sentence = f"{out} is not finished: {len(missing)} of {len(names)} files are missing; {remedy}"
    require(bool(names) and not missing, sentence)
    return [out / name for name in names]


def read_shard(file: Path) -> Features:
    with damage_as_error(file, advice="delete it and write it again"):
        shard = read_parquet(file) if file.suffix == ".parquet" else read_safetensors(file)
        lengths = {len(shard.columns[name]) for name in TYPES}
        require(lengths == {len(shard.values)}, f"{file}: its columns are not as long as each other")
        require(shard.values.dtype.kind == "f", f"{file}: its features are no numbers")
        return shard


def is_empty(file: Path) -> bool:
    """Whether a Parquet shard holds no clip; only its header is read."""
    return pa.parquet.read_metadata(file).num_rows == 0


def read_parquet(path: Path) -> Features:
    table = read_table(path)
    columns = {name: table[name].to_pylist() for name in TYPES}
    if not table.num_rows:
        return Features(np.empty((0, 0), np.float32), columns)
    # The numbers of all rows are one buffer, so nothing is converted row by row.
    flat = table["features"].combine_chunks().values.to_numpy(zero_copy_only=False)
    shape = table["shape"][0].as_py()  # all clips of a folder have the same
    return Features(flat.reshape(table.num_rows, *shape), columns)


def read_safetensors(path: Path) -> Features:
    """The old format: one tensor `features`; the columns are JSON in the metadata."""
    with safe_open(path, framework="numpy") as file:
        return Features(file.get_tensor("features"), json.loads(file.metadata()["columns"]))
