"""Batches."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from vjepa.data.clips import ATTEMPTS
from vjepa.data.decode import DecodeError
from vjepa.data.latents import LatentCache
from vjepa.data.loader import GlobalOrder
from vjepa.data.sampling import Mixture, shuffled
from vjepa.language.conversation_files import Captions
from vjepa.language.conversations import Conversation
from vjepa.language.media import (
    CaptionSample,
    FrameConfig,
    Shown,
)


class CaptionBatch(NamedTuple):
    rows: list[Conversation]
    clip: list[Tensor]
    """The media of all rows in turn: frames (t, c, h, w) uint8, or an encoder's tokens (T, H W, d) from a cache."""
    index: Int[Tensor, " b"]
    bad: list[str]
    """Files that failed, each with its reason, replaced or not."""
    lost: int
    """Rows that are missing from this batch."""


def collate_captions(samples: Sequence[CaptionSample]) -> CaptionBatch:
    good = [sample for sample in samples if sample.row is not None]
    return CaptionBatch(
        [sample.row for sample in good],
        [clip for sample in good for clip in sample.clip],
        torch.tensor([sample.index for sample in good], dtype=torch.long),
        [reason for sample in samples for reason in sample.bad],
        lost=len(samples) - len(good),
    )


class TrainingCaptions(Shown):
    """Sample number k, for ever. A row whose media cannot be decoded is replaced by another of its source."""

    def __init__(
        self,
        sources: Sequence[Captions],
        weights: Sequence[float],
        config: FrameConfig,
        cache: LatentCache | None,
        seed: int,
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


class LikeLengths(GlobalOrder):
    """As GlobalOrder, but the samples of every `among` batches over all ranks are sorted by length before they are cut into
    batches, so that little is padded; the batches come shuffled."""

    def __init__(
        self, samples: TrainingCaptions, per_epoch: int, batch: int, rank: int, world: int, among: int
    ) -> None:
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
