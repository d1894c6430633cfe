"""The data module of conversations about videos and images: mixtures with weights, steps of like length.

A video is shown as frames spread evenly over its whole length, and never cropped at random: statements about
left, right or a number must stay true. So the tokens of a frozen encoder can be cached, and a batch holds
tokens instead of frames where the cache has them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from vjepa.data.digest import DataDigest, files_digest, joint_digest, spread
from vjepa.data.latents import LatentCache
from vjepa.data.module import ResumableData, check_sources
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
    """Folder that the media's paths are relative to; the file's own folder if not given."""
    weight: float = 1.0
    """Share of the draws, relative to the other sources."""


class CaptionData(ResumableData):
    """Conversations about videos and images, for training and validation."""

    collate = staticmethod(collate_captions)

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
        timeout: float = 300.0,
    ) -> None:
        """
        Args:
            train: Files to draw conversations from.
            val: File of held-out conversations, each read once.
            clip: How a video is shown.
            batch_size: Conversations per device and step.
            workers: Processes that decode, per device.
            like_lengths: Steps among which conversations are sorted by length, so that little is padded.
                Short texts of equal length often have the same answer, which is bad for a step: give 1 then.
            max_bad_share: Training stops once more than this share of draws could not be decoded.
            seed: Decides the order.
            timeout: Seconds that a batch, or a single file, may take before the run ends with its name.
        """
        super().__init__(batch_size, workers, max_bad_share, seed, timeout)
        check_sources(train, "one file of conversations")
        require(like_lengths > 0, f"data.like_lengths={like_lengths} is a number of steps; give 1 or more")
        self.sources = train
        self.val = val
        self.clip = clip
        self.like_lengths = like_lengths
        # A stage with a frozen encoder may set a cache. Batches then hold tokens instead of frames.
        self.cache: LatentCache | None = None

    @cached_property
    def train_captions(self) -> list[Captions]:
        return [read_captions(source.file, source.folder) for source in self.sources]

    @cached_property
    def val_captions(self) -> Captions | None:
        return self.val and read_captions(self.val)

    @cached_property
    def val_kinds(self) -> list[str]:
        """The kinds of the held-out questions, sorted, so that the list is the same in every process."""
        rows = self.val_captions or []
        # An empty kind is no kind. Its questions count in the mean over all.
        return sorted({rows.row(i).kind for i in range(len(rows))} - {""})

    def setup(self, stage: str) -> None:
        """Read what this stage needs, so that a malformed file stops the run before it starts."""
        # Cached properties: reading them reads the files.
        _ = self.val_captions
        if stage == "fit":
            _ = self.train_captions

    def trained_on(self) -> dict:
        # A video is shown whole, so its clips have no rate; the projector's part says frames and size.
        return {"data": joint_digest(captions.digest for captions in self.train_captions)}

    def data_digests(self) -> dict[str, DataDigest]:
        named = {f"train.{i}": captions for i, captions in enumerate(self.train_captions)}
        named |= {"val": self.val_captions} if self.val_captions else {}
        return {name: conversations_digest(captions) for name, captions in named.items()}

    def all_media(self) -> list[Media]:
        """Every video and image once, in the order of the files."""
        files = list(self.train_captions)
        if self.val_captions is not None:
            files.append(self.val_captions)
        # A dictionary keeps the order, so that all processes agree on it.
        rows = (file.row(i) for file in files for i in range(len(file)))
        return list(dict.fromkeys(media for row in rows for media in row.media))

    def examples(self, count: int) -> Iterator[Tensor]:
        """The media of at most `count` rows, spread evenly over the first file: frames, or cached tokens."""
        rows = EvaluationCaptions(self.train_captions[0], self.clip, self.cache)
        step = math.ceil(len(rows) / count)
        for i in range(0, len(rows), step):
            yield from rows[i].clip  # nothing for a row that cannot be decoded

    def training_samples(self) -> TrainingCaptions:
        weights = [source.weight for source in self.sources]
        return TrainingCaptions(self.train_captions, weights, self.clip, self.cache, self.seed)

    def validation_samples(self) -> EvaluationCaptions | None:
        captions = self.val_captions
        return None if captions is None else EvaluationCaptions(captions, self.clip, self.cache)

    def order_of(self, samples: TrainingCaptions) -> LikeLengths:
        return LikeLengths(
            samples,
            self.epoch_of(samples),
            self.batch_size,
            self.trainer.global_rank,
            self.trainer.world_size,
            self.trainer.accumulate_grad_batches,
            self.like_lengths,
        )


def conversations_digest(captions: Captions) -> DataDigest:
    """What a file of conversations and its media are now, for a run that goes on."""
    rows = map(captions.row, spread(len(captions)).tolist())
    media = [each.path for row in rows for each in row.media]
    return DataDigest(
        str(captions.source), len(captions), "conversations", captions.digest, *files_digest(media)
    )
