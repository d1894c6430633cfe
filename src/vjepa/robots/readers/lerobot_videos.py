"""Finds the images of episodes in the video files of a LeRobotDataset v3.0, where several share a file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64

from vjepa.data.decode import open_video
from vjepa.data.decode_error import DecodeError
from vjepa.robots.episode_checks import RATE_ROUNDING
from vjepa.robots.episodes import Footage, TrajectoryError
from vjepa.robots.left_out import LeftOut
from vjepa.robots.readers.lerobot_episodes import PLACE, EpisodeTable
from vjepa.robots.readers.parquet_numbers import is_whole

OPENED = 500
"""Video files that are opened when a folder is loaded: 2 to 4 ms each on a local disk."""


def cameras_with_videos(table: EpisodeTable, cameras: Sequence[str], left_out: LeftOut) -> tuple[str, ...]:
    """The cameras of which any video file is there: a partial download may be of one camera."""
    present = tuple(camera for camera in cameras if has_a_video(table, camera))
    folder = table.info.folder
    if not present:
        raise TrajectoryError(f"{folder}: none of the video files of {', '.join(cameras)} is there")
    for camera in cameras:
        if camera not in present:
            left_out.notes.append(f"{folder}: camera {camera} is left out: none of its video files is there")
    return present


def has_a_video(table: EpisodeTable, camera: str) -> bool:
    """Whether one of a camera's files is there, of those that have a valid number."""
    columns = (table.columns[f"videos/{camera}/{column}"] for column in PLACE)
    places = np.unique(np.stack(list(columns), 1), axis=0)
    places = places[is_whole(places).all(1)].astype(np.int64)
    return any(table.info.file(camera, *place).is_file() for place in places.tolist())


def without_early_begins(table: EpisodeTable, cameras: Sequence[str], left_out: LeftOut) -> EpisodeTable:
    """The episodes that do not begin, under any of the cameras, within an episode before them.

    An episode may have more seconds than rows: some recorders film on after the last row. If it also begins
    within another's seconds, its begin is wrong, and its images would be shifted. All cameras are looked at
    before any episode is left out: the episode before may itself be one of those.
    """
    early = np.stack([_begins_early(table, camera) for camera in cameras])
    by_camera = early.argmax(0)

    def say(episode: int) -> str:
        camera = cameras[by_camera[episode]]
        span = f"{_begins(table, camera)[episode]:.3f} to {_ends(table, camera)[episode]:.3f} s"
        rows = f"{table.length[episode]} rows at {table.info.fps:g} a second"
        return (
            f"{table.name(episode)}: its images of {camera} lie at {span}, too long for {rows} and over "
            f"the episode before; one of the two times is wrong"
        )

    return table.without(early.any(0), say, left_out.bad)


def _begins_early(table: EpisodeTable, camera: str) -> Bool[np.ndarray, " e"]:
    """Which episodes have more seconds than rows, and begin within the seconds of one before them."""
    begins = _begins(table, camera)
    ends = _ends(table, camera)
    fps = table.info.fps
    # Half a row is for rounding. False where a time is missing, which is NaN.
    early = (ends - begins) * fps > table.length * (1 + RATE_ROUNDING) + 0.5
    if not early.any():
        return early

    files = list(zip(*(table.columns[f"videos/{camera}/{column}"].tolist() for column in PLACE), strict=True))
    reached: dict[tuple[float, ...], float] = {}
    for episode in np.argsort(begins, kind="stable").tolist():
        before = reached.get(files[episode], -np.inf)
        early[episode] &= begins[episode] < before - 0.5 / fps
        reached[files[episode]] = max(before, ends[episode])
    return early


def with_images(table: EpisodeTable, camera: str, left_out: LeftOut) -> EpisodeTable:
    """The episodes whose images under a camera have a part of a video file to themselves."""
    table = table.with_files(camera, left_out)
    table = _with_enough_seconds(table, camera, left_out)
    table = _without_overlaps(table, camera, left_out)
    # In larger datasets each episode is compared with its video when it is read (`Episodes.frames`).
    return table if len(set(table.files(camera))) > OPENED else _inside_videos(table, camera, left_out)


