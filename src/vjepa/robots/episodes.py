"""Episodes."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from vjepa.errors import UserError


class TrajectoryError(UserError):
    """A robot dataset that cannot be used. One sentence: which file, episode and column, what is wrong, what to do."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a dataset are what. The defaults are the format's own names.

    For `lerobot/droid_1.0.1`: state [observation.state.cartesian_position, observation.state.gripper_position],
    extrinsics `camera_extrinsics.{camera}`.
    """

    state: tuple[str, ...] = ("observation.state",)
    """Columns that make up a state, one after the other."""
    action: str = "action"
    """Column of actions; looked at only under `schema.delta: recorded`."""
    extrinsics: str = ""
    """Column of the camera's pose (xyz metres, xyz angles in radians); `{camera}` is the last part of the camera's name.
    Empty: none."""


class Footage(NamedTuple):
    """Where the pictures of all episodes are, for one camera."""

    files: list[Path]
    starts: Float64[np.ndarray, " e"]
    """Seconds into its file at which each episode begins."""
