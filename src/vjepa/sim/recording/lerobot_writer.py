"""One split of the demo world's robot data as a LeRobotDataset v3.0 folder: what stands beside the MP4 files.

The format is that of `lerobot` 0.4: `meta/info.json`, `meta/tasks.parquet`, `meta/stats.json`,
`meta/episodes/chunk-*/file-*.parquet` with one row per episode, `data/chunk-*/file-*.parquet` with one row
per frame. Beyond what the format asks, the table of episodes has the columns `kind` and `seed`.
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

from vjepa.sim.recording.dataset_folder import write_text

CHUNK = 1000
"""Files in one folder."""
CAMERA = "front"
VIDEO = f"observation.images.{CAMERA}"
EXTRINSICS = f"camera_extrinsics.{CAMERA}"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
STATE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
POSE_NAMES = STATE_NAMES[:6]


class EpisodeRows(NamedTuple):
    """The rows of one file: all of its episodes, one after the other. Arrays of n rows, or of e episodes."""

    states: ndarray
    """(n, 7) metres, radians, closedness: measured when the image was taken."""
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


def numbered(out: Path, template: str, number: int) -> Path:
    """Path of file `number` of a kind."""
    return out / template.format(video_key=VIDEO, chunk_index=number // CHUNK, file_index=number % CHUNK)


def write_dataset(out: Path, files: Sequence[EpisodeRows], size: int, fps: int) -> None:
    """Write all but the videos, which are there already. Writing it again gives the same bytes."""
    # In the order of their first use: a set has another order in every process.
    tasks = list(dict.fromkeys(str(task) for rows in files for task in rows.tasks))
    first_row = 0
    first_episode = 0
    episodes = []
    for number, rows in enumerate(files):
        indices = first_episode + np.arange(len(rows.lengths))
        write_table(numbered(out, DATA_PATH, number), data_table(rows, tasks, first_row, indices, fps))
        episodes.append(episode_table(rows, number, first_row, indices, fps))
        first_row += len(rows.states)
        first_episode += len(indices)

    write_table(out / "meta/episodes/chunk-000/file-000.parquet", pa.concat_tables(episodes))
    write_table(out / "meta/tasks.parquet", task_table(tasks))
    write_json(out / "meta/stats.json", statistics(files))
    totals = {"total_episodes": first_episode, "total_frames": first_row, "total_tasks": len(tasks)}
    write_json(out / "meta/info.json", info(totals, features(size, fps, files[0].objects.shape[1]), fps))


# -- tables ------------------------------------------------------------------------------------------------


def data_table(rows: EpisodeRows, tasks: list[str], first_row: int, indices: ndarray, fps: int) -> pa.Table:
    """One row per frame of one file; `indices` (e,) number its episodes in the dataset."""
    frame = np.concatenate([np.arange(length) for length in rows.lengths])
    task = np.array([tasks.index(str(task)) for task in rows.tasks])
    columns = {
        "observation.state": vectors(rows.states),
        "action": vectors(rows.actions),
        EXTRINSICS: vectors(rows.extrinsics),
        "observation.environment_state": vectors(rows.objects),
        "timestamp": pa.array((frame / fps).astype(np.float32)),
        "frame_index": pa.array(frame),
        "episode_index": pa.array(np.repeat(indices, rows.lengths)),
        "index": pa.array(first_row + np.arange(len(frame))),
        "task_index": pa.array(np.repeat(task, rows.lengths)),
    }
    return pa.table(columns)


def vectors(values: ndarray) -> pa.Array:
    """(n, k) as a column of n lists of k float32."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).reshape(-1)), values.shape[1])


