"""One window of a robot episode as tensors, and batches of windows."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor


class EpisodeWindow(NamedTuple):
    """Rows of one episode, seen by one camera: t rows at times that are evenly spaced."""

    clip: UInt8[Tensor, "t c h w"] | None
    """None if the episode could not be decoded and nothing replaces it."""
    states: Float32[Tensor, "t Ds"]
    actions: Float32[Tensor, "u Da"]
    """u = t - 1: each action leads from one state to the next."""
    times: Float32[Tensor, " t"]
    """Seconds since the episode's first row."""
    extrinsics: Float32[Tensor, "t e"]
    """Pose of the camera in the robot's frame; e is 6, or 0 if the dataset has none."""
    rows: Int64[Tensor, " t"]
    """Rows of the episode, counted from its first."""
    source: int
    """Which dataset of the mixture."""
    episode: int
    """Which of its episodes, counted from 0."""
    camera: str
    index: int
    """Training: the global sample number. Evaluation: the window's number."""
    bad: list[str]
    """Episodes that could not be decoded while this window was drawn, each with its reason."""


class TrajectoryBatch(NamedTuple):
    """Windows along the first axis; fields as in `EpisodeWindow`."""

    clip: UInt8[Tensor, "b t c h w"]
    states: Float32[Tensor, "b t Ds"]
    actions: Float32[Tensor, "b u Da"]
    times: Float32[Tensor, "b t"]
    extrinsics: Float32[Tensor, "b t e"]
    rows: Int64[Tensor, "b t"]
    source: Int64[Tensor, " b"]
    episode: Int64[Tensor, " b"]
    index: Int64[Tensor, " b"]
    camera: list[str]
    bad: list[str]
    """Episodes that could not be decoded, each with its reason, whether another replaced them or not."""
    lost: int
    """Windows that are missing from this batch."""


# Tensors of a window, which are stacked, and its numbers, which become one tensor.
STACKED = ("clip", "states", "actions", "times", "extrinsics", "rows")
NUMBERED = ("source", "episode", "index")


def lost_window(index: int, bad: list[str]) -> EpisodeWindow:
    """The placeholder of a window that could not be decoded."""
    empty = torch.empty(0)  # `collate_windows` reads only `bad`
    return EpisodeWindow(None, *[empty] * 4, empty.long(), -1, -1, "", index, bad)


def collate_windows(windows: Sequence[EpisodeWindow]) -> TrajectoryBatch:
    """A batch of the windows that could be decoded, which may be none."""
    good = [window for window in windows if window.clip is not None]
    bad = [reason for window in windows for reason in window.bad]

    # An empty list cannot be stacked; a batch without windows holds empty tensors.
    stacked = {
        name: torch.stack([getattr(window, name) for window in good]) if good else torch.empty(0)
        for name in STACKED
    }
    numbered = {
        name: torch.tensor([getattr(window, name) for window in good], dtype=torch.long) for name in NUMBERED
    }
    cameras = [window.camera for window in good]
    return TrajectoryBatch(**stacked, **numbered, camera=cameras, bad=bad, lost=len(windows) - len(good))
