"""The contract of the readers: whatever the format of a recording, a reader returns `Episodes`.

A reader reads the columns that `Columns` names, finds the videos (`Footage`), fills the fields of `Episodes`,
says which files decide its `fingerprint`, and ends with `sound_episodes`. It leaves out episodes that cannot
be used, and raises TrajectoryError if none is left. Windows, caches and the data module know `Episodes` only.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from torch import Tensor

from vjepa.data.decode import Change, open_video
from vjepa.data.decode_error import DecodeError
from vjepa.errors import UserError
from vjepa.robots.left_out import LeftOut
from vjepa.robots.schema import StateSchema


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

    def keep(self, good: Bool[np.ndarray, " e"]) -> "Footage":
        """That of these episodes alone."""
        return Footage(list(compress(self.files, good)), self.starts[good])


@dataclass(eq=False)  # == of tensors is no truth value
class Episodes(ABC):
    """One dataset: numbers in memory, images on demand. All of its episodes can be used.

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
    left_out: LeftOut
    """What the reader does not use, each with its reason."""

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
        self,
        episode: int,
        camera: str,
        rows: Sequence[int] | Int64[np.ndarray, " t"],
        change: Change | None = None,
    ) -> UInt8[Tensor, "t h w c"]:
        """Images of some rows of an episode, counted from its first; `change` crops them.

        Raises DecodeError, also if the video ends before the episode.
        """
        files, starts = self.footage[camera]
        # Half a frame later is the middle of the time for which an image is on screen, so rounded time stamps
        # never select its neighbour.
        times = starts[episode] + self.times[self.rows(episode)] + 0.5 / self.fps
        with open_video(files[episode]) as video:
            # A table that promises too many images may be wrong about the first ones too.
            if times[-1] > video.end:
                raise DecodeError(files[episode], f"it ends at {video.end:.3f} s, before its episode")
            return torch.from_numpy(video.frames(times[np.asarray(rows)], change))

    def keep(self, good: Bool[np.ndarray, " e"]) -> "Episodes":
        """These episodes and their rows alone."""
        rows = torch.from_numpy(np.repeat(good, self.length))
        length = self.length[good]
        return replace(
            self,
            numbers=self.numbers[good],
            first=np.cumsum(length) - length,
            length=length,
            times=self.times[rows.numpy()],
            states=self.states[rows],
            actions=None if self.actions is None else self.actions[rows],
            extrinsics={camera: poses[rows] for camera, poses in self.extrinsics.items()},
            footage={camera: footage.keep(good) for camera, footage in self.footage.items()},
            row_files=list(compress(self.row_files, good)),
        )

    def name(self, episode: int) -> str:
        """What an episode is called in a sentence."""
        return f"{self.folder}, episode {self.numbers[episode]}"


def check_any_left(folder: Path, good: Bool[np.ndarray, " e"], reasons: Sequence[str]) -> None:
    """Raise TrajectoryError with the first reason if no episode is good."""
    if not good.any():
        raise TrajectoryError(f"{folder}: none of its episodes can be used, the first: {reasons[0]}")
