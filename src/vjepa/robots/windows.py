"""Windows of robot trajectories as a pure function of (seed, sample number): pictures, states, actions, times.

A window is T rows of one episode, 1 / fps of physical time apart whatever the rate of the recording, seen by one camera.
Its actions are what leads from each state to the next by the rule of the schema, or the recording's own. Training replaces
an episode that cannot be decoded by another draw, a bounded number of times, and reports it with the batch; evaluation
never replaces. Episodes shorter than a window are known beforehand: they are left out and named once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float32, Float64, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vjepa.data.clips import ATTEMPTS
from vjepa.data.decode import DecodeError
from vjepa.data.sampling import Mixture
from vjepa.data.transforms import Box, centre_box, crop, random_box
from vjepa.errors import UserError
from vjepa.robots.episodes import TrajectoryError
from vjepa.robots.pose import pose_delta
from vjepa.robots.readers.lerobot import LeRobot

ROUNDING = 1e-3
"""Rows by which a window may reach past the last one: time stamps are float32."""


@dataclass(frozen=True)
class TrajectoryConfig:
    """What one window is, in physical units. The paper's (section 3.1): 16 frames, 4 a second, 256 pixels."""

    frames: int = 16
    """Pictures and states per window; there is one action fewer."""
    fps: float = 4.0
    """Rows per second of physical time; at most the recording's own rate."""
    size: int = 256
    """Height and width, pixels."""
    cameras: tuple[str, ...] = ()
    """Cameras to draw from, one for each window; empty: all of the dataset. Evaluation takes the first."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Training: share of the frame's area under the random crop. There is no mirroring: it would make actions wrong."""
    aspect: tuple[float, float] = (1.0, 1.0)
    """Width over height of the crop. The released weights have seen the middle at 1.35, squeezed to a square."""
    windows: int = 1
    """Evaluation: windows per episode, spread evenly; one is the middle."""
    evaluation_frames: int | None = None
    """Evaluation: frames of a window, for longer looks ahead than training takes; not given: `frames`."""
    pixels: bool = True
    """False: windows without pictures, for training from cached latents; `clip` is then empty."""

    def __post_init__(self) -> None:
        if (
            min(self.frames, self.evaluated_frames) < 2
            or not 0 < self.fps < float("inf")
            or self.size < 1
            or self.windows < 1
        ):
            raise UserError(
                f"trajectory: frames={self.frames} must be 2 or more, and so must evaluation_frames={self.evaluation_frames}; "
                f"fps={self.fps}, size={self.size} and windows={self.windows} must be positive"
            )
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(
                f"trajectory.scale={self.scale} must be two growing shares of the area within (0, 1]"
            )
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise UserError(f"trajectory.aspect={self.aspect} must be two growing positive ratios")

    @property
    def evaluated_frames(self) -> int:
        return self.frames if self.evaluation_frames is None else self.evaluation_frames

    @property
    def fixed_crop(self) -> bool:
        """Whether training sees the same crop every time, so that its latents can be cached."""
        return self.scale == (1.0, 1.0) and self.aspect[0] == self.aspect[1]

    @property
    def span(self) -> float:
        """Seconds from the first row of a window to the last."""
        return (self.frames - 1) / self.fps


class EpisodeWindow(NamedTuple):
    clip: UInt8[Tensor, "t c h w"] | None
    """None if the episode could not be decoded and nothing replaces it."""
    states: Float32[Tensor, "t Ds"]
    actions: Float32[Tensor, "u Da"]
    """u = t - 1: what leads from each state to the next."""
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
    """Training: the global sample number. Evaluation: the window's."""
    bad: list[str]
    """Episodes that failed on the way, each with its reason."""


class TrajectoryBatch(NamedTuple):
    """Windows side by side; fields as in `EpisodeWindow`."""

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
    """Episodes that failed, each with its reason, replaced or not."""
    lost: int
    """Windows that are missing from this batch."""


def lost_window(index: int, bad: list[str]) -> EpisodeWindow:
    nothing = torch.empty(0)
    return EpisodeWindow(None, *[nothing] * 4, nothing.long(), -1, -1, "", index, bad)


def collate_windows(windows: Sequence[EpisodeWindow]) -> TrajectoryBatch:
    """A batch of the decodable windows, which may be none."""
    good = [window for window in windows if window.clip is not None]
    bad = [reason for window in windows for reason in window.bad]
    fields = ("clip", "states", "actions", "times", "extrinsics", "rows")
    stacked = [torch.stack([getattr(w, name) for w in good]) if good else torch.empty(0) for name in fields]
    numbers = torch.tensor(
        [[w.source for w in good], [w.episode for w in good], [w.index for w in good]], dtype=torch.long
    )
    return TrajectoryBatch(*stacked, *numbers, [w.camera for w in good], bad, lost=len(windows) - len(good))


def window_rows(
    times: Float64[np.ndarray, " n"], start: int, config: TrajectoryConfig, fps: float
) -> Int64[np.ndarray, " t"]:
    """The rows nearest to moments 1 / config.fps apart, from row `start` on, in a recording of `fps` rows a second."""
    wanted = times[start] + np.arange(config.frames) / config.fps
    return np.searchsorted(times, wanted - 0.5 / fps).clip(max=len(times) - 1)


