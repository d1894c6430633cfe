"""Windows that slide over whole videos, and the clips in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch.utils.data import Dataset

from vjepa.data.clips import ClipConfig, Sample
from vjepa.data.decode import DecodeError, open_video
from vjepa.data.manifest import Manifest, Row
from vjepa.data.transforms import centre_box, crop


@dataclass(frozen=True)
class Window:
    """A clip of row `row` that begins at `start`, in seconds of the video; None: the clip in the middle."""

    row: int
    start: float | None


def windows_of(manifest: Manifest, clip: ClipConfig, overlap: float | None) -> tuple[list[Window], list[str]]:
    """All windows of all rows, and why some rows have none. Sliding windows open every video once, for its length."""
    if overlap is None:
        return [Window(i, None) for i in range(len(manifest))], []
    windows, bad = [], []
    for i in range(len(manifest)):
        try:
            windows += [Window(i, float(start)) for start in starts_in(manifest.row(i), clip, overlap)]
        except DecodeError as error:
            bad.append(str(error))
    return windows, bad


def starts_in(row: Row, clip: ClipConfig, overlap: float) -> list[float]:
    """From the beginning of the row's segment on, until its end is covered: the last window is moved back to end with it.
    What never ends (a picture) and what is shorter than a clip has one window. Raises DecodeError."""
    with open_video(row.path) as video:
        start = video.start if row.start is None else row.start
        end = video.end if row.end is None else row.end
    length = clip.frames / clip.fps
    slack = end - start - length
    if not np.isfinite(slack) or slack <= 1e-6:
        return [start]
    stride = length * (1 - overlap)
    return [*(start + stride * np.arange(int(np.ceil(slack / stride - 1e-6)))).tolist(), start + slack]


class WindowClips(Dataset):
    """The centred square of every window. What lies beyond the end of a video is its last frame, held."""

    def __init__(self, manifest: Manifest, windows: Sequence[Window], config: ClipConfig) -> None:
        self.manifest, self.windows, self.config = manifest, windows, config

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, i: int) -> Sample:
        window, config = self.windows[i], self.config
        row = self.manifest.row(window.row)
        label = -1 if row.label is None else row.label
        try:
            with open_video(row.path) as video:
                frames = torch.from_numpy(
                    video.frames(times_in(row, window, config, video.start, video.end, video.fps))
                )
        except DecodeError as error:
            return Sample(None, label, i, [str(error)])
        frames = rearrange(frames, "t h w c -> t c h w")
        return Sample(crop(frames, centre_box(*frames.shape[-2:], 1.0), config.size, False), label, i, [])


def times_in(
    row: Row, window: Window, config: ClipConfig, begin: float, stop: float, fps: float
) -> np.ndarray:
    """Seconds of a window's frames."""
    start = begin if row.start is None else row.start
    end = stop if row.end is None else row.end
    slack = end - start - (config.frames - 1) / config.fps
    middle = start + (max(slack, 0.0) / 2 if np.isfinite(slack) else 0.0)
    times = (middle if window.start is None else window.start) + np.arange(config.frames) / config.fps
    return np.minimum(times, max(end - 0.5 / fps, start)) if np.isfinite(end) else times
