"""Clips as a pure function of (seed, sample number): which file, which moment, which crop.

Training replaces a file that cannot be decoded by another draw of the same source, deterministically and a
bounded number of times, and reports every such file with the batch. Evaluation never replaces a clip: it is
left out and reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float64, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vjepa.data.decode import Change, open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.loader import draw_sample
from vjepa.data.manifest import NO_LABEL, Manifest, Row
from vjepa.data.sampling import Mixture, TooShort, clip_times
from vjepa.data.stored import Stored
from vjepa.data.transforms import Box, centre_box, centre_square, clip_crop, random_box
from vjepa.errors import require


@dataclass(frozen=True)
class ClipConfig:
    """What one clip is, in physical units. The defaults are those of pretraining (V-JEPA 2, section A.1)."""

    frames: int = 16
    """Frames per clip."""
    fps: float = 4.0
    """Frames per second of video time, whatever the file's own rate."""
    size: int = 256
    """Height and width, pixels."""
    scale: tuple[float, float] = (0.3, 1.0)
    """Training: share of the frame's area under the random crop."""
    aspect: tuple[float, float] = (0.75, 1.35)
    """Training: width over height of the random crop."""
    flip: float = 0.5
    """Training: probability of mirroring; 0 where left and right mean something."""
    jitter: bool = True
    """Training: start at a random moment; otherwise in the middle."""
    short: Literal["refuse", "hold"] = "refuse"
    """A video shorter than the clip: `refuse` makes it a bad file; `hold` repeats its last frame, like
    the released loader."""

    def __post_init__(self) -> None:
        sizes = f"frames={self.frames}, fps={self.fps} and size={self.size}"
        positive = self.frames > 0 and 0 < self.fps < float("inf") and self.size > 0
        require(positive, f"clip: {sizes} must all be positive")
        shares = 0 < self.scale[0] <= self.scale[1] <= 1
        require(shares, f"clip.scale={self.scale} must be two growing shares of the area within (0, 1]")
        ratios = 0 < self.aspect[0] <= self.aspect[1]
        require(ratios, f"clip.aspect={self.aspect} must be two growing positive ratios")
        probability = 0 <= self.flip <= 1
        require(probability, f"clip.flip={self.flip} is a probability; give a number from 0 to 1")


class Sample(NamedTuple):
    clip: UInt8[Tensor, "t c h w"] | None
    """None if the file could not be decoded and nothing replaces it."""
    label: int
    """-1 if the manifest has none."""
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    """Training: the global sample number. Evaluation: the manifest's row."""
    bad: list[str]
    """Files that failed on the way, each with its reason."""
    images: Sequence[UInt8[Tensor, "1 c h w"]] = ()
    """Single images that go with it, where a recipe has any."""


class Batch(NamedTuple):
    clip: UInt8[Tensor, "b t c h w"]
    label: Int[Tensor, " b"]
    index: Int[Tensor, " b"]  # type: ignore[assignment]
    bad: list[str]
    """Files that failed, each with its reason, replaced or not."""
    lost: int
    """Samples that are missing from this batch."""
    images: UInt8[Tensor, "images 1 c h w"] | None = None
    """Those of all samples; None in a recipe without images."""


def collate_clips(samples: Sequence[Sample]) -> Batch:
    """A batch of the decodable samples, which may be none."""
    good = [sample for sample in samples if sample.clip is not None]
    clips = stack_clips([sample.clip for sample in samples if sample.clip is not None])
    labels = torch.tensor([sample.label for sample in good], dtype=torch.long)
    indices = torch.tensor([sample.index for sample in good], dtype=torch.long)
    bad = [reason for sample in samples for reason in sample.bad]
    images = [image for sample in good for image in sample.images]
    together = stack_clips(images) if images else None
    return Batch(clips, labels, indices, bad, lost=len(samples) - len(good), images=together)


def stack_clips(clips: Sequence[UInt8[Tensor, "t c h w"]]) -> UInt8[Tensor, "b t c h w"]:
    """The clips as one tensor; without any clip a batch of length 0."""
    # Five axes also without clips, so that code that permutes a batch needs no special case.
    return torch.stack(list(clips)) if clips else torch.empty(0, 1, 3, 1, 1, dtype=torch.uint8)


