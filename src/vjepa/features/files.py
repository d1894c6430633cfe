"""Features in files: shards of clips as Parquet or safetensors, each there completely or not at all.

Every shard has the columns row, path, label, start (seconds; empty for the middle clip) and its features. In Parquet they
are a flat list beside `shape`; in safetensors one tensor `features`, and the columns are JSON in the metadata.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from jaxtyping import Float
from safetensors import safe_open
from safetensors.numpy import save_file

from vjepa.data.manifest import Manifest
from vjepa.data.windows import Window
from vjepa.errors import require

Format = Literal["parquet", "safetensors"]


@dataclass(frozen=True)
class Shard:
    """One file: its number and its windows."""

    number: int
    windows: Sequence[Window]

    def file(self, out: Path, format: Format) -> Path:
        return out / f"{self.number:06d}.{format}"


class Features(NamedTuple):
    """All clips of a folder, in order."""

    values: Float[np.ndarray, "b *shape"]
    columns: dict[str, list]
    """row, path, label (-1: none), start."""


NOTE = "features.json"
"""Says what the folder holds, and of how many shards it consists."""


def write_note(out: Path, note: dict) -> None:
    """There completely or not at all."""
    temporary = out / f".{NOTE}.{os.getpid()}"
    temporary.write_text(json.dumps(note, indent=1))
    temporary.replace(out / NOTE)


def described(out: str | Path) -> dict:
    """The note of a folder. Raises UserError if it is no folder of features."""
    file = Path(out) / NOTE
    require(file.exists(), f"{out} holds no features; write some with `python -m vjepa features`")
    return json.loads(file.read_text())


def finished(out: Path, shard: Shard, format: Format) -> bool:
    return shard.file(out, format).exists()


def write_shard(
    out: Path, shard: Shard, manifest: Manifest, found: Iterable[tuple[int, np.ndarray | str]], format: Format
) -> list[str]:
    """Write the features (place in the shard, values) and return the reasons of those that have none."""
    found = sorted(found, key=lambda pair: pair[0])
    good = [(place, value) for place, value in found if not isinstance(value, str)]
    columns = columns_of(manifest, [shard.windows[place] for place, _ in good])
    path = shard.file(out, format)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    writer = write_parquet if format == "parquet" else write_safetensors
    writer(temporary, columns, [value for _, value in good])
    temporary.replace(path)
    return [value for _, value in found if isinstance(value, str)]


def columns_of(manifest: Manifest, windows: Sequence[Window]) -> dict[str, list]:
    rows = [window.row for window in windows]
    return {
        "row": rows,
        "path": [str(manifest.table["path"][i]) for i in rows],
        "label": [int(manifest.labels[i]) for i in rows],
        "start": [window.start for window in windows],
    }


def write_parquet(path: Path, columns: dict[str, list], values: list[np.ndarray]) -> None:
    kind = pa.from_numpy_dtype(values[0].dtype) if values else pa.float32()
    flat = pa.array([value.ravel() for value in values], pa.list_(kind))
    shape = pa.array([value.shape for value in values], pa.list_(pa.int64()))
    types = {"row": pa.int64(), "path": pa.string(), "label": pa.int64(), "start": pa.float64()}
    table = {name: pa.array(column, types[name]) for name, column in columns.items()}
    pa.parquet.write_table(pa.table(table | {"shape": shape, "features": flat}), path)


def write_safetensors(path: Path, columns: dict[str, list], values: list[np.ndarray]) -> None:
    stacked = np.stack(values) if values else np.empty((0, 0), np.float32)
    save_file({"features": stacked}, path, metadata={"columns": json.dumps(columns)})


def read_features(out: str | Path) -> Features:
    """Every clip that a folder of features holds. Raises UserError if it is not finished, or holds none."""
    note = described(out)
    files = [Shard(number, ()).file(Path(out), note["format"]) for number in range(note.get("shards", 0))]
    missing = [file.name for file in files if not file.exists()]
    sentence = f"{out} is not finished: {len(missing)} of {len(files)} files are missing; run the command that began it again"
    require(bool(files) and not missing, sentence)
    parts = [part for part in map(read_shard, files) if len(part.values)]
    require(bool(parts), f"{out} holds no clip: none could be decoded")
    columns = {name: [value for part in parts for value in part.columns[name]] for name in parts[0].columns}
    return Features(np.concatenate([part.values for part in parts]), columns)


def read_shard(file: Path) -> Features:
    return read_parquet(file) if file.suffix == ".parquet" else read_safetensors(file)


def is_empty(file: Path) -> bool:
    """Whether a shard holds no clip; looks at its header alone."""
    if file.suffix == ".parquet":
        return pa.parquet.read_metadata(file).num_rows == 0
    with safe_open(file, framework="numpy") as tensors:
        return tensors.get_slice("features").get_shape()[0] == 0


def read_parquet(path: Path) -> Features:
    table = pa.parquet.read_table(path)
    columns = {name: table[name].to_pylist() for name in ("row", "path", "label", "start")}
    if not table.num_rows:
        return Features(np.empty((0, 0), np.float32), columns)
    flat = table["features"].combine_chunks().values.to_numpy(zero_copy_only=False)
    return Features(flat.reshape(table.num_rows, *table["shape"][0].as_py()), columns)


def read_safetensors(path: Path) -> Features:
    with safe_open(path, framework="numpy") as file:
        return Features(file.get_tensor("features"), json.loads(file.metadata()["columns"]))
