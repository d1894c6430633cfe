"""Reads LeRobotDataset v3.0 folders with pyarrow and PyAV alone: states in memory, images on demand.

    data = load_lerobot("data/robot/train")
    frames = data.frames(episode=7, camera="observation.images.front", rows=[0, 4, 8])

The lerobot package is not used: it takes 8 GB and pins older versions of torch. Everything but the images is
read and checked when the folder is loaded, so that a mistake in the data is an error at once and not a
strange loss curve later. Several episodes share an MP4 file: the time of an image in its file is its row's
time stamp, which counts from the start of the episode, plus the start of the episode within the file.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vjepa.robots.episodes import Columns, Episodes, Footage, check_rows
from vjepa.robots.readers.lerobot_info import LeRobotInfo, read_info
from vjepa.robots.readers.lerobot_tables import EpisodeTable, read_episode_table, read_row_table
from vjepa.robots.schema import END_EFFECTOR, StateSchema


class LeRobot(Episodes):
    """The episodes of one folder."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tables and of the names and sizes of the videos."""
        paths = [path for part in ("meta", "data", "videos") for path in (self.folder / part).rglob("*.*")]
        digest = hashlib.sha256()
        for file in sorted(paths):
            if not file.is_file():
                continue  # folders have dots in their names
            # Relative names: a folder that is moved is the same data.
            digest.update(f"{file.relative_to(self.folder).as_posix()} {file.stat().st_size}\n".encode())
            # The size of a video stands for its content: hashing gigabytes would take minutes.
            digest.update(b"" if file.suffix == ".mp4" else file.read_bytes())
        return digest.hexdigest()


def load_lerobot(
    folder: str | Path,
    schema: StateSchema = END_EFFECTOR,
    columns: Columns = Columns(),
    cameras: Sequence[str] = (),
) -> LeRobot:
    """Load and check a LeRobotDataset v3.0 folder; `cameras` empty: all. Raises TrajectoryError."""
    info = read_info(Path(folder))
    cameras = info.choose_cameras(cameras)
    info.check_columns(columns, schema, cameras)

    table = read_episode_table(info, cameras)
    row_files = table.row_files(info)
    footage = {camera: footage_of(info, table, camera) for camera in cameras}
    rows = read_row_table(info, table, row_files, columns.needed(schema, cameras))

    episodes = LeRobot(
        folder=info.folder,
        schema=schema,
        fps=info.fps,
        cameras=cameras,
        numbers=table.numbers,
        first=rows.first,
        length=table.length,
        times=rows.times,
        states=torch.cat([rows.values[name] for name in columns.state], -1),
        actions=rows.values[columns.action] if schema.delta == "recorded" else None,
        extrinsics={camera: rows.values[name] for camera, name in columns.extrinsics_of(cameras).items()},
        footage=footage,
        row_files=row_files,
        broken=broken_episodes(info, table, cameras),
    )
    check_rows(episodes, columns)
    return episodes


def footage_of(info: LeRobotInfo, table: EpisodeTable, camera: str) -> Footage:
    """The video file of each episode, and the second at which the episode begins there.

    Raises TrajectoryError if a file is missing.
    """
    starts = table.columns[f"videos/{camera}/from_timestamp"].astype(np.float64)
    return Footage(table.video_files(info, camera), starts)


def broken_episodes(info: LeRobotInfo, table: EpisodeTable, cameras: Sequence[str]) -> dict[int, str]:
    """Episodes with fewer images than rows, each with its reason."""
    broken = {}
    for camera in cameras:
        begins = table.columns[f"videos/{camera}/from_timestamp"]
        ends = table.columns[f"videos/{camera}/to_timestamp"]
        seconds = ends - begins
        # Half a row is for rounding. False where an end is missing, which is NaN.
        enough = seconds * info.fps >= table.length - 0.5
        for episode in np.flatnonzero(~enough).tolist():
            name = f"{info.folder}, episode {table.numbers[episode]}"
            rows = f"{table.length[episode]} rows at {info.fps:g} a second"
            broken[episode] = (
                f"{name}: there are {seconds[episode]:.3f} s of {camera} for {rows}; "
                f"the rest would be another episode's images"
            )
    return broken
