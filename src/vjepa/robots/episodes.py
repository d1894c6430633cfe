"""The contract of the readers: whatever the format of a recording, a reader returns `Episodes`.

A reader reads the columns that `Columns` names, finds the videos (`Footage`), fills the fields of `Episodes`,
says which files decide its `fingerprint`, and ends with `check_rows`. It raises TrajectoryError for data that
cannot be used. Windows, caches and the data module know `Episodes` only.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from torch import Tensor

from vjepa.data.decode import decode_frames
from vjepa.errors import UserError
from vjepa.robots.schema import FULL_TURN, StateSchema


class TrajectoryError(UserError):
    """A robot dataset that cannot be used: which file, episode and column, what is wrong, what to do."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a dataset hold states, actions and camera poses. The defaults are LeRobot's own names.

    For `lerobot/droid_1.0.1`: state [observation.state.cartesian_position,
    observation.state.gripper_position], extrinsics `camera_extrinsics.{camera}`.
    """

    state: tuple[str, ...] = ("observation.state",)
    """Columns whose numbers, one after the other, are the state."""
    action: str = "action"
    """Column of actions; read only under `schema.delta: recorded`."""
    extrinsics: str = ""
    """Column of the camera's pose (xyz metres, xyz angles in radians); `{camera}` is the last part of the
    camera's name. Empty: none."""

    def extrinsics_of(self, cameras: Sequence[str]) -> dict[str, str]:
        """The column of each camera's pose; empty if none is named."""
        if not self.extrinsics:
            return {}
        return {camera: self.extrinsics.replace("{camera}", camera.split(".")[-1]) for camera in cameras}

    def needed(self, schema: StateSchema, cameras: Sequence[str]) -> list[str]:
        """All columns that are read under a schema."""
        actions = [self.action] if schema.delta == "recorded" else []
        return [*self.state, *actions, *self.extrinsics_of(cameras).values()]


class Footage(NamedTuple):
    """Where the images of all episodes are, for one camera. Several episodes may share a file."""

    files: list[Path]
    """The video file of each episode."""
    starts: Float64[np.ndarray, " e"]
    """Seconds into its file at which each episode begins."""


@dataclass(eq=False)  # == of tensors is no truth value
class Episodes(ABC):
    """One dataset: numbers in memory, images on demand.

    Rows of all episodes lie one after the other, in the order of time. Episodes are counted from 0 everywhere
    but in `numbers` and in error messages.
    """

    folder: Path
    schema: StateSchema
    """What the states are."""
    fps: float
    """Rows per second."""
    cameras: tuple[str, ...]
    """Names of the cameras in use."""
    numbers: Int64[np.ndarray, " e"]
    """The dataset's own number of each episode."""
    first: Int64[np.ndarray, " e"]
    """The row with which each episode begins."""
    length: Int64[np.ndarray, " e"]
    """Rows of each episode."""
    times: Float64[np.ndarray, " rows"]
    """Seconds since the episode's first row."""
    states: Float32[Tensor, "rows Ds"]
    actions: Float32[Tensor, "rows Da"] | None
    """The data's own actions under `schema.delta: recorded`, else None."""
    extrinsics: dict[str, Float32[Tensor, "rows 6"]]
    """For each camera its pose at every row; empty if no column is named."""
    footage: dict[str, Footage]
    """For each camera."""
    row_files: list[Path]
    """The file that holds the rows of each episode, for error messages."""
    broken: dict[int, str]
    """Episodes that have fewer images than rows, each with its reason."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A digest that changes when the data changes. Caches use it as a key."""

    def __len__(self) -> int:
        """Episodes."""
        return len(self.numbers)

    def rows(self, episode: int) -> slice:
        """Where the rows of an episode are in `states` and `times`."""
        first = int(self.first[episode])
        return slice(first, first + int(self.length[episode]))

    def frames(
        self, episode: int, camera: str, rows: Sequence[int] | Int64[np.ndarray, " t"]
    ) -> UInt8[Tensor, "t h w c"]:
        """Images of some rows of an episode, counted from its first. Raises DecodeError."""
        files, starts = self.footage[camera]
        # Half a frame later is the middle of the time for which an image is on screen, so rounded time stamps
        # never select its neighbour.
        times = starts[episode] + self.times[self.rows(episode)][np.asarray(rows)] + 0.5 / self.fps
        return torch.from_numpy(decode_frames(files[episode], times))

    def name(self, episode: int) -> str:
        """What an episode is called in a sentence."""
        return f"{self.folder}, episode {self.numbers[episode]}"


def check_rows(episodes: Episodes, columns: Columns) -> None:
    """Raise TrajectoryError for the first row that no robot can have measured.

    Numbers must be finite, angles in radians, and time stamps must rise by 1 / fps from 0 in every episode.
    """
    _check_finite(episodes)
    _check_angles(episodes, "+".join(columns.state))
    _check_times(episodes)


def _check_finite(episodes: Episodes) -> None:
    values = {"state": episodes.states}
    if episodes.actions is not None:
        values["action"] = episodes.actions
    values |= {f"pose of {camera}": poses for camera, poses in episodes.extrinsics.items()}
    for what, numbers in values.items():
        finite = numbers.isfinite().all(-1)
        _check_each(episodes, finite, f"the {what} is missing, NaN or infinite; remove the episode")


def _check_angles(episodes: Episodes, column: str) -> None:
    schema = episodes.schema
    angles = [dim for dim, unit in enumerate(schema.units) if unit == "rad"]
    # Some datasets count angles from 0 to 2 pi, others from -pi to pi; the rest is for rounding.
    far = episodes.states[:, angles].abs() > FULL_TURN + 1e-3
    if not far.any():
        return
    dim = angles[int(far.any(0).nonzero()[0])]
    value = episodes.states[far.any(-1)][0, dim]
    shown = f"{schema.names[dim]} of column {column} is {value:.1f}"
    _check_each(episodes, ~far.any(-1), f"{shown}, which is not an angle in radians; convert it from degrees")


def _check_times(episodes: Episodes) -> None:
    # In rows, so that an even step is 1.
    steps = np.diff(episodes.times, prepend=0.0) * episodes.fps
    # The first row of an episode must be at 0, whatever the row before it, which is another episode's.
    steps[episodes.first] = episodes.times[episodes.first] * episodes.fps + 1
    even = torch.from_numpy((steps > 0.5) & (steps < 1.5))
    _check_each(episodes, even, f"column timestamp does not rise by 1/{episodes.fps:g} s from the row before")


def _check_each(episodes: Episodes, good: Bool[Tensor, " rows"], complaint: str) -> None:
    """Raise TrajectoryError for the first row that is not good, if any."""
    if good.all():
        return
    row = int((~good).int().argmax())
    # The last episode that begins at or before this row.
    episode = int(np.searchsorted(episodes.first, row, side="right")) - 1
    place = f"episode {episodes.numbers[episode]}, frame {row - episodes.first[episode]}"
    raise TrajectoryError(f"{episodes.row_files[episode]}, {place}: {complaint}")
