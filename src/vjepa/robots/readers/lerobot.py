"""LeRobotDataset v3.0 folders, read with pyarrow and PyAV alone: states in memory, pictures on demand.

    data = load_lerobot("data/robot/train")
    frames = data.frames(episode=7, camera="observation.images.front", rows=[0, 4, 8])

Everything but the pictures is read and checked when the folder is loaded: a mistake in the data is one sentence then, and
not a strange loss curve later. Several episodes share an MP4 file, so the time of a picture is its row's time stamp from
the start of the episode plus the episode's own start within the file. The format: `meta/info.json` says where all else is.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from vjepa.data.decode import decode_frames
from vjepa.robots.episodes import Columns, Footage, TrajectoryError
from vjepa.robots.schema import END_EFFECTOR, FULL_TURN, StateSchema

CONVERTER = "lerobot's convert_dataset_v21_to_v30"


class LeRobot:
    """One dataset. Rows of all episodes lie one after the other, in the order of time.

    folder, fps    where it is; rows per second
    schema         what the states are
    cameras        names of the cameras in use
    states         one per row, float32
    actions        one per row under `schema.delta: recorded`, else None
    extrinsics     per camera, one per row; empty if no column is named
    times          seconds since the episode's first row
    numbers        the dataset's own number of each episode
    first, length  rows of each episode
    broken         {episode: why} for those whose pictures are fewer than their rows
    """

    def __init__(self, folder: Path, schema: StateSchema, columns: Columns, cameras: Sequence[str]) -> None:
        self.folder, self.schema, self.columns = folder, schema, columns
        self.info = _read_info(folder)
        self.fps = float(self.info["fps"])
        self.cameras = self._chosen_cameras(cameras)
        self._check_features()
        self._read_episodes()
        self._read_rows()
        self._check_rows()

    def __len__(self) -> int:
        """Episodes."""
        return len(self.numbers)

    def rows(self, episode: int) -> slice:
        """Where the rows of an episode are in `states` and `times`; episodes are counted from 0."""
        return slice(int(self.first[episode]), int(self.first[episode] + self.length[episode]))

    def frames(
        self, episode: int, camera: str, rows: Sequence[int] | Int64[np.ndarray, " t"]
    ) -> UInt8[Tensor, "t h w c"]:
        """Pictures of some rows of an episode, counted from its first. Raises DecodeError."""
        files, starts = self.footage[camera]
        # Half a frame later: in the middle of the time for which a picture is on screen, no rounding can miss it.
        times = starts[episode] + self.times[self.rows(episode)][np.asarray(rows)] + 0.5 / self.fps
        return torch.from_numpy(decode_frames(files[episode], times))

    def name(self, episode: int) -> str:
        """What to call an episode in a sentence."""
        return f"{self.folder}, episode {self.numbers[episode]}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tables and of the names and sizes of the videos: changes when the data does."""
        digest = hashlib.sha256()
        for file in sorted(
            file for kind in ("meta", "data", "videos") for file in (self.folder / kind).rglob("*.*")
        ):
            if not file.is_file():
                continue  # folders have dots in their names
            digest.update(f"{file.relative_to(self.folder).as_posix()} {file.stat().st_size}\n".encode())
            digest.update(b"" if file.suffix == ".mp4" else file.read_bytes())
        return digest.hexdigest()

    # What the folder promises

    def _chosen_cameras(self, wanted: Sequence[str]) -> tuple[str, ...]:
        features = self.info["features"]
        video = [
            key for key, feature in features.items() if feature["dtype"] == "video" and not _is_depth(feature)
        ]
        for camera in wanted:
            if camera not in video:
                kind = (
                    f"its dtype is {features[camera]['dtype']}" if camera in features else "it is not there"
                )
                raise TrajectoryError(
                    f"{self.folder}: camera {camera!r} cannot be used, {kind}; there are {video}"
                )
        if not video:
            raise TrajectoryError(
                f"{self.folder}: no feature of dtype video; pictures inside Parquet files are not read"
            )
        return tuple(wanted) or tuple(video)

    def _check_features(self) -> None:
        shapes = {name: feature["shape"] for name, feature in self.info["features"].items()}
        for name in self._wanted_columns():
            if name not in shapes:
                raise TrajectoryError(f"{self.folder}: no column {name!r}; there are {sorted(shapes)}")
        self._check_width(shapes, self.columns.state, self.schema.state_dims, "state")
        if self.schema.delta == "recorded":
            self._check_width(shapes, (self.columns.action,), self.schema.action_dims, "action")

    def _check_width(self, shapes: dict, columns: Sequence[str], expected: int, what: str) -> None:
        width = sum(int(np.prod(shapes[name])) for name in columns)
        if width != expected:
            raise TrajectoryError(
                f"{self.folder}: column {' + '.join(columns)} holds {width} numbers, but the schema's {what} has {expected}; "
                f"name other columns or another schema"
            )

    def _wanted_columns(self) -> list[str]:
        actions = [self.columns.action] if self.schema.delta == "recorded" else []
        return [*self.columns.state, *actions, *self._extrinsics_columns().values()]

    def _extrinsics_columns(self) -> dict[str, str]:
        pattern = self.columns.extrinsics
        return {
            camera: pattern.replace("{camera}", camera.split(".")[-1]) for camera in self.cameras if pattern
        }

    # The tables

    def _read_episodes(self) -> None:
        """Which episodes there are, where their rows and pictures are: of up to 110 columns, only those that are needed."""
        where = [
            f"videos/{camera}/{part}" for camera in self.cameras for part in ("chunk_index", "file_index")
        ]
        when = [
            f"videos/{camera}/{part}"
            for camera in self.cameras
            for part in ("from_timestamp", "to_timestamp")
        ]
        names = ["episode_index", "length", "data/chunk_index", "data/file_index", *where, *when]
        files = sorted((self.folder / "meta/episodes").glob("chunk-*/file-*.parquet"))
        if not files:
            raise TrajectoryError(
                f"{self.folder}/meta/episodes: no chunk-*/file-*.parquet; the dataset is not complete"
            )
        table = self._joined([_read_table(file, names) for file in files]).sort_by("episode_index")
        column = {name: table[name].to_numpy() for name in names}
        self.numbers, self.length = column["episode_index"], column["length"]
        self._check_episodes()
        self.data_files = self._paths(
            self.info["data_path"], "", column["data/chunk_index"], column["data/file_index"]
        )
        self.footage, self.broken = {}, {}
        for camera in self.cameras:
            self._read_footage(
                camera, {part.split("/")[-1]: column[part] for part in where + when if f"/{camera}/" in part}
            )

    def _joined(self, tables: list[pa.Table]) -> pa.Table:
        try:
            return pa.concat_tables(tables)
        except pa.ArrowException as error:
            raise TrajectoryError(
                f"{self.folder}: its Parquet files do not hold the same kinds of columns: {error}"
            ) from error

    def _read_footage(self, camera: str, column: dict[str, np.ndarray]) -> None:
        files = self._paths(self.info["video_path"], camera, column["chunk_index"], column["file_index"])
        self.footage[camera] = Footage(files, column["from_timestamp"].astype(np.float64))
        seconds = column["to_timestamp"] - column["from_timestamp"]
        for episode in np.flatnonzero(
            ~(seconds * self.fps >= self.length - 0.5)
        ).tolist():  # not a number is too few
            shown = f"{seconds[episode]:.3f} s of {camera} for {self.length[episode]} rows at {self.fps:g} a second"
            self.broken[episode] = (
                f"{self.name(episode)}: there are {shown}; the rest would be another episode's pictures"
            )

    def _paths(self, template: str, key: str, chunks: np.ndarray, files: np.ndarray) -> list[Path]:
        """A path for each episode. Raises TrajectoryError if a file is not there."""
        cells = list(zip(chunks.tolist(), files.tolist(), strict=True))
        paths = {
            c: self.folder / template.format(video_key=key, chunk_index=c[0], file_index=c[1])
            for c in set(cells)
        }
        for path in sorted(paths.values()):
            if not path.is_file():
                raise TrajectoryError(
                    f"{path}: no such file, but episodes of {self.folder} are said to be in it"
                )
        return [paths[cell] for cell in cells]

    def _read_rows(self) -> None:
        """All rows, sorted by episode and frame: which file holds an episode says nothing about its number."""
        wanted = dict.fromkeys(["episode_index", "frame_index", "timestamp", *self._wanted_columns()])
        tables = [_read_table(file, list(wanted)) for file in dict.fromkeys(self.data_files)]
        table = self._joined(tables)
        episode, frame = (table[name].to_numpy() for name in ("episode_index", "frame_index"))
        order = np.lexsort((frame, episode))
        self.first = np.searchsorted(episode[order], self.numbers)
        self._check_lengths(np.searchsorted(episode[order], self.numbers, side="right") - self.first)
        self.times = table["timestamp"].to_numpy().astype(np.float64)[order]
        values = {
            name: torch.from_numpy(self._vectors(table[name], name)[order]) for name in self._wanted_columns()
        }
        self.states = torch.cat([values[name] for name in self.columns.state], -1)
        self.actions = values[self.columns.action] if self.schema.delta == "recorded" else None
        self.extrinsics = {camera: values[name] for camera, name in self._extrinsics_columns().items()}

    def _vectors(self, column: pa.ChunkedArray, name: str) -> Float32[np.ndarray, "rows d"]:
        """A column of numbers or of lists of numbers; what is missing becomes NaN."""
        width = int(np.prod(self.info["features"][name]["shape"]))
        flat = column.combine_chunks()
        while pa.types.is_nested(flat.type):
            flat = flat.flatten()
        if len(flat) != width * len(column):
            raise TrajectoryError(
                f"{self.folder}, column {name}: {len(flat)} numbers in {len(column)} rows contradict the shape "
                f"{self.info['features'][name]['shape']} in meta/info.json"
            )
        return flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), width)

    # Whether the rows make sense

    def _check_episodes(self) -> None:
        numbers, counts = np.unique(self.numbers, return_counts=True)
        if not len(numbers):
            raise TrajectoryError(f"{self.folder}/meta/episodes: no episodes")
        for what, wrong in (
            ("several rows", numbers[counts > 1]),
            ("no frames", self.numbers[self.length < 1]),
        ):
            if wrong.size:
                raise TrajectoryError(
                    f"{self.folder}/meta/episodes: episode {wrong[0]} has {what}; remove or repair it"
                )

    def _check_lengths(self, found: Int64[np.ndarray, " e"]) -> None:
        wrong = np.flatnonzero(found != self.length)
        if wrong.size:
            e = int(wrong[0])
            raise TrajectoryError(
                f"{self.data_files[e]}, episode {self.numbers[e]}: {found[e]} rows, but meta/episodes says {self.length[e]}; "
                f"the dataset is not complete"
            )

    def _check_rows(self) -> None:
        names, column = self.schema.names, "+".join(self.columns.state)
        given = {"state": self.states, "action": self.actions}
        cameras = {f"pose of {camera}": poses for camera, poses in self.extrinsics.items()}
        for what, values in (given | cameras).items():
            if values is not None and not (finite := values.isfinite()).all():
                self._refuse(~finite.all(-1), f"the {what} is missing, NaN or infinite; remove the episode")
        angles = [dim for dim, unit in enumerate(self.schema.units) if unit == "rad"]
        far = self.states[:, angles].abs() > FULL_TURN + 1e-3
        if far.any():
            dim = angles[int(far.any(0).nonzero()[0])]
            value = f"{names[dim]} of column {column} is {self.states[far.any(-1)][0, dim]:.1f}"
            self._refuse(far.any(-1), f"{value}, which is not an angle in radians; convert it from degrees")
        steps = np.diff(self.times, prepend=0.0) * self.fps
        steps[self.first] = self.times[self.first] * self.fps + 1  # an episode begins at 0
        odd = ~((steps > 0.5) & (steps < 1.5))
        self._refuse(
            torch.from_numpy(odd), f"column timestamp does not rise by 1/{self.fps:g} s from the row before"
        )

    def _refuse(self, wrong: Bool[Tensor, " rows"], words: str) -> None:
        """Raise TrajectoryError for the first row that is wrong, if any."""
        if not wrong.any():
            return
        row = int(wrong.int().argmax())
        e = int(np.searchsorted(self.first, row, side="right")) - 1
        raise TrajectoryError(
            f"{self.data_files[e]}, episode {self.numbers[e]}, frame {row - self.first[e]}: {words}"
        )


