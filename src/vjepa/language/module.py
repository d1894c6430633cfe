"""Conversations and their media as batches: mixtures with weights, batches of like length, an order that resumes exactly.

Videos are shown whole, as frames spread evenly over them, and never cropped at random: what is said about left, right or a
number must stay true. So a frozen encoder's tokens can be kept, and a batch holds tokens where a cache has them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import lightning as L
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from vjepa.data.latents import LatentCache
from vjepa.data.loader import ResumableLoader, ignore_interrupt
from vjepa.errors import require
from vjepa.language.batches import EvaluationCaptions, LikeLengths, TrainingCaptions, collate_captions
from vjepa.language.conversation_files import Captions, read_captions
from vjepa.language.conversations import Media
from vjepa.language.media import FrameConfig


@dataclass(frozen=True)
class CaptionSource:
    """One file of a mixture."""

    file: str
    """Conversations: .json, .jsonl or .parquet."""
    folder: str | None = None
    """What the media's paths are relative to; the file's folder if not given."""
    weight: float = 1.0
    """Share of the draws, relative to the other sources."""


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
        require(bool(train), "data.train is empty; give one file of conversations or more")
        require(
            batch_size > 0 and workers >= 0,
            f"data: batch_size={batch_size} and workers={workers} are too few",
        )
        require(like_lengths > 0, f"data.like_lengths={like_lengths} is a number of batches; give 1 or more")
        require(
            0 <= max_bad_share <= 1,
            f"data.max_bad_share={max_bad_share} is a share; give a number from 0 to 1",
        )
        require(all(source.weight > 0 for source in train), "data.train: every weight must be positive")
        self.sources, self.val, self.clip = train, val, clip
        self.batch_size, self.workers, self.max_bad_share, self.seed = (
            batch_size,
            workers,
            max_bad_share,
            seed,
        )
        self.like_lengths = like_lengths
        self.cache: LatentCache | None = None  # a stage with a frozen encoder may give one

    @cached_property
    def train_captions(self) -> list[Captions]:
        return [read_captions(source.file, source.folder) for source in self.sources]

    @cached_property
    def val_captions(self) -> Captions | None:
        return self.val and read_captions(self.val)

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
        return list(
            dict.fromkeys(media for file in files for i in range(len(file)) for media in file.row(i).media)
        )

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
        order = LikeLengths(
            samples, steps * accumulated, self.batch_size, self.trainer.global_rank, world, self.like_lengths
        )
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
