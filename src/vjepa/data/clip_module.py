"""Data modules: manifests in, batches out, in an order that resumes exactly and is shared out over devices."""

from dataclasses import dataclass
from functools import cached_property

import lightning as L
from torch.utils.data import DataLoader, Subset

from vjepa.data.clips import ClipConfig, EvaluationClips, TrainingClips, collate
from vjepa.data.loader import GlobalOrder, ResumableLoader, ignore_interrupt
from vjepa.data.manifest import Manifest, read_manifest
from vjepa.errors import require


@dataclass(frozen=True)
class Source:
    """One manifest of a mixture."""

    manifest: str
    """Folder of videos, `path label` file, CSV or TSV with a header, or Parquet."""
    weight: float = 1.0
    """Share of the draws, relative to the other sources."""


class ClipData(L.LightningDataModule):
    """Unlabelled or labelled video for training, and optionally for validation."""

    def __init__(
        self,
        train: list[Source],
        val: str | None = None,
        clip: ClipConfig = ClipConfig(),
        batch_size: int = 24,
        workers: int = 8,
        max_bad_share: float = 0.05,
        seed: int = 0,
    ) -> None:
        """
        Args:
            train: Manifests to draw training clips from.
            val: Manifest of validation clips, each seen once, from its middle moment.
            clip: What one clip is.
            batch_size: Clips per device and step.
            workers: Processes that decode, per device.
            max_bad_share: Training stops once more than this share of draws could not be decoded.
            seed: Decides the order of files, the moments and the crops.
        """
        super().__init__()
        require(bool(train), "data.train is empty; give one manifest or more")
        require(batch_size > 0, f"data.batch_size={batch_size} must be 1 or more")
        require(workers >= 0, f"data.workers={workers} must be 0 or more")
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

    @cached_property
    def train_manifests(self) -> list[Manifest]:
        return [read_manifest(source.manifest) for source in self.sources]

    @cached_property
    def val_manifest(self) -> Manifest | None:
        return self.val and read_manifest(self.val)

    def setup(self, stage: str) -> None:
        """Read what this stage needs, so that a malformed manifest stops the run before it starts."""
        if stage == "fit":
            _ = self.train_manifests
        if stage in ("fit", "validate"):
            _ = self.val_manifest

    def train_dataloader(self) -> ResumableLoader:
        weights = [source.weight for source in self.sources]
        clips = TrainingClips(self.train_manifests, weights, self.clip, self.seed)
        world = self.trainer.world_size
        # An epoch holds whole optimiser steps: Lightning would end it with a step of too few micro-batches.
        accumulated = self.trainer.accumulate_grad_batches
        steps = max(1, sum(map(len, self.train_manifests)) // (self.batch_size * world * accumulated))
        order = GlobalOrder(steps * accumulated, self.batch_size, self.trainer.global_rank, world)
        return ResumableLoader(clips, batch_sampler=order, **self.loader_settings())

    def val_dataloader(self) -> DataLoader | list:
        return [] if self.val_manifest is None else self.evaluation_loader(self.val_manifest)

    def evaluation_loader(self, manifest: Manifest) -> DataLoader:
        """Every row exactly once over all ranks: shares may differ by one, nothing is padded."""
        clips = EvaluationClips(manifest, self.clip)
        share = Subset(clips, range(self.trainer.global_rank, len(clips), self.trainer.world_size))
        return DataLoader(share, batch_size=self.batch_size, **self.loader_settings())

    def loader_settings(self) -> dict:
        on_gpu = self.trainer.num_devices > 0 and self.trainer.strategy.root_device.type == "cuda"
        return {
            "num_workers": self.workers,
            "collate_fn": collate,
            "worker_init_fn": ignore_interrupt,
            "pin_memory": on_gpu,
            "persistent_workers": self.workers > 0,
        }
