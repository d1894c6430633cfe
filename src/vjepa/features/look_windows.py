"""A video in windows, as `look` shows it: frames, tokens and times, step by step.

A step is one time step of the token grid, `tubelet` frames long. Windows have the length that the encoder was
trained for and follow one another without a gap. Of a video with more steps than may be shown, some windows
are shown, evenly spread.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import floor
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.clips import ClipConfig
from vjepa.data.decode import Video, open_video
from vjepa.data.forward_reader import ForwardReader
from vjepa.data.manifest import Row
from vjepa.data.transforms import normalise, resized
from vjepa.errors import require
from vjepa.models.encoder import Encoder

SMOOTH_FPS = 15
"""Frames per second at which a film looks smooth; the encoder sees fewer."""
MOST_FRAMES = 600
"""Frames of all films together, which bounds the memory that they take."""
MOST_WINDOWS = 1_000_000
"""Windows of one video, of which a page shows some."""
MOST_TOKENS = 100_000
"""Tokens of one window, each of which attends to all others."""
WIDEST = 4
"""Most times that the longer side of a picture is as long as the shorter one; beyond, it is squeezed."""


@dataclass(frozen=True)
class LookWindow:
    """A window that begins at `start` (seconds), of which the steps `first` to before `stop` are shown."""

    start: float
    first: int
    stop: int


@dataclass(frozen=True)
class Timing:
    """What the times of all windows follow from."""

    clip: ClipConfig
    tubelet: int
    per_frame: int
    """Frames of the film for each frame that the encoder sees."""

    @property
    def steps(self) -> int:
        """Time steps of the token grid of a window."""
        return self.clip.frames // self.tubelet

    @property
    def step_seconds(self) -> float:
        return self.tubelet / self.clip.fps

    @property
    def film_fps(self) -> float:
        return self.clip.fps * self.per_frame

    def pieces(self, start: float, end: float) -> list[LookWindow]:
        """Windows that cover the steps from `start` to `end`, each step once.

        A rest that is shorter than a step is left out. Where less than a window is left, the last window is
        moved back, and only those of its steps are shown that are not shown yet.
        """
        count = max(floor((end - start) / self.step_seconds + 1e-6), 1)
        if count <= self.steps:
            return [LookWindow(start, 0, count)]
        whole, rest = divmod(count, self.steps)
        length = self.steps * self.step_seconds
        pieces = [LookWindow(start + number * length, 0, self.steps) for number in range(whole)]
        if rest:
            pieces.append(
                LookWindow(start + (count - self.steps) * self.step_seconds, self.steps - rest, self.steps)
            )
        return pieces


@dataclass(frozen=True)
class EncodedWindow:
    """One window: what was seen of it, and its tokens."""

    piece: LookWindow
    film: UInt8[Tensor, "film c h w"]
    clip: UInt8[Tensor, "t c h w"]
    """The frames that the encoder saw, some of the film's."""
    tokens: Float[Tensor, "T H W d"]


@dataclass(frozen=True)
class VideoPlan:
    """How one video is shown."""

    row: Row
    duration: float
    """Seconds of the video, or of the segment that its manifest names; 0 for an image."""
    size: tuple[int, int]
    """Height and width, pixels, as the encoder sees it."""
    pieces: list[LookWindow]
    left_out: int
    """Windows that are not shown."""

    @property
    def still(self) -> bool:
        return self.duration == 0

    @property
    def steps(self) -> int:
        return sum(piece.stop - piece.first for piece in self.pieces)


def plan_video(row: Row, timing: Timing, patch: int, most_tokens: int, most_steps: int) -> VideoPlan:
    """Which windows of a video are shown. Raises DecodeError for a file that is no video."""
    with open_video(row.path) as video:
        start, end = video.segment(row.start, row.end)
        size = picture_size(video.height, video.width, timing.clip.size, patch)
        check_window(size, timing, patch)
        if not np.isfinite(end):
            return VideoPlan(row, 0.0, size, [LookWindow(start, 0, 1)], 0)
    windows = (end - start) * timing.clip.fps / timing.clip.frames
    require(windows <= MOST_WINDOWS, f"{row.path}: --fps {timing.clip.fps:g} makes {windows:g} windows of it")
    pieces = timing.pieces(start, end)
    steps = min(most_steps, most_tokens // (size[0] // patch * (size[1] // patch)))
    most = max(steps // timing.steps, 1)
    chosen = np.linspace(0, len(pieces) - 1, min(most, len(pieces))).round().astype(int)
    return VideoPlan(row, end - start, size, [pieces[i] for i in chosen], len(pieces) - len(chosen))


def check_window(size: tuple[int, int], timing: Timing, patch: int) -> None:
    """Raise UserError if a single window has more tokens than memory and patience hold."""
    tokens = timing.steps * (size[0] // patch) * (size[1] // patch)
    require(
        tokens <= MOST_TOKENS,
        f"a window of {timing.clip.frames} frames of {size[1]} x {size[0]} px has {tokens:,} tokens; lower "
        f"--size or --frames until it has at most {MOST_TOKENS:,}",
    )


def picture_size(height: int, width: int, size: int, patch: int) -> tuple[int, int]:
    """Height and width in whole patches: about the picture's aspect, and the area of a square of `size`."""
    # By area, because the time that attention takes depends on the number of patches.
    root = min(max(width / height, 1 / WIDEST), WIDEST) ** 0.5
    return max(round(size / root / patch), 1) * patch, max(round(size * root / patch), 1) * patch


def film_frames_per_frame(fps: float, frames: int) -> int:
    """How many frames of film stand for each that the encoder sees, of `frames` in all."""
    return max(min(round(SMOOTH_FPS / fps), MOST_FRAMES // max(frames, 1)), 1)


def encoded_windows(plan: VideoPlan, timing: Timing, encoder: Encoder) -> Iterator[EncodedWindow]:
    """The windows of a video, one after another, on the CPU. Raises DecodeError."""
    with open_video(plan.row.path) as video:
        reader = ForwardReader(video, partial(resized, size=plan.size))
        times = [film_times(video, plan, piece.start, timing) for piece in plan.pieces]
        # The last window may be moved back over the one before it.
        for piece, own, later in zip(plan.pieces, times, [*times[1:], ()], strict=True):
            film = rearrange(torch.from_numpy(reader.clip(own, later)), "t h w c -> t c h w")
            clip = film[:: timing.per_frame]
            yield EncodedWindow(piece, film, clip, encode(encoder, clip))


def film_times(video: Video, plan: VideoPlan, start: float, timing: Timing) -> Float[np.ndarray, " t"]:
    """Seconds of the frames of a window, at the film's rate; of an image, one. Beyond the end, the last."""
    if plan.still:
        return np.array([start])
    times = start + np.arange(timing.clip.frames * timing.per_frame) / timing.film_fps
    # Half a frame before the end is safely within the last frame.
    return np.minimum(times, max(video.segment(plan.row.start, plan.row.end)[1] - 0.5 / video.fps, 0.0))


@torch.inference_mode()
def encode(encoder: Encoder, clip: UInt8[Tensor, "t c h w"]) -> Float[Tensor, "T H W d"]:
    """The tokens of a clip, on the CPU."""
    pixels = normalise(clip[None].to(next(encoder.parameters()).device))
    T, H, W = encoder.grid(pixels)
    return rearrange(encoder(pixels)[0], "(T H W) d -> T H W d", T=T, H=H, W=W).cpu()


def name_of(row: Row) -> str:
    """What the page calls a video."""
    return Path(row.path).name