def footage_of(table: EpisodeTable, camera: str) -> Footage:
    """The video file of each episode, and the second at which the episode begins there."""
    return Footage(table.files(camera), _begins(table, camera))


def _begins(table: EpisodeTable, camera: str) -> Float64[np.ndarray, " e"]:
    return table.columns[f"videos/{camera}/from_timestamp"]


def _ends(table: EpisodeTable, camera: str) -> Float64[np.ndarray, " e"]:
    return table.columns[f"videos/{camera}/to_timestamp"]


def _with_enough_seconds(table: EpisodeTable, camera: str, left_out: LeftOut) -> EpisodeTable:
    begins = _begins(table, camera)
    seconds = _ends(table, camera) - begins
    fps = table.info.fps

    def say(episode: int) -> str:
        name = table.name(episode)
        if not np.isfinite(seconds[episode]) or begins[episode] < 0:
            span = f"{begins[episode]:.3f} to {begins[episode] + seconds[episode]:.3f} s"
            return f"{name}: its images of {camera} lie at {span} in meta/episodes, expected two times"
        rows = f"{table.columns['length'][episode]:.12g} rows at {fps:g} a second"
        return (
            f"{name}: there are {seconds[episode]:.3f} s of {camera} for {rows}; "
            f"the rest would be another episode's images"
        )

    # Half a row is for rounding. False where a time is missing, which is NaN.
    enough = (seconds * fps >= table.length - 0.5) & np.isfinite(seconds) & (begins * fps > -0.5)
    return table.without(~enough, say, left_out.bad)


def _without_overlaps(table: EpisodeTable, camera: str, left_out: LeftOut) -> EpisodeTable:
    begins = _begins(table, camera)
    ends = _ends(table, camera)
    files = table.files(camera)

    def say(episode: int) -> str:
        span = f"{begins[episode]:.3f} to {ends[episode]:.3f} s of {files[episode]}"
        return f"{table.name(episode)}: {span} are said to show another episode too"

    numbers = {file: number for number, file in enumerate(dict.fromkeys(files))}
    groups = np.array([numbers[file] for file in files])
    return table.without(overlapping(groups, begins, ends, 0.5 / table.info.fps), say, left_out.bad)


def overlapping(
    groups: np.ndarray, begins: Float64[np.ndarray, " e"], ends: Float64[np.ndarray, " e"], slack: float
) -> Bool[np.ndarray, " e"]:
    """Which spans lie over another of their group by more than `slack`."""
    # All groups on one clock, one after the other.
    shift = groups * (ends.max() - begins.min() + slack + 1)
    order = np.argsort(begins + shift, kind="stable")
    start = (begins + shift)[order]
    end = (ends + shift)[order]
    # Of the later spans the next one begins first; of the earlier ones any may reach the furthest.
    over_next = start[1:] < end[:-1] - slack
    over_earlier = start[1:] < np.maximum.accumulate(end)[:-1] - slack

    found = np.zeros(len(order), bool)
    found[order[:-1]] = over_next
    found[order[1:]] |= over_earlier
    return found


def _inside_videos(table: EpisodeTable, camera: str, left_out: LeftOut) -> EpisodeTable:
    files = table.files(camera)
    ends = {file: _end_or_fault(file) for file in dict.fromkeys(files)}
    broken = np.array([isinstance(ends[file], str) for file in files])
    table = table.without(broken, lambda e: f"{table.place(files[e], e)}: {ends[files[e]]}", left_out.missing)

    kept = table.files(camera)
    there = np.array([ends[file] for file in kept])
    # The middle of the last image: all later ones are rounding.
    needed = _begins(table, camera) + (table.columns["length"] - 0.5) / table.info.fps

    def say(episode: int) -> str:
        return (
            f"{table.place(kept[episode], episode)}: its images are said to reach to "
            f"{needed[episode]:.3f} s, but the video ends at {there[episode]:.3f} s"
        )

    return table.without(needed > there, say, left_out.bad)


def _end_or_fault(file: Path) -> float | str:
    """Seconds until a video ends, or why it cannot be opened."""
    try:
        with open_video(file) as video:
            return video.end
    except DecodeError as error:
        return error.reason
