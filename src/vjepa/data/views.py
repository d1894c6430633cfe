"""Evaluation with several views of each video: segments along time, squares along the longer side.

The papers write a protocol as frames x segments x views, for example 16 x 2 x 3 for Something-Something v2
(V-JEPA 2, table 15). Their views are the `crops` of this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vjepa.data.clips import Batch, ClipConfig, Sample, check_may_hold, collate_clips, held_times
from vjepa.data.decode import open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.manifest import Manifest, Row
from vjepa.data.sampling import TooShort, segment_times
from vjepa.data.transforms import Box, Frames, crop_frames
from vjepa.errors import require


@dataclass(frozen=True)
class Views:
    """How often an evaluation looks at a video."""

    segments: int = 1
    """Clips spread evenly over the video; 1 is the middle."""
    crops: int = 1
    """Squares spread evenly along the longer side of the frame; 1 is the centre."""

    def __post_init__(self) -> None:
        sentence = f"views: segments={self.segments} and crops={self.crops} must both be 1 or more"
        require(min(self.segments, self.crops) > 0, sentence)

    @property
    def count(self) -> int:
        return self.segments * self.crops


class ViewClips(Dataset):
    """Every row once, as `views.count` samples: segments first, crops within them."""

    def __init__(self, manifest: Manifest, config: ClipConfig, views: Views) -> None:
        self.manifest = manifest
        self.config = config
        self.views = views

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, i: int) -> list[Sample]:
        row = self.manifest.row(i)
        try:
            clips = load_views(row, self.config, self.views)
        except DecodeError as error:
            # One sample whatever the number of views, so that `lost` counts rows.
            return [Sample(None, row.label_number, i, [str(error)])]
        return [Sample(clip, row.label_number, i, []) for clip in clips]


def load_views(row: Row, config: ClipConfig, views: Views) -> list[UInt8[Tensor, "t c {config.size} w"]]:
    """All views of a video: segments first, crops within them.

    Raises DecodeError, also for a video that is too short for one clip, unless `config.short` is "hold"."""
    segments = views.segments

    def squares(frames: Frames) -> UInt8[np.ndarray, "t crops h2 w2 c"]:
        boxes = boxes_along(*frames.shape[1:3], views.crops)
        return np.stack([crop_frames(frames, box, config.size) for box in boxes], axis=1)

    with open_video(row.path) as video:
        start, end = video.segment(row.start, row.end)
        try:
            times = segment_times(start, end, config.frames, config.fps, segments)
        except TooShort as error:
            check_may_hold(row.path, config, error)
            # Where one clip does not fit, all segments are the same held clip.
            times = np.tile(held_times(start, end, video.fps, config), (segments, 1))
        # All segments in one call: the file is read forwards once, and shared frames are decoded once.
        frames = torch.from_numpy(video.frames(times.ravel(), squares))
    return list(rearrange(frames, "(s t) crops h w c -> (s crops) t c h w", s=segments))


def boxes_along(height: int, width: int, crops: int) -> list[Box]:
    """Squares evenly spread along the longer side, from end to end; a single one in the centre."""
    side = min(height, width)
    slack = abs(height - width)
    offsets = [slack // 2] if crops == 1 else [round(slack * i / (crops - 1)) for i in range(crops)]
    if height > width:
        return [(offset, 0, side, side) for offset in offsets]
    return [(0, offset, side, side) for offset in offsets]


def collate_views(rows: Sequence[list[Sample]]) -> Batch:
    """The views of a row stand side by side; a row that cannot be decoded is one lost sample."""
    return collate_clips([sample for row in rows for sample in row])