def load_frames(
    row: Row,
    config: ClipConfig,
    rng: np.random.Generator | None,
    change: Change | None = None,
) -> UInt8[Tensor, "t c h w"]:
    """The clip's frames, from a random moment with `rng`, else from the middle.

    `change` crops them; without it they stay whole. Raises DecodeError."""
    with open_video(row.path) as video:
        start, end = video.segment(row.start, row.end)
        try:
            times = clip_times(start, end, config.frames, config.fps, rng)
        except TooShort as error:
            # An image never comes here, because it never ends; its fps of 0 would be divided by.
            check_may_hold(row.path, config, error)
            times = held_times(start, end, video.fps, config)
        return rearrange(torch.from_numpy(video.frames(times, change)), "t h w c -> t c h w")


def check_may_hold(path: Path | Stored, config: ClipConfig, error: TooShort) -> None:
    """Raise DecodeError for a video that is too short, unless the recipe repeats the last frame."""
    if config.short == "refuse":
        raise DecodeError(path, f"{error}; clip.short=hold repeats the last frame") from error


def held_times(start: float, end: float, fps: float, config: ClipConfig) -> Float64[np.ndarray, "t"]:
    """Seconds of a clip that begins at `start` and holds its last frame; `fps` is the video's own."""
    # Half a frame before the end is safely within the last frame.
    return np.minimum(start + np.arange(config.frames) / config.fps, end - 0.5 / fps)


def choose_crop(
    height: int, width: int, config: ClipConfig, rng: np.random.Generator | None
) -> tuple[Box, bool]:
    """A random box, and whether to mirror it. Without `rng` the centre square, not mirrored."""
    if rng is None:
        return centre_box(height, width, 1.0), False
    # The order of draws is fixed: another one would change every sample of every seed.
    box = random_box(height, width, config.scale, config.aspect, rng)
    return box, bool(rng.random() < config.flip)


class TrainingClips(Dataset):
    """Sample k for every k: the mixture chooses the row, a generator of (seed, k) the moment and the crop."""

    def __init__(
        self, manifests: Sequence[Manifest], weights: Sequence[float], config: ClipConfig, seed: int
    ) -> None:
        self.manifests = manifests
        self.config = config
        self.mixture = Mixture([len(manifest) for manifest in manifests], weights, seed)

    def __getitem__(self, k: int) -> Sample:
        sample, bad = draw_sample(self.mixture, k, self.read)
        return Sample(None, NO_LABEL, k, bad) if sample is None else sample._replace(index=k, bad=bad)

    def read(self, source: int, i: int, rng: np.random.Generator) -> Sample:
        """A random clip of a row. Raises DecodeError."""
        row = self.manifests[source].row(i)
        config = self.config

        random_crop = clip_crop(lambda height, width: choose_crop(height, width, config, rng), config.size)
        # Without jitter only the moment is fixed; the crop stays random.
        clip = load_frames(row, config, rng if config.jitter else None, random_crop)
        return Sample(clip, row.label_number, i, [])


class WithImages(Dataset):
    """Sample k of the clips, with the images number k * count to k * count + count - 1."""

    def __init__(self, clips: TrainingClips, images: TrainingClips, count: int) -> None:
        self.clips = clips
        self.images = images
        self.count = count
        self.mixture = clips.mixture

    def __getitem__(self, k: int) -> Sample:
        sample = self.clips[k]
        images = [self.images[k * self.count + i] for i in range(self.count)]
        bad = [reason for image in images for reason in image.bad]
        shown = [image.clip for image in images if image.clip is not None]
        # Masks are drawn for so many images, so a sample that lacks one is lost as a whole.
        clip = sample.clip if len(shown) == self.count else None
        return sample._replace(clip=clip, bad=sample.bad + bad, images=shown)


class EvaluationClips(Dataset):
    """Every row once: its middle moment, the largest centred square."""

    def __init__(self, manifest: Manifest, config: ClipConfig) -> None:
        self.manifest = manifest
        self.config = config

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, i: int) -> Sample:
        row = self.manifest.row(i)
        try:
            clip = load_frames(row, self.config, None, partial(centre_square, size=self.config.size))
        except DecodeError as error:
            # Not another row in its place, which would be scored twice.
            return Sample(None, row.label_number, i, [str(error)])
        return Sample(clip, row.label_number, i, [])
