"""Clips as a pure function of (seed, sample number): which file, which moment, which crop.

Training replaces a file that cannot be decoded by another draw of the same source, deterministically and a bounded number
of times, and reports every such file with the batch. Evaluation never replaces: the clip is left out and reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vjepa.data.decode import DecodeError, open_video
from vjepa.data.manifest import Manifest, Row
from vjepa.data.sampling import Mixture, TooShort, clip_times
from vjepa.data.transforms import centre_box, crop, random_box
from vjepa.errors import UserError

ATTEMPTS = 8


@dataclass(frozen=True)
class ClipConfig:
    """What one clip is, in physical units."""

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
    """A video shorter than the clip is a bad file, or its last frame stands still to the end (as in the released loader)."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.fps <= 0 or self.size < 1:
            raise UserError(
                f"clip: frames={self.frames}, fps={self.fps} and size={self.size} must all be positive"
            )
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"clip.scale={self.scale} must be two growing shares of the area within (0, 1]")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise UserError(f"clip.aspect={self.aspect} must be two growing positive ratios")
        if not 0 <= self.flip <= 1:
            raise UserError(f"clip.flip={self.flip} is a probability; give a number from 0 to 1")


class Sample(NamedTuple):
    clip: UInt8[Tensor, "t c h w"] | None
    """None if the file could not be decoded and nothing replaces it."""
    label: int
    """-1 if the manifest has none."""
    index: int
    """Training: the global sample number. Evaluation: the manifest's row."""
    bad: list[str]
    """Files that failed on the way, each with its reason."""


class Batch(NamedTuple):
    clip: UInt8[Tensor, "b t c h w"]
    label: Int[Tensor, " b"]
    index: Int[Tensor, " b"]
    bad: list[str]
    """Files that failed, each with its reason, replaced or not."""
    lost: int
    """SampleAnswers that are missing from this batch."""


def collate(samples: Sequence[Sample]) -> Batch:
    """A batch of the decodable samples, which may be none."""
    good = [sample for sample in samples if sample.clip is not None]
    clips = (
        torch.stack([sample.clip for sample in good])
        if good
        else torch.empty(0, 1, 3, 1, 1, dtype=torch.uint8)
    )
    label, index = torch.tensor([[s.label for s in good], [s.index for s in good]], dtype=torch.long)
    bad = [reason for sample in samples for reason in sample.bad]
    return Batch(clips, label, index, bad, lost=len(samples) - len(good))


def load_frames(row: Row, config: ClipConfig, rng: np.random.Generator | None) -> UInt8[Tensor, "t c h w"]:
    """The clip's frames, uncropped; from a random moment with `rng`, else from the middle. Raises DecodeError."""
    with open_video(row.path) as video:
        start = video.start if row.start is None else row.start
        end = video.end if row.end is None else row.end
        try:
            times = clip_times(start, end, config.frames, config.fps, rng)
        except TooShort as error:
            if config.short == "refuse":
                raise DecodeError(row.path, f"{error}; clip.short=hold repeats the last frame") from error
            times = np.minimum(start + np.arange(config.frames) / config.fps, end - 0.5 / video.fps)
        return rearrange(torch.from_numpy(video.frames(times)), "t h w c -> t c h w")


class TrainingClips(Dataset):
    """Sample number k, for ever: the mixture says which row, a generator keyed by (seed, k) says which moment and crop."""

    def __init__(
        self, manifests: Sequence[Manifest], weights: Sequence[float], config: ClipConfig, seed: int
    ) -> None:
        self.manifests, self.config, self.seed = manifests, config, seed
        self.mixture = Mixture([len(manifest) for manifest in manifests], weights, seed)

    def __getitem__(self, k: int) -> Sample:
        bad: list[str] = []
        for attempt in range(ATTEMPTS):
            source, i = self.mixture(k) if attempt == 0 else self.mixture.replacement(k, attempt)
            rng = np.random.Generator(
                np.random.Philox(key=np.array([self.seed, k], np.uint64), counter=attempt)
            )
            row = self.manifests[source].row(i)
            try:
                clip = self.augment(load_frames(row, self.config, rng if self.config.jitter else None), rng)
            except DecodeError as error:
                bad.append(str(error))
            else:
                return Sample(clip, -1 if row.label is None else row.label, k, bad)
        return Sample(None, -1, k, bad)

    def augment(
        self, frames: UInt8[Tensor, "t c h w"], rng: np.random.Generator
    ) -> UInt8[Tensor, "t c size size"]:
        box = random_box(*frames.shape[-2:], self.config.scale, self.config.aspect, rng)
        return crop(frames, box, self.config.size, bool(rng.random() < self.config.flip))


class EvaluationClips(Dataset):
    """Every row once, its middle moment, the largest centred square."""

    def __init__(self, manifest: Manifest, config: ClipConfig) -> None:
        self.manifest, self.config = manifest, config

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, i: int) -> Sample:
        row = self.manifest.row(i)
        label = -1 if row.label is None else row.label
        try:
            frames = load_frames(row, self.config, None)
        except DecodeError as error:
            return Sample(None, label, i, [str(error)])
        return Sample(
            crop(frames, centre_box(*frames.shape[-2:], 1.0), self.config.size, False), label, i, []
        )
