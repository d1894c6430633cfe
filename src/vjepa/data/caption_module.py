"""Conversations and their media as batches: mixtures with weights, batches of like length, an order that resumes exactly.

Videos are shown whole, as frames spread evenly over them, and never cropped at random: what is said about left, right or a
number must stay true. So a frozen encoder's tokens can be kept, and a batch holds tokens where a cache has them.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import lightning as L
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int, UInt8
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from vjepa.data.captions import Captions, Conversation, Media, read_captions
from vjepa.data.clips import ATTEMPTS
from vjepa.data.decode import DecodeError, open_video
from vjepa.data.latents import LatentCache, read_rows
from vjepa.data.modules import GlobalOrder, ResumableLoader, ignore_interrupt
from vjepa.data.sampling import Mixture, shuffled
from vjepa.data.transforms import centre_box, crop
from vjepa.errors import refuse_unless
from vjepa.locate import locate


@dataclass(frozen=True)
class FrameConfig:
    """How a video is shown: the paper takes 128 frames of the whole video, or one a second up to 32."""

    frames: int = 16
    """Frames, spread evenly over the whole video. A picture is one frame."""
    size: int = 256
    """Height and width of the largest centred square, pixels."""

    def __post_init__(self) -> None:
        refuse_unless(min(self.frames, self.size) > 0, f"clip: frames={self.frames} and size={self.size} must be positive")


@dataclass(frozen=True)
class CaptionSource:
    """One file of a mixture."""

    file: str
    """Conversations: .json, .jsonl or .parquet."""
    folder: str | None = None
    """What the media's paths are relative to; the file's folder if not given."""
    weight: float = 1.0
    """Share of the draws, relative to the other sources."""


class CaptionBatch(NamedTuple):
    rows: list[Conversation]
    clip: list[Tensor]
    """The media of all rows in turn: frames (t, c, h, w) uint8, or an encoder's tokens (T, H W, d) from a cache."""
    index: Int[Tensor, " b"]
    bad: list[str]
    """Files that failed, each with its reason, replaced or not."""
    lost: int
    """Rows that are missing from this batch."""


class CaptionSample(NamedTuple):
    row: Conversation | None
    """None if a medium could not be decoded and nothing replaces it."""
    clip: list[Tensor]
    index: int
    bad: list[str]


def collate_captions(samples: Sequence[CaptionSample]) -> CaptionBatch:
    good = [sample for sample in samples if sample.row is not None]
    return CaptionBatch(
        [sample.row for sample in good],
        [clip for sample in good for clip in sample.clip],
        torch.tensor([sample.index for sample in good], dtype=torch.long),
        [reason for sample in samples for reason in sample.bad],
        lost=len(samples) - len(good),
    )


def frames_of(media: Media, config: FrameConfig) -> UInt8[Tensor, "t c h w"]:
    """Its frames, cropped. Raises DecodeError."""
    with open_video(media.path) as video:
        start = video.start if media.start is None else media.start
        end = video.end if media.end is None else media.end
        still = not np.isfinite(end)
        places = np.zeros(1) if still else (np.arange(config.frames) + 0.5) / config.frames * (end - start)
        frames = rearrange(torch.from_numpy(video.frames(start + places)), "t h w c -> t c h w")
    return crop(frames, centre_box(*frames.shape[-2:], 1.0), config.size, False)


def media_name(media: Media) -> str:
    """A name for its tokens in a cache; another one once the file has changed."""
    try:
        about = media.path.stat()
    except OSError:
        return "missing"
    parts = (media.path, about.st_size, about.st_mtime_ns, media.start, media.end)
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


def kept_tokens(cache: LatentCache, media: Media, rows: Sequence[int] | None = None) -> Tensor | None:
    """Its tokens, or only some moments of them; nothing if they are not in the cache, or damaged there."""
    try:
        return read_rows(cache.folder / f"{media_name(media)}.safetensors", rows).float()
    except (FileNotFoundError, SafetensorError):
        return None


