"""Windows of robot episodes: images, states, actions and times of the same moments.

    windows = Windows(load_lerobot("data/robot/train"), TrajectoryConfig())
    window = windows.read(episode=7, start=0, camera=windows.cameras[0], rng=None)

A window is T rows of one episode, 1 / fps of physical time apart whatever the rate of the recording, seen by
one camera. Its actions lead from each state to the next by the rule of the schema, or are the recording's
own. Episodes that are too short for a window are known when the data is loaded: they are left out.
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float32, Float64, Int64, UInt8
from torch import Tensor

from vjepa.data.decode_error import DecodeError
from vjepa.data.transforms import Box, centre_box, clip_crop, random_box
from vjepa.errors import require
from vjepa.robots.episodes import Episodes, TrajectoryError, check_any_left
from vjepa.robots.hand_view import HandView
from vjepa.robots.pose import pose_delta
from vjepa.robots.window_batches import EpisodeWindow

ROUNDING = 1e-3
"""Rows by which a window may reach past the last one: time stamps are float32."""


@dataclass(frozen=True)
class TrajectoryConfig:
    """What one window is, in physical units. The defaults are the paper's (section 3.1)."""

    frames: int = 16
    """Images and states per window; there is one action fewer."""
    fps: float = 4.0
    """Rows per second of physical time; at most the recording's own rate."""
    size: int = 256
    """Height and width, pixels."""
    cameras: tuple[str, ...] = ()
    """Cameras to draw from, one for each window; empty: all of the dataset. Evaluation takes the first."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Training: share of the frame's area under the random crop. Mirroring would make actions wrong."""
    aspect: tuple[float, float] = (1.0, 1.0)
    """Width over height of the crop. The released weights were trained on 1.35, squeezed to a square."""
    windows: int = 1
    """Evaluation: windows per episode, spread evenly; a single one is in the middle."""
    evaluation_frames: int | None = None
    """Evaluation: frames per window, to predict further ahead than training does; not given: `frames`."""
    pixels: bool = True
    """False: windows without images, for training from cached latents; `clip` is then empty."""
    hand: HandView | None = None
    """Beside the whole picture, a square of it around the hand, for a reader of the arm's state."""

    def __post_init__(self) -> None:
        enough = min(self.frames, self.evaluated_frames) >= 2
        positive = 0 < self.fps < float("inf") and self.size > 0 and self.windows > 0
        require(
            enough and positive,
            f"trajectory: frames={self.frames} must be 2 or more, and so must "
            f"evaluation_frames={self.evaluation_frames}; fps={self.fps}, size={self.size} and "
            f"windows={self.windows} must be positive",
        )
        require(
            0 < self.scale[0] <= self.scale[1] <= 1,
            f"data.window.scale={self.scale} must be two growing shares of the area within (0, 1]",
        )
        require(
            0 < self.aspect[0] <= self.aspect[1],
            f"data.window.aspect={self.aspect} must be two growing positive ratios",
        )

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


def window_rows(
    times: Float64[np.ndarray, " n"], start: int, config: TrajectoryConfig, fps: float
) -> Int64[np.ndarray, " t"]:
    """The rows nearest to moments that are 1 / config.fps apart, from row `start` on.

    times: Seconds of an episode's rows.
    fps: Rows per second.
    """
    moments = times[start] + np.arange(config.frames) / config.fps
    # The first row that is at most half a row too early is the nearest one. Clipped, because rounding may
    # lead past the last row.
    return np.searchsorted(times, moments - 0.5 / fps).clip(max=len(times) - 1)


