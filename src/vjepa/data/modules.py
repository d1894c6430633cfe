"""Data modules: manifests in, batches out, in an order that resumes exactly and is shared out over devices."""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import lightning as L
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, Subset

from vjepa.data.clips import Batch, ClipConfig, EvaluationClips, TrainingClips, collate
from vjepa.data.manifest import Manifest, ManifestError, read_manifest
from vjepa.data.targets import Targets, label_sets, numbered, numbers
from vjepa.data.views import ViewClips, Views, collate_views
from vjepa.errors import refuse_unless
from vjepa.locate import locate


@dataclass(frozen=True)
class Source:
    """One manifest of a mixture."""

    manifest: str
    """Folder of videos, `path label` file, CSV or TSV with a header, or Parquet."""
    weight: float = 1.0
    """Share of the draws, relative to the other sources."""


class GlobalOrder(Sampler[list[int]]):
    """This rank's batches of sample numbers, counted over all ranks and epochs, so that its state is one number."""

    def __init__(self, per_epoch: int, batch: int, rank: int, world: int) -> None:
        self.per_epoch, self.batch, self.rank, self.world = per_epoch, batch, rank, world
        self.consumed = 0

    def __len__(self) -> int:
        return self.per_epoch

    def __iter__(self) -> Iterator[list[int]]:
        """From the first batch not yet consumed to the end of its epoch."""
        for number in range(self.consumed, (self.consumed // self.per_epoch + 1) * self.per_epoch):
            first = (number * self.world + self.rank) * self.batch
            yield list(range(first, first + self.batch))


class ResumableLoader(DataLoader):
    """A loader that Lightning's checkpoints can save: state_dict counts the batches handed over, not those prefetched."""

    waited = 0.0
    """Seconds the run has stood still for want of a batch."""

    def __iter__(self) -> Iterator[Batch]:
        batches = super().__iter__()
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - asked
            if batch is None:
                return
            self.batch_sampler.consumed += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"consumed": self.batch_sampler.consumed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batch_sampler.consumed = state["consumed"]


def ignore_interrupt(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; the main one decides when the workers end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class ClipData(L.LightningDataModule):
    """Unlabelled or labelled video for training, and optionally for validation."""

    def __init__(
        self,
        train: list[Source],
        val: str | None = None,
        clip: ClipConfig = ClipConfig(),  # noqa: B008  frozen
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
        refuse_unless(bool(train), "data.train is empty; give one manifest or more")
        refuse_unless(batch_size > 0, f"data.batch_size={batch_size} must be 1 or more")
        refuse_unless(workers >= 0, f"data.workers={workers} must be 0 or more")
        refuse_unless(0 <= max_bad_share <= 1, f"data.max_bad_share={max_bad_share} is a share; give a number from 0 to 1")
        refuse_unless(all(source.weight > 0 for source in train), "data.train: every weight must be positive")
        self.sources, self.val, self.clip = train, val, clip
        self.batch_size, self.workers, self.max_bad_share, self.seed = batch_size, workers, max_bad_share, seed

    @cached_property
    def train_manifests(self) -> list[Manifest]:
        return [read_manifest(locate(source.manifest)) for source in self.sources]

    @cached_property
    def val_manifest(self) -> Manifest | None:
        return self.val and read_manifest(locate(self.val))

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


class LabelledClipData(ClipData):
    """Clips with class labels, for training, validation and test."""

    def __init__(
        self,
        train: list[Source],
        val: str,
        test: str,
        clip: ClipConfig = ClipConfig(),  # noqa: B008  frozen
        batch_size: int = 24,
        workers: int = 8,
        max_bad_share: float = 0.05,
        seed: int = 0,
        views: Views = Views(),  # noqa: B008
        numbers: tuple[str, ...] = (),
    ) -> None:
        """
        Args:
            train: Manifests with labels to draw training clips from.
            val: Manifest of validation clips, each seen once, from its middle moment.
            test: Manifest of test clips, looked at once, at the end.
            clip: What one clip is.
            batch_size: Clips per device and step.
            workers: Processes that decode, per device.
            max_bad_share: Training stops once more than this share of draws could not be decoded.
            seed: Decides the order of files, the moments and the crops.
            views: How often the final evaluation looks at each validation and test clip.
            numbers: Regression: the manifests' columns that are told.
        """
        super().__init__(train, val, clip, batch_size, workers, max_bad_share, seed)
        self.test, self.views, self.numbers = test, views, numbers

    @cached_property
    def test_manifest(self) -> Manifest:
        return read_manifest(locate(self.test))

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage in ("fit", "test"):
            _ = self.test_manifest

    def check_labels(self, classes: int) -> None:
        """Raise ManifestError unless every row of every split is labelled 0..classes-1."""
        for manifest in (*self.train_manifests, self.val_manifest, self.test_manifest):
            wrong = (manifest.labels < 0) | (manifest.labels >= classes)
            if wrong.any():
                row = int(wrong.argmax())
                raise ManifestError(
                    f"{manifest.source}: {int(wrong.sum())} labels lie outside 0..{classes - 1} (model.classes={classes}), the "
                    f"first is {manifest.labels[row]}{' (none)' if manifest.labels[row] == -1 else ''} of "
                    f"{manifest.row(row).path.name}; correct the labels or model.classes"
                )
        seen = {int(label) for manifest in self.train_manifests for label in np.unique(manifest.labels)}
        if never := sorted(set(range(classes)) - seen):
            raise ManifestError(
                f"data.train has no clip of {len(never)} of model.classes={classes} classes, the first is {never[0]}, so no "
                "probe can learn them; lower model.classes or complete the manifest"
            )

    def read_targets(self, kind: Targets, classes: int) -> tuple[Float[Tensor, "rows k"], int]:
        """Several labels or numbers of every row, training rows first, and how many those are. From now on a clip's label is
        its row in that table. Raises ManifestError for what cannot be read, or cannot be learned."""
        manifests = [*self.train_manifests, self.val_manifest, self.test_manifest]
        found = [label_sets(m, classes) if kind == "multilabel" else numbers(m, self.numbers) for m in manifests]
        firsts = np.cumsum([0, *map(len, found)]).tolist()
        *self.train_manifests, self.val_manifest, self.test_manifest = map(numbered, manifests, firsts)
        seen = torch.cat(found[:-2])
        names = self.numbers if kind == "regression" else tuple(f"label {i}" for i in range(classes))
        if same := [name for name, column in zip(names, seen.T, strict=True) if (column == column[0]).all()]:
            what = f"data.train shows the same {', '.join(same)} in every clip, so no probe can learn to tell it"
            raise ManifestError(f"{what}; leave it out or complete the manifest")
        return torch.cat(found), len(seen)

    def test_dataloader(self) -> list[DataLoader]:
        """Validation clips, on which a head is chosen, then test clips, on which it is reported."""
        return [self.view_loader(manifest) for manifest in (self.val_manifest, self.test_manifest)]

    def view_loader(self, manifest: Manifest) -> DataLoader:
        """Every row exactly once over all ranks, all its views in one batch."""
        clips = ViewClips(manifest, self.clip, self.views)
        share = Subset(clips, range(self.trainer.global_rank, len(clips), self.trainer.world_size))
        return DataLoader(share, batch_size=self.batch_size, **self.loader_settings() | {"collate_fn": collate_views})
