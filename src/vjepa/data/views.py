"""Evaluation with several looks at each video: segments along time, square views along the longer side.

The papers' protocols say frames x segments x views, e.g. 16 x 2 x 3 for Something-Something v2 (V-JEPA 2, table 15).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vjepa.data.clips import Batch, ClipConfig, Sample, collate
from vjepa.data.decode import DecodeError, open_video
from vjepa.data.manifest import Manifest, Row
from vjepa.data.sampling import TooShort, segment_times
from vjepa.data.transforms import Box, crop
from vjepa.errors import require


@dataclass(frozen=True)
class Views:
    """How often an evaluation looks at a video."""

    segments: int = 1
    """Clips spread evenly over the video; 1 is the middle."""
    crops: int = 1
    """Squares spread evenly along the longer side of the picture; 1 is the centre."""

    def __post_init__(self) -> None:
        sentence = f"views: segments={self.segments} and crops={self.crops} must both be 1 or more"
        require(min(self.segments, self.crops) > 0, sentence)

    @property
    def count(self) -> int:
        return self.segments * self.crops


class ViewClips(Dataset):
    """Every row once, as `views.count` samples of the row's index and label: segments first, crops within them."""

    def __init__(self, manifest: Manifest, config: ClipConfig, views: Views) -> None:
        self.manifest, self.config, self.views = manifest, config, views

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, i: int) -> list[Sample]:
        row = self.manifest.row(i)
        label = -1 if row.label is None else row.label
        try:
            segments = load_segments(row, self.config, self.views.segments)
        except DecodeError as error:
            return [Sample(None, label, i, [str(error)])]
        boxes = boxes_along(*segments[0].shape[-2:], self.views.crops)
        return [
            Sample(crop(frames, box, self.config.size, False), label, i, [])
            for frames in segments
            for box in boxes
        ]


def load_segments(row: Row, config: ClipConfig, segments: int) -> list[UInt8[Tensor, "t c h w"]]:
    """Clips of a video, evenly spread, uncropped. A video too short for one is refused, or held as `config.short` says.
    Raises DecodeError."""
    with open_video(row.path) as video:
        start = video.start if row.start is None else row.start
        end = video.end if row.end is None else row.end
        try:
            times = segment_times(start, end, config.frames, config.fps, segments)
        except TooShort as error:
            if config.short == "refuse":
                raise DecodeError(row.path, f"{error}; clip.short=hold repeats the last frame") from error
            held = np.minimum(start + np.arange(config.frames) / config.fps, end - 0.5 / video.fps)
            times = np.repeat(held[None], segments, axis=0)
        frames = torch.from_numpy(video.frames(times.ravel()))
    return list(rearrange(frames, "(s t) h w c -> s t c h w", s=segments))


def boxes_along(height: int, width: int, crops: int) -> list[Box]:
    """Squares of the shorter side, from one end of the longer side to the other; a single one in the centre."""
    side, slack = min(height, width), abs(height - width)
    places = [slack // 2] if crops == 1 else [round(slack * i / (crops - 1)) for i in range(crops)]
    return [(place, 0, side, side) if height > width else (0, place, side, side) for place in places]


def collate_views(rows: Sequence[list[Sample]]) -> Batch:
    """A batch in which the views of a row stand side by side; a row that could not be decoded is one lost sample."""
    return collate([sample for row in rows for sample in row])