class Shown(Dataset):
    """Media as a batch holds them; index i gives frames, or tokens if the cache has them."""

    def __init__(self, config: FrameConfig, cache: LatentCache | None) -> None:
        self.config, self.cache = config, cache

    def media(self, media: Media) -> Tensor:
        tokens = None if self.cache is None else kept_tokens(self.cache, media)
        return frames_of(media, self.config) if tokens is None else tokens

    def sample(self, row: Conversation, index: int) -> CaptionSample:
        return CaptionSample(row, [self.media(media) for media in row.media], index, [])


class TrainingCaptions(Shown):
    """Sample number k, for ever. A row whose media cannot be decoded is replaced by another of its source."""

    def __init__(
        self, sources: Sequence[Captions], weights: Sequence[float], config: FrameConfig, cache: LatentCache | None, seed: int
    ) -> None:
        super().__init__(config, cache)
        self.sources, self.mixture = sources, Mixture([len(source) for source in sources], weights, seed)
        self.lengths = [source.lengths for source in sources]

    def __getitem__(self, k: int) -> CaptionSample:
        bad: list[str] = []
        for attempt in range(ATTEMPTS):
            source, i = self.mixture(k) if attempt == 0 else self.mixture.replacement(k, attempt)
            try:
                return self.sample(self.sources[source].row(i), k)._replace(bad=bad)
            except DecodeError as error:
                bad.append(str(error))
        return CaptionSample(None, [], k, bad)

    def length(self, k: int) -> int:
        """Characters of sample k's row."""
        source, i = self.mixture(k)
        return int(self.lengths[source][i])


class EvaluationCaptions(Shown):
    """Every row once."""

    def __init__(self, captions: Captions, config: FrameConfig, cache: LatentCache | None) -> None:
        super().__init__(config, cache)
        self.captions = captions

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, i: int) -> CaptionSample:
        try:
            return self.sample(self.captions.row(i), i)
        except DecodeError as error:
            return CaptionSample(None, [], i, [str(error)])


class MediaFrames(Dataset):
    """(name in a cache, frames) of some media; no name where they cannot be decoded."""

    def __init__(self, media: Sequence[Media], config: FrameConfig) -> None:
        self.media, self.config = media, config

    def __len__(self) -> int:
        return len(self.media)

    def __getitem__(self, i: int) -> tuple[str, Tensor]:
        try:
            return media_name(self.media[i]), frames_of(self.media[i], self.config)
        except DecodeError:
            return "", torch.empty(0)


