"""The data module of labelled clips: a class for each, several labels, or numbers."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader

from vjepa.data.class_map import check_names, numbered_by, write_class_map
from vjepa.data.clip_data import ClipData, Source
from vjepa.data.clips import ClipConfig
from vjepa.data.digest import DataDigest, manifest_digest
from vjepa.data.manifest import NO_LABEL, Manifest, read_manifest, read_manifests
from vjepa.data.manifest_error import ManifestError
from vjepa.data.storage import StorageConfig
from vjepa.data.targets import Targets, label_sets, number_columns, renamed_label, with_row_labels
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
        timeout: float = 300.0,
        storage: StorageConfig = StorageConfig(),
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
            numbers: Regression: the manifests' columns that are predicted.
            timeout: Seconds that a batch, or a single file, may take before the run ends with its name.
            storage: How files at addresses, such as s3://bucket/a.mp4, are read.
        """
        super().__init__(train, val, clip, batch_size, workers, max_bad_share, seed, timeout, storage)
        self.test = test
        self.views = views
        self.numbers = numbers

    # Training's lists together, and the others by its numbers: a class that they lack must shift no number.
    @cached_property
    def train_manifests(self) -> list[Manifest]:
        return read_manifests([source.manifest for source in self.sources], storage=self.storage)

    @cached_property
    def val_manifest(self) -> Manifest:
        return read_manifest(self.val, self.class_numbers, self.storage)

    @cached_property
    def test_manifest(self) -> Manifest:
        return read_manifest(self.test, self.class_numbers, self.storage)

    @property
    def class_numbers(self) -> Mapping[str, int] | None:
        """The number of each class, if training's lists name classes."""
        return next((manifest.classes for manifest in self.train_manifests if manifest.classes), None)

    @property
    def numbered_by(self) -> str:
        """The end of a sentence about a number that a map of classes has decided."""
        return numbered_by(self.train_manifests[0].source) if self.class_numbers else ""

    @property
    def manifests(self) -> list[Manifest]:
        """All of them: training's, then validation's, then the test's."""
        return [*self.train_manifests, self.val_manifest, self.test_manifest]

    def data_digests(self) -> dict[str, DataDigest]:
        names = [*(f"train.{i}" for i in range(len(self.train_manifests))), "val", "test"]
        digests = (manifest_digest(manifest, self.numbers) for manifest in self.manifests)
        return dict(zip(names, digests, strict=True))

    def setup(self, stage: str) -> None:
        super().setup(stage)
        # Before training too: a test set that cannot be read should stop the run now, not hours later.
        if stage in ("fit", "test"):
            _ = self.test_manifest
        if stage == "fit" and self.class_numbers:
            for manifest in self.manifests:
                write_class_map(manifest.source, self.class_numbers)

    def check_labels(self, classes: int) -> None:
        """Raise ManifestError unless all labels are in 0..classes-1 and training shows each class."""
        check_all_named(self.manifests)
        check_names({manifest.source: manifest.table for manifest in self.manifests})
        for manifest in self.manifests:
            check_range(manifest, classes, self.numbered_by)
        # A class that is only tested could never be predicted, and would lower the score silently.
        seen = {label for manifest in self.train_manifests for label in manifest.different_labels}
        if missing := sorted(set(range(classes)) - seen):
            raise ManifestError(
                f"data.train has no clip of {len(missing)} of model.classes={classes} classes, the first is "
                f"{missing[0]}, so no probe can learn them; lower model.classes or complete the manifest"
                f"{self.numbered_by}"
            )

    def read_targets(self, kind: Targets, classes: int) -> tuple[Float[Tensor, "rows k"], int]:
        """A table of targets with one row per clip, training clips first, and the number of training clips.

        From now on a clip's label is its row in that table. Raises ManifestError for a target that cannot be
        read, or that is the same in every training clip."""
        manifests = self.manifests
        multilabel = kind == "multilabel"
        tables = [
            label_sets(m, classes) if multilabel else number_columns(m, self.numbers) for m in manifests
        ]

        # Tables are stacked in the order of the manifests: each begins where the one before it ends.
        first_rows = np.cumsum([0, *map(len, tables)]).tolist()
        # The assignment replaces the cached properties, so every later data set has the new labels.
        *self.train_manifests, self.val_manifest, self.test_manifest = map(
            with_row_labels, manifests, first_rows
        )

        # The last two tables are validation and test. What can be learned depends on training's alone.
        training = torch.cat(tables[:-2])
        names = tuple(f"label {i}" for i in range(classes)) if multilabel else self.numbers
        columns = zip(names, training.T, strict=True)
        constant = [name for name, column in columns if (column == column[0]).all()]
        if constant:
            raise ManifestError(
                f"data.train shows the same {', '.join(constant)} in every clip, so no probe can "
                "learn to tell it; leave it out or complete the manifest"
            )
        return torch.cat(tables), len(training)

    def test_dataloader(self) -> list[DataLoader]:
        """Validation clips, on which a head is chosen, then test clips, on which it is reported.

        All views of a row are in one batch."""
        clips = [
            ViewClips(manifest, self.clip, self.views) for manifest in (self.val_manifest, self.test_manifest)
        ]
        return [self.evaluation_loader(samples, collate_views) for samples in clips]


def check_all_named(manifests: Sequence[Manifest]) -> None:
    """Raise ManifestError if some manifests name classes and others number them."""
    named = [manifest for manifest in manifests if manifest.classes]
    others = [
        manifest for manifest in manifests if not manifest.classes and manifest.labels.max() != NO_LABEL
    ]
    if named and others:
        raise ManifestError(
            f"{named[0].source} names its classes and {others[0].source} numbers them, so the numbers need "
            "not agree; use names in all of data.train, data.val and data.test, or numbers in all"
        )


def check_range(manifest: Manifest, classes: int, numbered_by: str = "") -> None:
    """Raise ManifestError unless every row has a label in 0..classes-1. `numbered_by` ends the sentence."""
    # A missing label is -1, so the first comparison finds it too.
    wrong = (manifest.labels < 0) | (manifest.labels >= classes)
    if not wrong.any():
        return
    row = int(wrong.argmax())
    label = manifest.labels[row]
    advice = renamed_label(manifest) or "correct the labels or model.classes"
    if numbered_by:
        advice = "correct the names, their map or model.classes"
    elif manifest.labels.min() == 1 and manifest.labels.max() == classes:
        advice = "the labels begin at 1, so subtract 1"
    raise ManifestError(
        f"{manifest.source}: {int(wrong.sum())} of {len(manifest)} labels lie outside 0..{classes - 1} "
        f"(model.classes={classes}), the first is {label}"
        f"{' (none)' if label == NO_LABEL else ''} of {manifest.row(row).path.name}; {advice}{numbered_by}"
    )
