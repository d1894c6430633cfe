"""One split of the demo world's robot data as a LeRobotDataset v3.0 folder: what stands beside the MP4 files.

The format as `lerobot` 0.4 writes it: `meta/info.json`, `meta/tasks.parquet`, `meta/stats.json`,
`meta/episodes/chunk-*/file-*.parquet` with one row per episode, `data/chunk-*/file-*.parquet` with one row per frame.
Beyond what the format asks, the episodes' table has columns `kind` and `seed`.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy import ndarray

from vjepa.sim.recording.record import write_text

CHUNK = 1000
"""Files in one folder."""
CAMERA = "front"
VIDEO = f"observation.images.{CAMERA}"
EXTRINSICS = f"camera_extrinsics.{CAMERA}"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
STATE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
POSE_NAMES = STATE_NAMES[:6]


class Take(NamedTuple):
    """The rows of one file: all of its episodes, one after the other. Arrays of n rows, or of e episodes."""

    states: ndarray
    """(n, 7) metres, radians, closedness: measured when the picture was taken."""
    actions: ndarray
    """(n, 7) commanded change from this row to the next; zero in an episode's last row, which has no next."""
    objects: ndarray
    """(n, 3 k) centres of up to k objects in metres; an object that is not there is at (0, 0, -1)."""
    extrinsics: ndarray
    """(n, 6) pose of the camera in the robot's frame: metres, radians."""
    lengths: ndarray
    """(e,) rows of each episode."""
    seeds: ndarray
    """(e,) seeds from which `DemoWorld.reset` makes the same scenes."""
    kinds: ndarray
    """(e,) text: random or scripted."""
    tasks: ndarray
    """(e,) text: what happens."""