def episode_table(rows: EpisodeRows, number: int, first_row: int, indices: ndarray, fps: int) -> pa.Table:
    """One row per episode of file `number`."""
    ends = np.cumsum(rows.lengths)
    starts = ends - rows.lengths
    chunk_index = np.full(len(ends), number // CHUNK)
    file_index = np.full(len(ends), number % CHUNK)
    columns = {
        "episode_index": indices,
        "tasks": pa.array([[str(task)] for task in rows.tasks]),
        "length": rows.lengths,
        "dataset_from_index": first_row + starts,
        "dataset_to_index": first_row + ends,
        "data/chunk_index": chunk_index,
        "data/file_index": file_index,
        f"videos/{VIDEO}/chunk_index": chunk_index,
        f"videos/{VIDEO}/file_index": file_index,
        # Seconds in the video file, which holds several episodes.
        f"videos/{VIDEO}/from_timestamp": starts / fps,
        f"videos/{VIDEO}/to_timestamp": ends / fps,
        "meta/episodes/chunk_index": np.zeros(len(ends), np.int64),  # all episodes are in one file
        "meta/episodes/file_index": np.zeros(len(ends), np.int64),
        "kind": pa.array([str(kind) for kind in rows.kinds]),
        "seed": rows.seeds,
    }
    return pa.table(columns)


def task_table(tasks: list[str]) -> pa.Table:
    """Numbers of tasks, with their texts as the index of a pandas frame, as lerobot reads them."""
    index = "__index_level_0__"
    # pandas itself is not needed: it finds the index by these notes in the file's metadata.
    notes = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [
            pandas_column("task_index", "task_index", "int64", "int64"),
            pandas_column(None, index, "unicode", "object"),
        ],
        "creator": {},
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": np.arange(len(tasks)), index: pa.array(tasks)})
    return table.replace_schema_metadata({"pandas": json.dumps(notes)})


def pandas_column(name: str | None, field: str, pandas_type: str, numpy_type: str) -> dict:
    return {
        "name": name,
        "field_name": field,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    pa.parquet.write_table(table, temporary)
    temporary.replace(path)


# -- notes -------------------------------------------------------------------------------------------------


def statistics(files: Sequence[EpisodeRows]) -> dict[str, dict[str, list[float | int]]]:
    """Least, greatest, mean and spread of every number, over all rows."""
    columns = {
        "observation.state": "states",
        "action": "actions",
        EXTRINSICS: "extrinsics",
        "observation.environment_state": "objects",
    }
    summary = {}
    for name, field in columns.items():
        values = np.concatenate([getattr(rows, field) for rows in files])
        summary[name] = {
            "min": values.min(axis=0).tolist(),
            "max": values.max(axis=0).tolist(),
            "mean": values.mean(axis=0).tolist(),
            "std": values.std(axis=0).tolist(),
            "count": [len(values)],
        }
    return summary


def info(totals: dict[str, int], features: dict[str, dict], fps: int) -> dict:
    """What the folder holds, in the words of the format."""
    return {
        "codebase_version": "v3.0",
        "robot_type": "panda in the vjepa demo world",
        **totals,
        "chunks_size": CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        # For the format each folder is a dataset of its own. Which of our splits it is, its name says.
        "splits": {"train": f"0:{totals['total_episodes']}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "features": features,
    }


def features(size: int, fps: int, coordinates: int) -> dict[str, dict]:
    """Type, shape and names of every column; `coordinates` counts those of all objects."""
    coordinate_names = [f"{axis}{number}" for number in range(coordinates // 3) for axis in "xyz"]
    video = {
        "video.height": size,
        "video.width": size,
        "video.channels": 3,
        "video.fps": fps,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "has_audio": False,
    }
    return {
        VIDEO: {
            "dtype": "video",
            "shape": [size, size, 3],
            "names": ["height", "width", "channels"],
            "info": video,
        },
        "observation.state": vector_feature(STATE_NAMES),
        "action": vector_feature(STATE_NAMES),
        EXTRINSICS: vector_feature(POSE_NAMES),
        "observation.environment_state": vector_feature(coordinate_names),
        "timestamp": number_feature("float32"),
        **{name: number_feature("int64") for name in ("frame_index", "episode_index", "index", "task_index")},
    }


def vector_feature(names: Sequence[str]) -> dict:
    return {"dtype": "float32", "shape": [len(names)], "names": list(names)}


def number_feature(kind: str) -> dict:
    return {"dtype": kind, "shape": [1], "names": None}


def write_json(path: Path, values: dict) -> None:
    write_text(path, json.dumps(values, indent=1))
