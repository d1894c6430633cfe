"""Reads LeRobotDataset v3.0 folders with pyarrow and PyAV alone: states in memory, images on demand.

    data = load_lerobot("data/robot/train")
    frames = data.frames(episode=7, camera="observation.images.front", rows=[0, 4, 8])

The lerobot package is not used: it takes 8 GB and pins older versions of torch. Everything but the images is
read and checked when the folder is loaded, so that a mistake in the data is said at once and is not a
strange loss curve later. Several episodes share an MP4 file: the time of an image in its file is its row's
time stamp, which counts from the start of the episode, plus the start of the episode within the file.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from vjepa.robots.episode_checks import sound_episodes
from vjepa.robots.episodes import Columns, Episodes
from vjepa.robots.left_out import LeftOut
from vjepa.robots.readers.lerobot_episodes import read_episode_table
from vjepa.robots.readers.lerobot_info import read_info
from vjepa.robots.readers.lerobot_rows import read_episode_rows
from vjepa.robots.readers.lerobot_videos import (
    cameras_with_videos,
    footage_of,
    with_images,
    without_early_begins,
)
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
    """Load and check a LeRobotDataset v3.0 folder; `cameras` empty: all that are there.

    Episodes that cannot be used are left out: a line says so, and `left_out` names all. Raises
    TrajectoryError if none is left, and for a folder, camera or column that cannot be used.
    """
    left_out = LeftOut()
    info = read_info(Path(folder))
    wanted = info.choose_cameras(cameras, left_out.notes)
    info.check_columns(columns, schema, wanted)

    table = read_episode_table(info, wanted, left_out)
    present = wanted if cameras else cameras_with_videos(table, wanted, left_out)
    table = without_early_begins(table, present, left_out)
    for camera in present:
        table = with_images(table, camera, left_out)
    rows = read_episode_rows(table, columns.needed(schema, present), left_out)

    episodes = LeRobot(
        folder=info.folder,
        schema=schema,
        fps=info.fps,
        cameras=present,
        numbers=rows.table.numbers,
        first=rows.first,
        length=rows.table.length,
        times=rows.times,
        states=torch.cat([rows.values[name] for name in columns.state], -1),
        actions=rows.values[columns.action] if schema.delta == "recorded" else None,
        extrinsics={camera: rows.values[name] for camera, name in columns.extrinsics_of(present).items()},
        footage={camera: footage_of(rows.table, camera) for camera in present},
        row_files=rows.table.files(),
        left_out=left_out,
    )
    sound = sound_episodes(episodes, columns)
    left_out.announce(info.folder, len(sound))
    return sound