class Windows:
    """The windows of one dataset: finds the episodes that are long enough, and reads windows from them.

    episodes   numbers of the episodes that can be used, counted from 0
    cameras    names of the cameras that windows are drawn from
    short      one sentence for each episode that is too short for a window
    view       the square around the hand, where images show that alone
    """

    view: HandView | None = None

    def __init__(self, data: Episodes, config: TrajectoryConfig) -> None:
        """Raises TrajectoryError for absent cameras, a rate above the data's, or if no episode is usable."""
        self.data = data
        self.config = config
        self._check_rate()
        self.cameras = config.cameras or data.cameras
        absent = sorted(set(self.cameras) - set(data.cameras))
        if absent:
            raise TrajectoryError(f"{data.folder}: cameras {absent} were not loaded, only {data.cameras}")
        self.episodes, self.short = self._usable_episodes()

    def _check_rate(self) -> None:
        folder = self.data.folder
        fps = self.config.fps
        recorded = self.data.fps
        # A higher rate would repeat rows, with actions of zero between them.
        if fps > recorded * (1 + 1e-6):
            raise TrajectoryError(
                f"{folder}: data.window.fps={fps:g}, but it was recorded at {recorded:g} rows a second"
            )
        # A recorded action leads to the very next row, which a window of a lower rate skips.
        if self.data.schema.delta == "recorded" and abs(fps - recorded) > 1e-6:
            raise TrajectoryError(
                f"{folder}: its own actions lead from row to row, {recorded:g} a second; "
                f"with data.window.fps={fps:g} take schema.delta=pose or difference"
            )

    def _usable_episodes(self) -> tuple[Int64[np.ndarray, " e"], list[str]]:
        """Episodes that hold a window, and why the others are left out."""
        data = self.data
        config = self.config
        # Every episode begins at 0 (`sound_episodes`), so the time of its last row is its length.
        seconds = data.times[data.first + data.length - 1]
        fits = seconds + ROUNDING / data.fps >= config.span
        need = f"a window of {config.frames} rows at {config.fps:g} a second spans {config.span:.3f} s"
        short = [
            f"{data.name(episode)}: too short: {seconds[episode]:.3f} s; {need}"
            for episode in np.flatnonzero(~fits).tolist()
        ]
        check_any_left(data.folder, fits, short)
        return np.flatnonzero(fits), short

    @property
    def left_out(self) -> list[str]:
        """One sentence for each episode of the dataset that is not used."""
        return self.data.left_out.episodes + self.short

    def __len__(self) -> int:
        """Usable episodes."""
        return len(self.episodes)

    def starts(self, episode: int) -> int:
        """How many rows of an episode can be the first of a window.

        Windows begin on whole rows, because states are known at rows only.
        """
        times = self.data.times[self.data.rows(episode)]
        return int(np.count_nonzero(times <= times[-1] - self.config.span + ROUNDING / self.data.fps))

    def read(self, episode: int, start: int, camera: str, rng: np.random.Generator | None) -> EpisodeWindow:
        """The window that begins at row `start`, randomly cropped if `rng` is given.

        Raises DecodeError, which names the episode.
        """
        data = self.data
        inside = data.rows(episode)
        rows = window_rows(data.times[inside], start, self.config, data.fps)
        # Wrapped first: the difference of angles on both sides of +-pi would be a whole turn.
        states = data.schema.wrap(data.states[inside][rows])
        if self.config.pixels:
            clip = self.frames(episode, camera, rows, rng)
        else:
            clip = torch.empty(0, 3, 0, 0, dtype=torch.uint8)

        return EpisodeWindow(
            clip=clip,
            states=states,
            actions=self._actions(inside, rows, states),
            times=torch.from_numpy(data.times[inside][rows]).float(),
            extrinsics=self._extrinsics(inside, rows, camera),
            rows=torch.from_numpy(rows),
            # Data sets know the source and the index, and fill them in.
            source=0,
            episode=episode,
            camera=camera,
            index=0,
            bad=[],
        )

    def _actions(
        self, inside: slice, rows: Int64[np.ndarray, " t"], states: Float32[Tensor, "t Ds"]
    ) -> Float32[Tensor, "u Da"]:
        """The recorded actions of a window's rows but the last, or the differences of its states."""
        if self.data.actions is None:
            return pose_delta(states[:-1], states[1:], self.data.schema)
        # The action at a row leads to the next one; `_check_rate` has made sure that no row is skipped.
        return self.data.actions[inside][rows[:-1]]

    def _extrinsics(
        self, inside: slice, rows: Int64[np.ndarray, " t"], camera: str
    ) -> Float32[Tensor, "t e"]:
        """The camera's pose at each row; without numbers (e = 0) if the dataset has none."""
        if not self.data.extrinsics:
            return torch.empty(len(rows), 0)
        return self.data.extrinsics[camera][inside][rows]

    def frames(
        self, episode: int, camera: str, rows: Int64[np.ndarray, " t"], rng: np.random.Generator | None = None
    ) -> UInt8[Tensor, "t c size size"]:
        """Images of some rows, cropped and resized. Raises DecodeError, which names the episode."""
        # Never mirrored: the actions would go the other way.
        square = clip_crop(lambda height, width: (self.box(height, width, rng), False), self.config.size)
        try:
            return rearrange(self.data.frames(episode, camera, rows, square), "t h w c -> t c h w")
        except DecodeError as error:
            raise DecodeError(error.path, f"{error.reason} ({self.data.name(episode)})") from error

    def box(self, height: int, width: int, rng: np.random.Generator | None) -> Box:
        """A random box, or without `rng` the largest centred one of an allowed aspect."""
        config = self.config
        # A fixed crop draws nothing, so that it is the same as the one whose tokens are cached.
        if rng is not None and not config.fixed_crop:
            return random_box(height, width, config.scale, config.aspect, rng)
        narrowest, widest = config.aspect
        return centre_box(height, width, min(max(width / height, narrowest), widest))