class Windows:
    """All windows of one dataset: which episodes are long enough, where windows may begin, and what is in them.

    `short` names the episodes that are left out, each with its reason. Raises TrajectoryError if none is left.
    """

    def __init__(self, data: LeRobot, config: TrajectoryConfig) -> None:
        self.data, self.config = data, config
        self._check_rate()
        self.cameras = config.cameras or data.cameras
        if absent := set(self.cameras) - set(data.cameras):
            raise TrajectoryError(
                f"{data.folder}: cameras {sorted(absent)} were not loaded, only {data.cameras}"
            )
        last = data.times[data.first + data.length - 1]
        fits = last + ROUNDING / data.fps >= config.span
        broken = np.isin(np.arange(len(data)), list(data.broken))
        self.episodes = np.flatnonzero(fits & ~broken)
        need = f"a window of {config.frames} rows at {config.fps:g} a second spans {config.span:.3f} s"
        self.short = [
            f"{data.name(e)}: too short: {last[e]:.3f} s; {need}"
            for e in np.flatnonzero(~fits & ~broken).tolist()
        ]
        self.short += data.broken.values()
        if not len(self.episodes):
            raise TrajectoryError(
                f"{data.folder}: none of {len(data)} episodes can be used, the first: {self.short[0]}"
            )

    def _check_rate(self) -> None:
        asked, there = self.config.fps, self.data.fps
        if asked > there * (1 + 1e-6):
            raise TrajectoryError(
                f"{self.data.folder}: trajectory.fps={asked:g}, but it was recorded at {there:g} rows a second"
            )
        if self.data.schema.delta == "recorded" and abs(asked - there) > 1e-6:
            raise TrajectoryError(
                f"{self.data.folder}: its own actions lead from row to row, {there:g} a second; with trajectory.fps={asked:g} "
                f"take schema.delta=pose or difference"
            )

    def __len__(self) -> int:
        """Usable episodes."""
        return len(self.episodes)

    def starts(self, episode: int) -> int:
        """How many rows of an episode can be the first of a window.

        Whole rows, because states are known at rows only: a window that begins on one has no rounding in its first row.
        """
        times = self.data.times[self.data.rows(episode)]
        return int(np.count_nonzero(times <= times[-1] - self.config.span + ROUNDING / self.data.fps))

    def read(self, episode: int, start: int, camera: str, rng: np.random.Generator | None) -> EpisodeWindow:
        """One window, randomly cropped with `rng`. Raises DecodeError, which names the episode."""
        data, here = self.data, self.data.rows(episode)
        rows = window_rows(data.times[here], start, self.config, data.fps)
        states = data.schema.wrap(data.states[here][rows])
        actions = (
            pose_delta(states[:-1], states[1:], data.schema)
            if data.actions is None
            else data.actions[here][rows[:-1]]
        )
        extrinsics = data.extrinsics[camera][here][rows] if data.extrinsics else torch.empty(len(rows), 0)
        clip = (
            self.frames(episode, camera, rows, rng)
            if self.config.pixels
            else torch.empty(0, 3, 0, 0, dtype=torch.uint8)
        )
        times = torch.from_numpy(data.times[here][rows]).float()
        return EpisodeWindow(
            clip, states, actions, times, extrinsics, torch.from_numpy(rows), 0, episode, camera, 0, []
        )

    def frames(
        self, episode: int, camera: str, rows: Int64[np.ndarray, " t"], rng: np.random.Generator | None = None
    ) -> UInt8[Tensor, "t c size size"]:
        """Pictures of some rows as a network sees them: cropped and resized. Raises DecodeError, which names the episode."""
        try:
            frames = rearrange(self.data.frames(episode, camera, rows), "t h w c -> t c h w")
        except DecodeError as error:
            raise DecodeError(error.path, f"{error.reason} ({self.data.name(episode)})") from error
        return crop(frames, self.box(*frames.shape[-2:], rng), self.config.size, False)

    def box(self, height: int, width: int, rng: np.random.Generator | None) -> Box:
        """A random box, or without `rng` the largest centred one of an allowed aspect."""
        config = self.config
        if rng is None or config.fixed_crop:
            return centre_box(height, width, min(max(width / height, config.aspect[0]), config.aspect[1]))
        return random_box(height, width, config.scale, config.aspect, rng)


class TrainingTrajectories(Dataset):
    """Sample number k, for ever: the mixture says which episode, a generator keyed by (seed, k) says the rest."""

    def __init__(
        self, datasets: Sequence[LeRobot], weights: Sequence[float], config: TrajectoryConfig, seed: int
    ) -> None:
        self.windows, self.seed = [Windows(data, config) for data in datasets], seed
        self.mixture = Mixture([len(windows) for windows in self.windows], weights, seed)

    def __getitem__(self, k: int) -> EpisodeWindow:
        bad: list[str] = []
        for attempt in range(ATTEMPTS):
            source, i = self.mixture(k) if attempt == 0 else self.mixture.replacement(k, attempt)
            rng = np.random.Generator(
                np.random.Philox(key=np.array([self.seed, k], np.uint64), counter=attempt)
            )
            windows = self.windows[source]
            episode = int(windows.episodes[i])
            start, camera = (
                int(rng.integers(windows.starts(episode))),
                windows.cameras[rng.integers(len(windows.cameras))],
            )
            try:
                return windows.read(episode, start, camera, rng)._replace(source=source, index=k, bad=bad)
            except DecodeError as error:
                bad.append(str(error))
        return lost_window(k, bad)


class EvaluationTrajectories(Dataset):
    """The same windows every time: `config.windows` of every episode, spread evenly, the largest centred crop."""

    def __init__(self, data: LeRobot, config: TrajectoryConfig) -> None:
        self.windows = Windows(data, replace(config, frames=config.evaluated_frames))
        places = (np.arange(config.windows) + 0.5) / config.windows
        self.items = [
            (episode, start)
            for episode in self.windows.episodes.tolist()
            for start in dict.fromkeys((places * self.windows.starts(episode)).astype(int).tolist())
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> EpisodeWindow:
        episode, start = self.items[i]
        try:
            return self.windows.read(episode, start, self.windows.cameras[0], None)._replace(index=i)
        except DecodeError as error:
            return lost_window(i, [str(error)])
