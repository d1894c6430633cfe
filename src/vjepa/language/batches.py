"""Samples and batches of conversations with their media, and the order in which training sees them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vjepa.data.decode_error import DecodeError
from vjepa.data.latents import LatentCache
from vjepa.data.loader import Epoch, GlobalOrder, draw_sample
from vjepa.data.sampling import Mixture, shuffled
from vjepa.language.conversation_files import Captions
from vjepa.language.conversations import Conversation
from vjepa.language.media import CaptionSample, FrameConfig, MediaDataset


class CaptionBatch(NamedTuple):
    rows: list[Conversation]
    clip: list[Tensor]
    """The media of all rows in turn: frames (t, c, h, w) uint8, or tokens (T, H W, d) from a cache."""
    index: Int[Tensor, " b"]
    bad: list[str]
    """Files that failed, each with its reason, replaced or not."""
    lost: int
    """Rows that are missing from this batch."""


def collate_captions(samples: Sequence[CaptionSample]) -> CaptionBatch:
    """A batch of the decodable rows, which may be none. Media differ in length, so they stay a list."""
    good = [sample for sample in samples if sample.row is not None]
    return CaptionBatch(
        rows=[sample.row for sample in good],
        clip=[clip for sample in good for clip in sample.clip],
        index=torch.tensor([sample.index for sample in good], dtype=torch.long),
        bad=[reason for sample in samples for reason in sample.bad],
        lost=len(samples) - len(good),
    )


class TrainingCaptions(MediaDataset):
    """Sample k for every k. A row whose media cannot be decoded is replaced by another row of its source."""

    def __init__(
        self,
        sources: Sequence[Captions],
        weights: Sequence[float],
        config: FrameConfig,
        cache: LatentCache | None,
        seed: int,
    ) -> None:
        super().__init__(config, cache)
        self.sources = sources
        self.mixture = Mixture([len(source) for source in sources], weights, seed)
        # Counted once, because sorting asks for the length of every sample.
        self.lengths = [source.lengths for source in sources]

    def __getitem__(self, k: int) -> CaptionSample:
        sample, bad = draw_sample(self.mixture, k, self.read)
        return CaptionSample(None, [], k, bad) if sample is None else sample._replace(index=k, bad=bad)

    def read(self, source: int, i: int, rng: np.random.Generator) -> CaptionSample:
        """A row and its media; `rng` is not used, because no crop or moment is random. Raises DecodeError."""
        return self.sample(self.sources[source].row(i), i)

    def length(self, k: int) -> int:
        """Characters of sample k's row."""
        source, i = self.mixture(k)
        return int(self.lengths[source][i])


class EvaluationCaptions(MediaDataset):
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
    """Like GlobalOrder, but an optimiser step holds samples of similar length, so that little is padded.

    The samples of every `among` steps form a group. A group is sorted by length and cut into steps, and the
    steps are shuffled. Which samples form a step depends on their number alone, not on how many devices and
    accumulated batches share them.
    """

    def __init__(
        self,
        samples: TrainingCaptions,
        epoch: Epoch,
        batch: int,
        rank: int,
        world: int,
        accumulated: int,
        among: int,
    ) -> None:
        super().__init__(epoch, batch, rank, world)
        self.samples = samples
        self.accumulated = accumulated
        self.among = among
        # The group that was sorted last. Only one is kept, since steps come in order.
        self.sorted_group = -1
        self.sorted_steps: list[list[int]] = []

    def samples_of(self, number: int) -> list[int]:
        step, accumulated = divmod(number, self.accumulated)
        group, place = divmod(step, self.among)
        # Every group is shuffled in another way, and each rank computes the same shuffle.
        key = self.samples.mixture.seed + group
        samples = self.steps(group)[shuffled(place, self.among, key)]
        first = (accumulated * self.world + self.rank) * self.batch
        return samples[first : first + self.batch]

    def steps(self, group: int) -> list[list[int]]:
        """The samples of each step of a group, from short to long. Kept until another group is needed."""
        if self.sorted_group != group:
            # The numbers of a group depend on nothing but the group, so a resumed run sorts the same ones.
            per_step = self.batch * self.world * self.accumulated
            size = self.among * per_step
            numbers = sorted(range(group * size, (group + 1) * size), key=self.samples.length)
            self.sorted_group = group
            self.sorted_steps = [numbers[i : i + per_step] for i in range(0, size, per_step)]
        return self.sorted_steps