def place(out: Path, template: str, number: int) -> Path:
    """Path of file `number` of a kind."""
    return out / template.format(video_key=VIDEO, chunk_index=number // CHUNK, file_index=number % CHUNK)


def write_dataset(out: Path, takes: Sequence[Take], size: int, fps: int) -> None:
    """All but the videos, which are there already. Writing it again gives the same bytes."""
    tasks = list(dict.fromkeys(str(task) for take in takes for task in take.tasks))
    first_row, first_episode, episodes = 0, 0, []
    for number, take in enumerate(takes):
        numbers = first_episode + np.arange(len(take.lengths))
        write_table(place(out, DATA_PATH, number), data_table(take, tasks, first_row, numbers, fps))
        episodes.append(episode_table(take, number, first_row, numbers, fps))
        first_row, first_episode = first_row + len(take.states), first_episode + len(numbers)
    write_table(out / "meta/episodes/chunk-000/file-000.parquet", pa.concat_tables(episodes))
    write_table(out / "meta/tasks.parquet", task_table(tasks))
    write_json(out / "meta/stats.json", statistics(takes))
    write_json(
        out / "meta/info.json",
        info(first_episode, first_row, len(tasks), takes[0].objects.shape[1], size, fps),
    )


def data_table(take: Take, tasks: list[str], first_row: int, numbers: ndarray, fps: int) -> pa.Table:
    """One row per frame of one file."""
    frame = np.concatenate([np.arange(length) for length in take.lengths])
    task = np.array([tasks.index(str(task)) for task in take.tasks])
    columns = {
        "observation.state": vectors(take.states),
        "action": vectors(take.actions),
        EXTRINSICS: vectors(take.extrinsics),
        "observation.environment_state": vectors(take.objects),
        "timestamp": pa.array((frame / fps).astype(np.float32)),
        "frame_index": pa.array(frame),
        "episode_index": pa.array(np.repeat(numbers, take.lengths)),
        "index": pa.array(first_row + np.arange(len(frame))),
        "task_index": pa.array(np.repeat(task, take.lengths)),
    }
    return pa.table(columns)


def vectors(rows: ndarray) -> pa.Array:
    """(n, k) as a column of n lists of k float32."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float32).reshape(-1)), rows.shape[1])


def episode_table(take: Take, number: int, first_row: int, numbers: ndarray, fps: int) -> pa.Table:
    """One row per episode of one file."""
    ends = np.cumsum(take.lengths)
    starts = ends - take.lengths
    where = {
        "chunk_index": np.full(len(ends), number // CHUNK),
        "file_index": np.full(len(ends), number % CHUNK),
    }
    columns = {
        "episode_index": numbers,
        "tasks": pa.array([[str(task)] for task in take.tasks]),
        "length": take.lengths,
        "dataset_from_index": first_row + starts,
        "dataset_to_index": first_row + ends,
        **{f"data/{name}": values for name, values in where.items()},
        **{f"videos/{VIDEO}/{name}": values for name, values in where.items()},
        f"videos/{VIDEO}/from_timestamp": starts / fps,
        f"videos/{VIDEO}/to_timestamp": ends / fps,
        "meta/episodes/chunk_index": np.zeros(len(ends), np.int64),
        "meta/episodes/file_index": np.zeros(len(ends), np.int64),
        "kind": pa.array([str(kind) for kind in take.kinds]),
        "seed": take.seeds,
    }
    return pa.table(columns)


def task_table(tasks: list[str]) -> pa.Table:
    """Numbers of tasks, with their texts as the index of a pandas frame, as lerobot reads them."""
    index = "__index_level_0__"
    kinds = (("task_index", "int64", "int64"), (None, "unicode", "object"))
    about = [
        {
            "name": name,
            "field_name": name or index,
            "pandas_type": kind,
            "numpy_type": numpy,
            "metadata": None,
        }
        for name, kind, numpy in kinds
    ]
    notes = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": about,
        "creator": {},
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": np.arange(len(tasks)), index: pa.array(tasks)})
    return table.replace_schema_metadata({"pandas": json.dumps(notes)})


def statistics(takes: Sequence[Take]) -> dict[str, dict[str, list[float | int]]]:
    """Least, greatest, mean and spread of every number, over all rows."""
    columns = {"observation.state": "states", "action": "actions", EXTRINSICS: "extrinsics"}
    columns["observation.environment_state"] = "objects"
    values = {
        name: np.concatenate([getattr(take, field) for take in takes]) for name, field in columns.items()
    }
    measures = {"min": np.min, "max": np.max, "mean": np.mean, "std": np.std}
    return {
        name: {measure: of(rows, axis=0).tolist() for measure, of in measures.items()}
        | {"count": [len(rows)]}
        for name, rows in values.items()
    }


def info(episodes: int, rows: int, tasks: int, coordinates: int, size: int, fps: int) -> dict:
    """What the folder holds, in the words of the format."""
    coordinate_names = [f"{axis}{number}" for number in range(coordinates // 3) for axis in "xyz"]
    video = {
        "video.height": size,
        "video.width": size,
        "video.channels": 3,
        "video.fps": fps,
        "video.codec": "h264",
    }
    video |= {"video.pix_fmt": "yuv420p", "video.is_depth_map": False, "has_audio": False}
    features = {
        VIDEO: {
            "dtype": "video",
            "shape": [size, size, 3],
            "names": ["height", "width", "channels"],
            "info": video,
        },
        "observation.state": feature("float32", STATE_NAMES),
        "action": feature("float32", STATE_NAMES),
        EXTRINSICS: feature("float32", POSE_NAMES),
        "observation.environment_state": feature("float32", coordinate_names),
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    }
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    return {
        "codebase_version": "v3.0",
        "robot_type": "panda in the vjepa demo world",
        "total_episodes": episodes,
        "total_frames": rows,
        "total_tasks": tasks,
        "chunks_size": CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "features": features,
    }


def feature(kind: str, names: Sequence[str]) -> dict:
    return {"dtype": kind, "shape": [len(names)], "names": list(names)}


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    pa.parquet.write_table(table, temporary)
    temporary.replace(path)


def write_json(path: Path, values: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(values, indent=1))
