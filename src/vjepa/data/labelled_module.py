"""Labelled module."""

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from vjepa.data.clip_module import ClipData, Source
from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import Manifest, read_manifest
from vjepa.data.manifest_files import ManifestError
from vjepa.data.targets import Targets, label_sets, numbered, numbers
from vjepa.data.views import ViewClips, Views, collate_views


class LabelledClipData(ClipData):
    """Clips with class labels, for training, validation and test."""

    def __init__(
        self,
        train: list[Source],
        val: str,
        test: str,
        clip: ClipConfig = ClipConfig(),
        batch_size: int = 24,
        workers: int = 8,
        max_bad_share: float = 0.05,
        seed: int = 0,
        views: Views = Views(),
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
        return read_manifest(self.test)

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
        found = [
            label_sets(m, classes) if kind == "multilabel" else numbers(m, self.numbers) for m in manifests
        ]
        firsts = np.cumsum([0, *map(len, found)]).tolist()
        *self.train_manifests, self.val_manifest, self.test_manifest = map(numbered, manifests, firsts)
        seen = torch.cat(found[:-2])
        names = self.numbers if kind == "regression" else tuple(f"label {i}" for i in range(classes))
        if same := [name for name, column in zip(names, seen.T, strict=True) if (column == column[0]).all()]:
            what = (
                f"data.train shows the same {', '.join(same)} in every clip, so no probe can learn to tell it"
            )
            raise ManifestError(f"{what}; leave it out or complete the manifest")
        return torch.cat(found), len(seen)

    def test_dataloader(self) -> list[DataLoader]:
        """Validation clips, on which a head is chosen, then test clips, on which it is reported."""
        return [self.view_loader(manifest) for manifest in (self.val_manifest, self.test_manifest)]

    def view_loader(self, manifest: Manifest) -> DataLoader:
        """Every row exactly once over all ranks, all its views in one batch."""
        clips = ViewClips(manifest, self.clip, self.views)
        share = Subset(clips, range(self.trainer.global_rank, len(clips), self.trainer.world_size))
        return DataLoader(
            share, batch_size=self.batch_size, **self.loader_settings() | {"collate_fn": collate_views}
        )
