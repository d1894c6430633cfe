"""Reads the Parquet tables of a LeRobotDataset v3.0: one row per episode, and one row per frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from vjepa.robots.episodes import TrajectoryError
from vjepa.robots.readers.lerobot_info import LeRobotInfo

VIDEO_COLUMNS = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")


@dataclass(frozen=True)
class EpisodeTable:
    """`meta/episodes`, sorted by the episodes' numbers: columns by name, with one value for each episode."""

    columns: dict[str, np.ndarray]

    @property
    def numbers(self) -> Int64[np.ndarray, " e"]:
        """The dataset's own number of each episode."""
        return self.columns["episode_index"]

    @property
    def length(self) -> Int64[np.ndarray, " e"]:
        """Rows that each episode should have."""
        return self.columns["length"]

    def row_files(self, info: LeRobotInfo) -> list[Path]:
        """The file of each episode's rows. Raises TrajectoryError if one is missing."""
        return self._files(info, info.data_path, "data", "")

    def video_files(self, info: LeRobotInfo, camera: str) -> list[Path]:
        """The file of each episode's images. Raises TrajectoryError if one is missing."""
        return self._files(info, info.video_path, f"videos/{camera}", camera)

    def _files(self, info: LeRobotInfo, template: str, prefix: str, camera: str) -> list[Path]:
        chunks = self.columns[f"{prefix}/chunk_index"].tolist()
        files = self.columns[f"{prefix}/file_index"].tolist()
        places = list(zip(chunks, files, strict=True))
        # Many episodes share a file, so each file is looked up once.
        paths = {
            (chunk, file): info.folder / template.format(video_key=camera, chunk_index=chunk, file_index=file)
            for chunk, file in set(places)
        }
        for path in sorted(paths.values()):
            if not path.is_file():
                raise TrajectoryError(
                    f"{path}: no such file, but episodes of {info.folder} are said to be in it"
                )
        return [paths[place] for place in places]


def read_episode_table(info: LeRobotInfo, cameras: Sequence[str]) -> EpisodeTable:
    """The table of episodes, with the places of their rows and images. Raises TrajectoryError."""
    folder = info.folder / "meta/episodes"
    files = sorted(folder.glob("chunk-*/file-*.parquet"))
    if not files:
        raise TrajectoryError(f"{folder}: no chunk-*/file-*.parquet; the dataset is not complete")

    # Public datasets have up to 110 columns here, of which few are needed.
    names = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    names += [f"videos/{camera}/{column}" for camera in cameras for column in VIDEO_COLUMNS]
    table = _read_tables(info, files, names).sort_by("episode_index")
    episodes = EpisodeTable({name: table[name].to_numpy() for name in names})
    _check_episodes(folder, episodes)
    return episodes


def _check_episodes(folder: Path, episodes: EpisodeTable) -> None:
    numbers, counts = np.unique(episodes.numbers, return_counts=True)
    if not len(numbers):
        raise TrajectoryError(f"{folder}: no episodes")
    repeated = numbers[counts > 1]
    empty = episodes.numbers[episodes.length < 1]
    for what, wrong in (("several rows", repeated), ("no frames", empty)):
        if wrong.size:
            raise TrajectoryError(f"{folder}: episode {wrong[0]} has {what}; remove or repair it")


class RowTable(NamedTuple):
    """The rows of all episodes, sorted by episode and frame."""

    first: Int64[np.ndarray, " e"]
    """The row with which each episode begins."""
    times: Float64[np.ndarray, " rows"]
    """Seconds since the episode's first row."""
    values: dict[str, Float32[Tensor, "rows d"]]
    """Columns by name."""


def read_row_table(
    info: LeRobotInfo, episodes: EpisodeTable, row_files: list[Path], columns: Sequence[str]
) -> RowTable:
    """All rows of all episodes. Raises TrajectoryError if an episode has not as many as it should."""
    # A column may be wanted twice, for example as a part of the state and as the action.
    names = dict.fromkeys(["episode_index", "frame_index", "timestamp", *columns])
    table = _read_tables(info, list(dict.fromkeys(row_files)), list(names))

    # Which file holds an episode says nothing about its number, so the rows are sorted.
    episode = table["episode_index"].to_numpy()
    order = np.lexsort((table["frame_index"].to_numpy(), episode))
    # An episode without rows has first == end, and its length is found to be wrong.
    first = np.searchsorted(episode[order], episodes.numbers)
    end = np.searchsorted(episode[order], episodes.numbers, side="right")
    _check_lengths(episodes, row_files, end - first)

    # Stored in float32, but sums with the place in a long video file need more digits.
    times = table["timestamp"].to_numpy().astype(np.float64)[order]
    values = {name: torch.from_numpy(_vectors(info, table[name], name)[order]) for name in columns}
    return RowTable(first, times, values)


def _check_lengths(episodes: EpisodeTable, row_files: list[Path], length: Int64[np.ndarray, " e"]) -> None:
    wrong = np.flatnonzero(length != episodes.length)
    if wrong.size:
        episode = int(wrong[0])
        raise TrajectoryError(
            f"{row_files[episode]}, episode {episodes.numbers[episode]}: {length[episode]} rows, "
            f"but meta/episodes says {episodes.length[episode]}; the dataset is not complete"
        )


def _vectors(info: LeRobotInfo, column: pa.ChunkedArray, name: str) -> Float32[np.ndarray, "rows d"]:
    """A column of numbers or of lists of numbers; what is missing becomes NaN."""
    width = info.width(name)
    flat = column.combine_chunks()
    # Vectors are lists of a fixed size in some files and of any size in others; matrices are lists of lists.
    while pa.types.is_nested(flat.type):
        flat = flat.flatten()
    if len(flat) != width * len(column):
        raise TrajectoryError(
            f"{info.folder}, column {name}: {len(flat)} numbers in {len(column)} rows contradict the shape "
            f"{info.features[name]['shape']} in meta/info.json"
        )
    # A copy, because nulls are to become NaN; `check_rows` refuses them later, with their episode.
    return flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), width)


def _read_tables(info: LeRobotInfo, files: Sequence[Path], names: list[str]) -> pa.Table:
    """Some columns of several files, one file after the other. Raises TrajectoryError."""
    tables = [_read_table(file, names) for file in files]
    try:
        return pa.concat_tables(tables)
    except pa.ArrowException as error:
        raise TrajectoryError(
            f"{info.folder}: its Parquet files do not hold the same kinds of columns: {error}"
        ) from error


def _read_table(file: Path, names: list[str]) -> pa.Table:
    try:
        with pa.parquet.ParquetFile(file) as parquet:
            missing = [name for name in names if name not in parquet.schema_arrow.names]
            if not missing:
                return parquet.read(names)
    except (OSError, pa.ArrowException) as error:
        raise TrajectoryError(f"{file}: cannot be read: {error}") from error
    raise TrajectoryError(
        f"{file}: no column {missing[0]!r}, though meta/info.json promises it; the dataset is not complete"
    )
