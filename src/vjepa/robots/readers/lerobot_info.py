"""Reads `meta/info.json` of a LeRobotDataset v3.0: its columns, its cameras and the paths of its files."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vjepa.data.manifest_error import ManifestError
from vjepa.data.text_files import read_text
from vjepa.robots.episodes import Columns, TrajectoryError
from vjepa.robots.readers.parquet_numbers import file_fault
from vjepa.robots.schema import StateSchema

CONVERTER = "lerobot's convert_dataset_v21_to_v30"
DEPTH_KEYS = ("video.is_depth_map", "is_depth_map")
"""How versions of LeRobot call depth: at the feature, in its `info` or in its `video_info`."""
FORMAT_KEYS = ("video.pix_fmt", "pix_fmt")
FIELD = re.compile(r"\{(video_key|(chunk|file)_index(:0?\d?d)?)\}")
"""What is filled in. A width of nine digits would make a path of a gigabyte."""
DEEP_GREY = re.compile(r"gray(9|1\d)")
"""Pixel formats of FFmpeg: grey with more than 8 bits."""


@dataclass(frozen=True)
class LeRobotInfo:
    """What the file says about its folder."""

    folder: Path
    fps: float
    """Rows in a second."""
    episodes: int
    """Episodes of the whole dataset; 0 if the file does not say."""
    features: dict[str, dict]
    """Dtype and shape of every column, and of every camera."""
    data_path: str
    """Template of the Parquet files of rows."""
    video_path: str
    """Template of the video files."""

    def file(self, camera: str, chunk: int, number: int) -> Path:
        """A file of rows (no camera), or of one camera's images."""
        template = self.video_path if camera else self.data_path
        return self.folder / template.format(video_key=camera, chunk_index=chunk, file_index=number)

    def width(self, column: str) -> int:
        """Numbers in one row of a column. Raises TrajectoryError if its shape does not tell."""
        shape = self.features[column]["shape"]
        try:
            sizes = [float(size) for size in shape]
        except (TypeError, ValueError):
            sizes = [0.0]
        if not all(size >= 1 and size.is_integer() for size in sizes):
            raise TrajectoryError(
                f"{self.folder}/meta/info.json: column {column!r} has shape {shape!r}, expected whole numbers"
            )
        return int(math.prod(sizes))

    def choose_cameras(self, names: Sequence[str], notes: list[str]) -> tuple[str, ...]:
        """The cameras of these names, or all that film colours; a note says which ones do not.

        Raises TrajectoryError for a name that is not such a camera, and if there is none.
        """
        videos = [name for name, feature in self.features.items() if feature["dtype"] == "video"]
        depth = [name for name in videos if _is_depth(self.features[name], name)]
        colours = [name for name in videos if name not in depth]
        for name in names:
            if name not in colours:
                reason = self._reason(name, depth)
                raise TrajectoryError(
                    f"{self.folder}: camera {name!r} cannot be used, {reason}; there are {colours}"
                )
        if not colours:
            filmed = (
                f"cameras {depth} hold depth, and there are no others"
                if depth
                else "no feature of dtype video; images inside Parquet files are not read"
            )
            raise TrajectoryError(f"{self.folder}: {filmed}")
        if depth and not names:
            notes.append(f"{self.folder}: cameras {depth} hold depth and are left out")
        return tuple(names) or tuple(colours)  # the recipe's order: evaluation takes the first

    def _reason(self, name: str, depth: Sequence[str]) -> str:
        """Why a name is not that of a camera that films colours."""
        if name in depth:
            return "it holds depth, not colours (or its is_depth_map in meta/info.json is wrong)"
        return f"its dtype is {self.features[name]['dtype']}" if name in self.features else "it is not there"

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
    _check_features(file, fields.get("features"))
    for name in ("data_path", "video_path"):
        _check_template(file, name, fields.get(name))
    return LeRobotInfo(
        folder,
        _read_rate(file, fields.get("fps")),
        _whole_or_zero(fields.get("total_episodes")),
        fields["features"],
        fields["data_path"],
        fields["video_path"],
    )


def _read_json(file: Path) -> dict:
    if not file.is_file():
        raise TrajectoryError(f"{file}: no such file; expected the folder of a LeRobotDataset v3.0")
    fault = file_fault(file)
    if fault:
        raise TrajectoryError(f"{file}: {fault}")
    try:
        fields = json.loads(read_text(file))
    except ManifestError as error:
        raise TrajectoryError(str(error)) from error
    except (ValueError, RecursionError) as error:
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
        first = "convert_dataset_v20_to_v21 and then " if version == "v2.0" else ""
        raise TrajectoryError(
            f"{file}: codebase_version {version} with data_path {data_path}; "
            f"only v3.0 is read: convert it with {first}{CONVERTER}"
        )


def _check_features(file: Path, features: object) -> None:
    entries = features.values() if isinstance(features, dict) else [None]
    if not all(isinstance(entry, dict) and {"dtype", "shape"} <= entry.keys() for entry in entries):
        raise TrajectoryError(
            f"{file}: every one of its features should have a dtype and a shape; the file is not complete"
        )


def _check_template(file: Path, name: str, template: object) -> None:
    """Raise TrajectoryError unless it is a path in which only camera, chunk and file are to be filled in."""
    if "{file_index" not in str(template):
        raise TrajectoryError(f"{file}: {name} is {template!r}; images inside Parquet files are not read")
    fixed = FIELD.sub("", template) if isinstance(template, str) else "{"
    if "{" in fixed or "}" in fixed:
        raise TrajectoryError(
            f"{file}: {name} is {template!r}; expected {{video_key}}, {{chunk_index}} and {{file_index}}"
        )


def _read_rate(file: Path, fps: object) -> float:
    """Rows in a second; some tools write numbers as text."""
    try:
        rate = math.nan if isinstance(fps, bool) else float(fps)
    except (TypeError, ValueError):
        rate = math.nan
    if not 0 < rate < math.inf:
        raise TrajectoryError(f"{file}: fps is {fps!r}, expected the number of rows in a second")
    return rate


def _whole_or_zero(value: object) -> int:
    is_count = isinstance(value, int | float) and math.isfinite(value) and value >= 0
    return int(value) if is_count else 0


def _is_depth(feature: dict, name: str) -> bool:
    """Whether a video's images are distances, which would be read as colours."""
    parts = [
        part for part in (feature, feature.get("info"), feature.get("video_info")) if isinstance(part, dict)
    ]
    said = [bool(part[key]) for part in parts for key in DEPTH_KEYS if part.get(key) is not None]
    if said:
        return any(said)
    # Nothing is said: colours are never stored as grey with more than 8 bits.
    formats = [str(part.get(key)) for part in parts for key in FORMAT_KEYS]
    return any(DEEP_GREY.match(form) for form in formats) or "depth" in re.split(r"[._]", name.lower())