def load_lerobot(
    folder: str | Path,
    schema: StateSchema = END_EFFECTOR,
    columns: Columns = Columns(),
    cameras: Sequence[str] = (),
) -> LeRobot:
    """Load and check a LeRobotDataset v3.0 folder; `cameras` empty: all. Raises TrajectoryError."""
    return LeRobot(Path(folder), schema, columns, cameras)


def _is_depth(feature: dict) -> bool:
    return bool((feature.get("info") or {}).get("video.is_depth_map", False))


def _read_info(folder: Path) -> dict:
    file = folder / "meta/info.json"
    if not file.is_file():
        raise TrajectoryError(f"{file}: no such file; expected the folder of a LeRobotDataset v3.0")
    try:
        info = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        _unreadable(file, error)
    if not isinstance(info, dict):
        raise TrajectoryError(
            f"{file}: holds a {type(info).__name__}, expected the names and values of a LeRobotDataset v3.0"
        )
    version = str(info.get("codebase_version"))
    # Some public datasets say v3.0 and have the paths of v2.1, so the paths are asked too.
    if not version.startswith("v3.") or "{file_index" not in str(info.get("data_path")):
        raise TrajectoryError(
            f"{file}: codebase_version {version} with data_path {info.get('data_path')}; "
            f"only v3.0 is read: convert it with {CONVERTER}"
        )
    _check_info(file, info)
    return info