class LikeLengths(GlobalOrder):
    """As GlobalOrder, but the samples of every `among` batches over all ranks are sorted by length before they are cut into
    batches, so that little is padded; the batches come shuffled."""

    def __init__(self, samples: TrainingCaptions, per_epoch: int, batch: int, rank: int, world: int, among: int) -> None:
        super().__init__(per_epoch, batch, rank, world)
        self.samples, self.among = samples, among
        self.window: tuple[int, list[list[int]]] = (-1, [])

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self.consumed, (self.consumed // self.per_epoch + 1) * self.per_epoch):
            window, place = divmod(number * self.world + self.rank, self.among)
            yield self.batches(window)[shuffled(place, self.among, self.samples.mixture.seed + window)]

    def batches(self, window: int) -> list[list[int]]:
        if self.window[0] != window:
            first, size = window * self.among * self.batch, self.among * self.batch
            numbers = sorted(range(first, first + size), key=self.samples.length)
            self.window = window, [numbers[i : i + self.batch] for i in range(0, size, self.batch)]
        return self.window[1]


class CaptionData(L.LightningDataModule):
    """Conversations about videos and pictures, for training and validation."""

    def __init__(
        self,
        train: list[CaptionSource],
        val: str | None = None,
        clip: FrameConfig = FrameConfig(),
        batch_size: int = 32,
        workers: int = 8,
        like_lengths: int = 32,
        max_bad_share: float = 0.05,
        seed: int = 0,
    ) -> None:
        """
        Args:
            train: Files to draw conversations from.
            val: File of held-out conversations, each read once.
            clip: How a video is shown.
            batch_size: Conversations per device and step.
            workers: Processes that decode, per device.
            like_lengths: Batches among which conversations are sorted by length, so that little is padded. Of short texts those
                of one length say the same, which is bad for a batch: give 1 there.
            max_bad_share: Training stops once more than this share of draws could not be decoded.
            seed: Decides the order.
        """
        super().__init__()
        refuse_unless(bool(train), "data.train is empty; give one file of conversations or more")
        refuse_unless(batch_size > 0 and workers >= 0, f"data: batch_size={batch_size} and workers={workers} are too few")
        refuse_unless(like_lengths > 0, f"data.like_lengths={like_lengths} is a number of batches; give 1 or more")
        refuse_unless(0 <= max_bad_share <= 1, f"data.max_bad_share={max_bad_share} is a share; give a number from 0 to 1")
        refuse_unless(all(source.weight > 0 for source in train), "data.train: every weight must be positive")
        self.sources, self.val, self.clip = train, val, clip
        self.batch_size, self.workers, self.max_bad_share, self.seed = batch_size, workers, max_bad_share, seed
        self.like_lengths = like_lengths
        self.cache: LatentCache | None = None  # a stage with a frozen encoder may give one

    @cached_property
    def train_captions(self) -> list[Captions]:
        return [read_captions(locate(source.file), source.folder and locate(source.folder)) for source in self.sources]

    @cached_property
    def val_captions(self) -> Captions | None:
        return self.val and read_captions(locate(self.val))

    @cached_property
    def val_kinds(self) -> list[str]:
        """What held-out questions are about; the same list in every process."""
        rows = self.val_captions
        return sorted({rows.row(i).kind for i in range(len(rows))} - {""})

    def setup(self, stage: str) -> None:
        """Read what this stage needs, so that a malformed file stops the run before it starts."""
        _ = self.val_captions, stage == "fit" and self.train_captions

    def all_media(self) -> list[Media]:
        """Every video and picture once."""
        files = [*self.train_captions, *([self.val_captions] if self.val_captions else [])]
        return list(dict.fromkeys(media for file in files for i in range(len(file)) for media in file.row(i).media))

    def examples(self, count: int) -> Iterator[Tensor]:
        """Media of at most `count` rows, evenly spread over the first file, as a batch holds them."""
        rows = EvaluationCaptions(self.train_captions[0], self.clip, self.cache)
        for i in range(0, len(rows), math.ceil(len(rows) / count)):
            yield from rows[i].clip

    def train_dataloader(self) -> ResumableLoader:
        weights = [source.weight for source in self.sources]
        samples = TrainingCaptions(self.train_captions, weights, self.clip, self.cache, self.seed)
        world, accumulated = self.trainer.world_size, self.trainer.accumulate_grad_batches
        steps = max(1, sum(map(len, self.train_captions)) // (self.batch_size * world * accumulated))
        order = LikeLengths(samples, steps * accumulated, self.batch_size, self.trainer.global_rank, world, self.like_lengths)
        return ResumableLoader(samples, batch_sampler=order, **self.loader_settings())

    def val_dataloader(self) -> DataLoader | list:
        if self.val_captions is None:
            return []
        rows = EvaluationCaptions(self.val_captions, self.clip, self.cache)
        share = Subset(rows, range(self.trainer.global_rank, len(rows), self.trainer.world_size))
        return DataLoader(share, batch_size=self.batch_size, **self.loader_settings())

    def loader_settings(self) -> dict:
        return {
            "num_workers": self.workers,
            "collate_fn": collate_captions,
            "worker_init_fn": ignore_interrupt,
            "persistent_workers": self.workers > 0,
        }
