"""Reads `meta/episodes` of a LeRobotDataset v3.0: which episodes there are, and where their data lies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from vjepa.robots.episodes import TrajectoryError, check_any_left
from vjepa.robots.left_out import LeftOut
from vjepa.robots.readers.lerobot_info import LeRobotInfo
from vjepa.robots.readers.parquet_numbers import file_fault, is_whole, read_numbers

PLACE = ("chunk_index", "file_index")
"""Columns that say in which file an episode's rows or images are."""
TIMES = ("from_timestamp", "to_timestamp")
"""Columns that say where in the video file its images are, in seconds."""


@dataclass(frozen=True)
class EpisodeTable:
    """Rows of `meta/episodes`, sorted by number: columns by name, with one value for each episode."""

    info: LeRobotInfo
    columns: dict[str, Float64[np.ndarray, " e"]]
    known: Float64[np.ndarray, " known"]
    """The numbers of all episodes in the files, also of those that are left out."""

    def __len__(self) -> int:
        return len(self.columns["episode_index"])

    @property
    def numbers(self) -> Int64[np.ndarray, " e"]:
        """The dataset's own number of each episode."""
        return self.columns["episode_index"].astype(np.int64)

    @property
    def length(self) -> Int64[np.ndarray, " e"]:
        """Rows that each episode should have."""
        return self.columns["length"].astype(np.int64)

    def name(self, episode: int) -> str:
        """What an episode is called in a sentence; its number may be the one that is missing."""
        return self.place(self.info.folder, episode)

    def place(self, file: Path, episode: int) -> str:
        """A file and the number of an episode in it, as a sentence begins."""
        return f"{file}, {self.episode(episode)}"

    def episode(self, episode: int) -> str:
        """Its number, as it is written."""
        return f"episode {self.columns['episode_index'][episode]:.12g}"

    def without(
        self, wrong: Bool[np.ndarray, " e"], say: Callable[[int], str], reasons: list[str]
    ) -> "EpisodeTable":
        """The other episodes; `reasons` gets a sentence of each wrong one. Raises if none is left."""
        if not wrong.any():
            return self
        new = list(dict.fromkeys(say(episode) for episode in np.flatnonzero(wrong).tolist()))
        check_any_left(self.info.folder, ~wrong, new)
        reasons += new
        return replace(self, columns={name: values[~wrong] for name, values in self.columns.items()})

    def with_whole(self, name: str, least: int, left_out: LeftOut) -> "EpisodeTable":
        """The episodes whose value in a column is a whole number that is not below `least`."""

        def say(episode: int) -> str:
            value = self.columns[name][episode]
            return f"{self.name(episode)}: {name} is {value:.12g} in meta/episodes, expected a whole number"

        return self.without(~is_whole(self.columns[name], least), say, left_out.bad)

    def with_files(self, camera: str, left_out: LeftOut) -> "EpisodeTable":
        """The episodes whose file of rows (no camera), or of one camera's images, is there."""
        prefix = f"videos/{camera}" if camera else "data"
        table = self
        for column in PLACE:
            table = table.with_whole(f"{prefix}/{column}", 0, left_out)
        files = table.files(camera)
        # Many episodes share a file, so each file is looked up once.
        faults = {file: file_fault(file) for file in dict.fromkeys(files)}

        def say(episode: int) -> str:
            return f"{table.place(files[episode], episode)}: {faults[files[episode]]}"

        absent = np.array([faults[file] is not None for file in files])
        return table.without(absent, say, left_out.missing)

    def files(self, camera: str = "") -> list[Path]:
        """The file of each episode's rows (no camera), or of one camera's images."""
        prefix = f"videos/{camera}" if camera else "data"
        chunks, numbers = (self.columns[f"{prefix}/{column}"].astype(np.int64).tolist() for column in PLACE)
        places = list(zip(chunks, numbers, strict=True))
        paths = {place: self.info.file(camera, *place) for place in set(places)}
        return [paths[place] for place in places]


def read_episode_table(info: LeRobotInfo, cameras: Sequence[str], left_out: LeftOut) -> EpisodeTable:
    """The table of episodes that have a number, a length and a file of rows. Raises TrajectoryError."""
    folder = info.folder / "meta/episodes"
    files = sorted(folder.glob("chunk-*/file-*.parquet"))
    if not files:
        raise TrajectoryError(f"{folder}: no chunk-*/file-*.parquet; the dataset is not complete")

    # Public datasets have up to 110 columns here, of which few are needed.
    names = ["episode_index", "length", *(f"data/{column}" for column in PLACE)]
    names += [f"videos/{camera}/{column}" for camera in cameras for column in (*PLACE, *TIMES)]
    parts, faults = read_numbers(files, dict.fromkeys(names, 1))
    left_out.notes += [f"{fault}; the episodes in it are left out" for fault in faults.values()]
    if not parts:
        raise TrajectoryError(next(iter(faults.values())))
    columns = {name: np.concatenate([part[name][:, 0] for part in parts]) for name in names}
    order = np.argsort(columns["episode_index"], kind="stable")
    table = EpisodeTable(
        info, {name: values[order] for name, values in columns.items()}, columns["episode_index"]
    )
    _check_count(table, left_out)
    return _without_doubles(table, left_out).with_whole("length", 1, left_out).with_files("", left_out)


def _check_count(table: EpisodeTable, left_out: LeftOut) -> None:
    """Note that episodes are missing from the table. Raises TrajectoryError if there is none."""
    info = table.info
    if not len(table):
        raise TrajectoryError(f"{info.folder}/meta/episodes: no episodes")
    if info.episodes > len(table):
        counts = f"counts {info.episodes} episodes, but meta/episodes has {len(table)}"
        left_out.notes.append(f"{info.folder}: meta/info.json {counts}")


def _without_doubles(table: EpisodeTable, left_out: LeftOut) -> EpisodeTable:
    table = table.with_whole("episode_index", 0, left_out)
    _, places, counts = np.unique(table.numbers, return_inverse=True, return_counts=True)
    return table.without(
        counts[places] > 1,
        lambda episode: f"{table.name(episode)}: several rows in meta/episodes",
        left_out.bad,
    )