def _check_info(file: Path, info: dict) -> None:
    """What all the rest takes for granted."""
    features, fps = info.get("features"), info.get("fps")
    told = features.values() if isinstance(features, dict) else [None]
    if not all(isinstance(feature, dict) and {"dtype", "shape"} <= feature.keys() for feature in told):
        raise TrajectoryError(
            f"{file}: every one of its features should have a dtype and a shape; the file is not complete"
        )
    if not isinstance(fps, int | float) or not 0 < fps < float("inf"):
        raise TrajectoryError(f"{file}: fps is {fps!r}, expected the number of rows in a second")
    if "{file_index" not in str(info.get("video_path")):
        raise TrajectoryError(
            f"{file}: video_path is {info.get('video_path')!r}; pictures inside Parquet files are not read"
        )


def _read_table(file: Path, names: list[str]) -> pa.Table:
    try:
        with pa.parquet.ParquetFile(file) as parquet:
            missing = [name for name in names if name not in parquet.schema_arrow.names]
            if not missing:
                return parquet.read(names)
    except (OSError, pa.ArrowException) as error:
        _unreadable(file, error)
    raise TrajectoryError(
        f"{file}: no column {missing[0]!r}, though meta/info.json promises it; the dataset is not complete"
    )


def _unreadable(file: Path, error: Exception) -> NoReturn:
    raise TrajectoryError(f"{file}: cannot be read: {error}") from error
