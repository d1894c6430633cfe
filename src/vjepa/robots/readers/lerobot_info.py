"""Reads `meta/info.json` of a LeRobotDataset v3.0: its columns, its cameras and the paths of its files."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vjepa.robots.episodes import Columns, TrajectoryError
from vjepa.robots.schema import StateSchema

CONVERTER = "lerobot's convert_dataset_v21_to_v30"


@dataclass(frozen=True)
class LeRobotInfo:
    """What the file says about its folder."""

    folder: Path
    fps: float
    """Rows in a second."""
    features: dict[str, dict]
    """Dtype and shape of every column, and of every camera."""
    data_path: str
    """Template of the Parquet files of rows."""
    video_path: str
    """Template of the video files."""

    def width(self, column: str) -> int:
        """Numbers in one row of a column."""
        return math.prod(self.features[column]["shape"])

    def choose_cameras(self, names: Sequence[str]) -> tuple[str, ...]:
        """The cameras of these names, or all of them. Raises TrajectoryError for one that is not a video."""
        videos = [name for name, feature in self.features.items() if _is_video(feature)]
        for name in names:
            if name not in videos:
                dtype = self.features[name]["dtype"] if name in self.features else None
                reason = f"its dtype is {dtype}" if dtype else "it is not there"
                raise TrajectoryError(
                    f"{self.folder}: camera {name!r} cannot be used, {reason}; there are {videos}"
                )
        if not videos:
            raise TrajectoryError(
                f"{self.folder}: no feature of dtype video; images inside Parquet files are not read"
            )
        return tuple(names) or tuple(videos)  # the recipe's order: evaluation takes the first

    def check_columns(self, columns: Columns, schema: StateSchema, cameras: Sequence[str]) -> None:
        """Raises TrajectoryError for a column that is absent, or whose width contradicts the schema."""
        for name in columns.needed(schema, cameras):
            if name not in self.features:
                raise TrajectoryError(f"{self.folder}: no column {name!r}; there are {sorted(self.features)}")
        self._check_width(columns.state, schema.state_dims, "state")
        if schema.delta == "recorded":
            self._check_width((columns.action,), schema.action_dims, "action")

    def _check_width(self, columns: Sequence[str], expected: int, what: str) -> None:
        width = sum(self.width(name) for name in columns)
        if width != expected:
            raise TrajectoryError(
                f"{self.folder}: column {' + '.join(columns)} holds {width} numbers, "
                f"but the schema's {what} has {expected}; name other columns or another schema"
            )


def read_info(folder: Path) -> LeRobotInfo:
    """Read and check the file. Raises TrajectoryError if it is missing, incomplete or of another version."""
    file = folder / "meta/info.json"
    fields = _read_json(file)
    _check_version(file, fields)
    _check_fields(file, fields)
    return LeRobotInfo(
        folder, float(fields["fps"]), fields["features"], fields["data_path"], fields["video_path"]
    )


def _read_json(file: Path) -> dict:
    if not file.is_file():
        raise TrajectoryError(f"{file}: no such file; expected the folder of a LeRobotDataset v3.0")
    try:
        fields = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TrajectoryError(f"{file}: cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise TrajectoryError(
            f"{file}: holds a {type(fields).__name__}, expected the names and values of a LeRobotDataset v3.0"
        )
    return fields


def _check_version(file: Path, fields: dict) -> None:
    version = str(fields.get("codebase_version"))
    data_path = fields.get("data_path")
    # Some public datasets call themselves v3.0 and have the paths of v2.1, so the paths are looked at too.
    if not version.startswith("v3.") or "{file_index" not in str(data_path):
        raise TrajectoryError(
            f"{file}: codebase_version {version} with data_path {data_path}; "
            f"only v3.0 is read: convert it with {CONVERTER}"
        )


def _check_fields(file: Path, fields: dict) -> None:
    """Raise TrajectoryError unless the fields that all readers rely on are there and plausible."""
    features = fields.get("features")
    fps = fields.get("fps")
    video_path = fields.get("video_path")
    entries = features.values() if isinstance(features, dict) else [None]
    if not all(isinstance(entry, dict) and {"dtype", "shape"} <= entry.keys() for entry in entries):
        raise TrajectoryError(
            f"{file}: every one of its features should have a dtype and a shape; the file is not complete"
        )
    if not isinstance(fps, int | float) or not 0 < fps < float("inf"):
        raise TrajectoryError(f"{file}: fps is {fps!r}, expected the number of rows in a second")
    if "{file_index" not in str(video_path):
        raise TrajectoryError(
            f"{file}: video_path is {video_path!r}; images inside Parquet files are not read"
        )


def _is_video(feature: dict) -> bool:
    """Whether a feature is a video of colours."""
    # Depth is stored as a 12-bit video, whose distances would be read as colours.
    is_depth = (feature.get("info") or {}).get("video.is_depth_map", False)
    return feature["dtype"] == "video" and not is_depth
