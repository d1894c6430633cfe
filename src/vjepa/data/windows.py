"""Windows that slide over whole videos, and the clips in them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vjepa.data.clips import ClipConfig, Sample
from vjepa.data.decode import Video, open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.forward_reader import ForwardReader
from vjepa.data.manifest import Manifest, Row
from vjepa.data.transforms import centre_square
from vjepa.errors import require

ROUNDING = 1e-6
"""Seconds, or share of a stride, that count as nothing: ends of videos are not exact in floating point."""
MOST_WINDOWS = 1_000_000
"""Windows of one video: more than a day's at any usual rate, and few enough for the memory."""


@dataclass(frozen=True)
class Window:
    """A clip of row `row` that begins at `start`, in seconds of the video; None: the clip in the middle."""

    row: int
    start: float | None


def windows_of(manifest: Manifest, clip: ClipConfig, overlap: float | None) -> tuple[list[Window], list[str]]:
    """All windows of all rows, and why some rows have none.

    `overlap` is the share of a window that the next one shows again; None: one window a row, in the middle.
    Sliding windows open every video once, for its length."""
    if overlap is None:
        return [Window(i, None) for i in range(len(manifest))], []
    windows = []
    bad = []
    for i in range(len(manifest)):
        try:
            windows += [Window(i, float(start)) for start in starts_in(manifest.row(i), clip, overlap)]
        except DecodeError as error:
            bad.append(str(error))
    return windows, bad


def starts_in(row: Row, clip: ClipConfig, overlap: float) -> list[float]:
    """Seconds at which windows begin, until the end of the row's segment is covered.

    The last window is moved back to end with the segment. An image, which never ends, and a video that is
    shorter than a clip have one window. Raises DecodeError."""
    with open_video(row.path) as video:
        start, end = video.segment(row.start, row.end)
    # The last frame lasts 1 / fps as well, so windows without overlap follow each other without a gap.
    length = clip.frames / clip.fps
    slack = end - start - length
    if not np.isfinite(slack) or slack <= ROUNDING:
        return [start]

    stride = length * (1 - overlap)
    # Rounded up: this counts the starts before the last one, which is at `slack` itself.
    strides = int(np.ceil(slack / stride - ROUNDING))
    few = f"{row.path}: {strides} windows of {length:g} s are too many; lower --overlap or --fps"
    require(strides <= MOST_WINDOWS, few)
    return [*(start + stride * np.arange(strides)).tolist(), start + slack]


class WindowClips(Dataset):
    """The centred square of every window. Beyond the end of a video its last frame is held.

    A video stays open from one of its windows to the next, so that windows in their order decode it once. In
    any other order, and in several processes, they are the same."""

    _process = 0
    """The process that opened the video: a forked one must not read from the same open file."""
    _reader: ForwardReader | None = None

    def __init__(self, manifest: Manifest, windows: Sequence[Window], config: ClipConfig) -> None:
        self.manifest = manifest
        self.windows = windows
        self.config = config

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, i: int) -> Sample:
        window = self.windows[i]
        row = self.manifest.row(window.row)
        try:
            return Sample(self._clip(i, row), row.label_number, i, [])
        except DecodeError as error:
            return Sample(None, row.label_number, i, [str(error)])

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "_reader"}

    def _clip(self, i: int, row: Row) -> UInt8[Tensor, "t c h w"]:
        window = self.windows[i]
        reader = self._reader_of(row)
        times = times_in(reader.video, row, window, self.config)
        later = [times_in(reader.video, row, after, self.config) for after in self._begun(i, times[-1])]
        try:
            clip = reader.clip(times, np.concatenate([times[:0], *later]))
        except DecodeError:
            # The frame that cannot be decoded may be one that this window does not show.
            self._close()
            clip = self._reader_of(row).clip(times)
        if i + 1 == len(self) or self.windows[i + 1].row != window.row:
            self._close()
        return rearrange(torch.from_numpy(clip), "t h w c -> t c h w")

    def _begun(self, i: int, until: float) -> Iterator[Window]:
        """The next windows of the same row, as long as they begin before window `i` ends."""
        row = self.windows[i].row
        following = map(self.windows.__getitem__, range(i + 1, len(self)))
        return takewhile(lambda window: window.row == row and window.start <= until, following)

    def _reader_of(self, row: Row) -> ForwardReader:
        """The reader of the row's video, which may be open."""
        is_own = self._reader is not None and self._process == os.getpid()
        if not is_own or self._reader.video.path != row.path:
            self._close()
            self._reader = ForwardReader(open_video(row.path), partial(centre_square, size=self.config.size))
            self._process = os.getpid()
        return self._reader

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.video.close()
        self._reader = None


def times_in(video: Video, row: Row, window: Window, config: ClipConfig) -> Float64[np.ndarray, "t"]:
    """Seconds of a window's frames."""
    begin, end = video.segment(row.start, row.end)
    start = window.start
    if start is None:
        # The time from the first frame to the last is one frame shorter than the clip.
        slack = end - begin - (config.frames - 1) / config.fps
        start = begin + (max(slack, 0.0) / 2 if np.isfinite(slack) else 0.0)

    times = start + np.arange(config.frames) / config.fps
    if not np.isfinite(end):
        return times
    # Half a frame before the end is safely within the last frame.
    return np.minimum(times, max(end - 0.5 / video.fps, begin))
