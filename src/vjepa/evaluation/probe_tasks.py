"""What a probe learns to predict of a clip: its class, several labels, or numbers.

A task knows the loss of one head, what a head predicts, how its predictions are scored, what chance reaches,
and which files describe them:

    task = probe_task("multilabel", classes=5)
    task.read_targets(data)                          # checks the manifests
    loss = task.loss(logits, batch.label)
    scores = task.scores(predictions.compute())      # one per head

The tasks are modules, because their targets have to be on the device of the logits. They have no parameters,
and their buffers are not saved: they are read again from the manifests.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.data.manifest import Manifest
from vjepa.data.targets import Targets, check_labelled, check_measurable
from vjepa.errors import DataError, require
from vjepa.evaluation.confusion import class_names, confusion_matrix, draw_confusion
from vjepa.evaluation.predictions import Predictions, ValuePredictions, accuracies, scores_per_target
from vjepa.evaluation.report import Score
from vjepa.evaluation.score_files import write_classes, write_predictions, write_targets, write_values

SPLIT_NAMES = {"val": "validation", "test": "test"}


class ClassTask(nn.Module):
    """One class per clip: cross-entropy, and the share of clips that are right."""

    kind: ClassVar[Targets] = "classes"
    measure: ClassVar[str] = "accuracy"
    noun: ClassVar[str] = "classes"
    fewest: ClassVar[int] = 2  # below it there is nothing to choose from
    predictions: ClassVar[type[Predictions]] = Predictions
    names: Sequence[str]
    """What each class, label or number is called in the files."""
    manifest: Manifest
    """The test clips."""

    def __init__(self, classes: int) -> None:
        """Raises UserError if there are too few classes (or labels, or numbers) to tell apart."""
        super().__init__()
        few = f"model.classes={classes}: there is nothing to tell apart; give {self.fewest} or more"
        require(classes >= self.fewest, few)
        self.classes = classes

    def read_targets(self, data: LabelledClipData) -> None:
        """Raises ManifestError for clips without a class, or with one that does not exist."""
        for manifest in (*data.train_manifests, data.val_manifest, data.test_manifest):
            check_labelled(manifest)
        data.check_labels(self.classes)
        self.manifest = data.test_manifest
        self.names = class_names(data.test_manifest, self.classes)

    def loss(self, logits: Float[Tensor, "b k"], label: Int[Tensor, " b"]) -> Float[Tensor, ""]:
        return cross_entropy(logits, label)

    def predict(self, logits: Float[Tensor, "p b k"]) -> Float[Tensor, "p b k"]:
        """Probabilities, or for regression numbers."""
        return logits.softmax(dim=-1)

    def scores(self, predictions: dict[str, np.ndarray]) -> tuple[float, ...]:
        """The score of every head, by which it is chosen."""
        return accuracies(predictions)

    def chance(self, predictions: dict[str, np.ndarray]) -> float:
        """The score of predictions that do not depend on the clip."""
        return 1 / self.classes

    def check_evidence(self, predictions: dict[str, np.ndarray], split: str) -> None:
        """Raise DataError or ManifestError if a split's decoded clips cannot tell good heads from bad."""
        if len(predictions["row"]) == 0:
            what = f"no {SPLIT_NAMES[split]} clip could be decoded, so there is no score"
            raise DataError(f"{what}; `vjepa data check` says why")

    def write_files(self, out: Path, predictions: dict[str, np.ndarray], head: int, score: Score) -> None:
        """Write `predictions.csv`, `classes.csv` and `confusion.png` of one head on the test clips."""
        write_predictions(out / "predictions.csv", self.manifest, self.names, predictions, head)
        confusion = confusion_matrix(predictions, head, self.classes)
        write_classes(out / "classes.csv", confusion, self.names)
        title = f"{score.name}: accuracy {score.value:.3f} on {score.clips} test clips"
        draw_confusion(out / "confusion.png", confusion, self.names, title)

    def rescale(self, probe: nn.Module) -> nn.Module:
        """The probe, answering in the units of the manifest. Logits of classes and labels have no unit."""
        return probe


class ValueTask(ClassTask):
    """Several targets per clip. A clip's label is its row in `table`, which holds those of all splits."""

    fewest = 1  # one label, or one number, can be learned
    predictions = ValuePredictions
    table: Float[Tensor, "rows k"]

    def read_targets(self, data: LabelledClipData) -> None:
        """Raises UserError for targets that cannot be read, learned or measured."""
        if hasattr(self, "table"):  # reading replaces the labels of the manifests, which works only once
            return
        self.names = self.target_names(data)
        table, training_rows = data.read_targets(self.kind, self.classes)
        self.manifest = data.test_manifest
        for split, manifest in (("val", data.val_manifest), ("test", data.test_manifest)):
            rows = table[torch.tensor(manifest.labels)]
            check_measurable(self.kind, rows, self.names, f"data.{split} ({manifest.source})")

        # Of the training rows alone: the other splits must not decide anything.
        mean, std = self.statistics(table[:training_rows])
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.register_buffer("table", (table - mean) / std, persistent=False)

    def target_names(self, data: LabelledClipData) -> Sequence[str]:
        raise NotImplementedError

    def statistics(self, targets: Float[Tensor, "rows k"]) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
        """The mean and the standard deviation with which the targets are standardised."""
        # Labels are 0 or 1 and stay so.
        return torch.zeros(self.classes), torch.ones(self.classes)

    def scores(self, predictions: dict[str, np.ndarray]) -> tuple[float, ...]:
        """The mean over the targets. Labels that no clip has do not count."""
        # Per target first: a score over all values at once would favour frequent labels.
        scores = scores_per_target(self.kind, predictions["value"], self.targets_of(predictions))
        return tuple(scores.nanmean(dim=1).tolist())

    def targets_of(self, predictions: dict[str, np.ndarray]) -> Float[Tensor, "b k"]:
        """The targets of the clips that were predicted, on the CPU."""
        return self.table.cpu()[torch.from_numpy(predictions["label"])]

    def check_evidence(self, predictions: dict[str, np.ndarray], split: str) -> None:
        super().check_evidence(predictions, split)
        # Checked again, because the clips with a label may be just those that could not be decoded.
        where = f"what could be decoded of data.{split}"
        check_measurable(self.kind, self.targets_of(predictions), self.names, where)

    def write_files(self, out: Path, predictions: dict[str, np.ndarray], head: int, score: Score) -> None:
        """Write `predictions.csv`, in the manifest's units, and `targets.csv`, the score of each target."""
        targets = self.targets_of(predictions)
        scores = scores_per_target(self.kind, predictions["value"], targets)[head]
        never = [name for name, value in zip(self.names, scores, strict=True) if value.isnan()]
        if never:
            print(f"labels that occur in no test clip are left out of the mean: {', '.join(never)}")
        write_targets(out / "targets.csv", self.names, score.measure, scores)

        mean = self.mean.cpu()
        std = self.std.cpu()
        # Predictions and targets are standardised, but files have the manifest's units.
        values = torch.from_numpy(predictions["value"])[:, head] * std + mean
        rows = predictions["row"]
        write_values(out / "predictions.csv", self.manifest, self.names, rows, targets * std + mean, values)


class MultilabelTask(ValueTask):
    """Several labels per clip: binary cross-entropy, and average precision, averaged over the labels."""

    kind = "multilabel"
    measure = "mean average precision"
    noun = "labels"

    def target_names(self, data: LabelledClipData) -> Sequence[str]:
        return tuple(f"label{i}" for i in range(self.classes))

    def loss(self, logits: Float[Tensor, "b k"], label: Int[Tensor, " b"]) -> Float[Tensor, ""]:
        # The targets are float, whatever the precision of the run.
        return binary_cross_entropy_with_logits(logits.float(), self.table[label])

    def predict(self, logits: Float[Tensor, "p b k"]) -> Float[Tensor, "p b k"]:
        return logits.sigmoid()

    def chance(self, predictions: dict[str, np.ndarray]) -> float:
        """The average precision of a random order is the share of clips with the label."""
        # Labels without clips are left out of the scores too.
        shares = self.targets_of(predictions).mean(dim=0)
        return float(shares[shares > 0].mean())


class RegressionTask(ValueTask):
    """Standardised numbers: squared error, and the explained share of variance (R2), averaged over them."""

    kind = "regression"
    measure = "R2"
    noun = "numbers"

    def target_names(self, data: LabelledClipData) -> Sequence[str]:
        columns = list(data.numbers)
        unequal = f"data.numbers={columns} names {len(columns)} columns to tell; make them equal"
        require(len(columns) == self.classes, f"model.classes={self.classes}, but {unequal}")
        return data.numbers

    def statistics(self, targets: Float[Tensor, "rows k"]) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
        return targets.mean(dim=0), targets.std(dim=0)

    def loss(self, logits: Float[Tensor, "b k"], label: Int[Tensor, " b"]) -> Float[Tensor, ""]:
        return mse_loss(logits.float(), self.table[label])

    def predict(self, logits: Float[Tensor, "p b k"]) -> Float[Tensor, "p b k"]:
        return logits

    def chance(self, predictions: dict[str, np.ndarray]) -> float:
        """R2 compares with the mean of the targets, so the mean explains nothing."""
        return 0.0

    @torch.no_grad()
    def rescale(self, probe: nn.Module) -> nn.Module:
        """The probe with the standardisation undone in its last layer, which is changed in place."""
        # std (W x + b) + mean is again a linear map of x. The chosen probe is a copy on the CPU.
        std = self.std.cpu()
        probe.head.weight.mul_(std[:, None])
        probe.head.bias.mul_(std).add_(self.mean.cpu())
        return probe


def probe_task(targets: Targets, classes: int) -> ClassTask:
    """The task of `model.targets`."""
    tasks = {"classes": ClassTask, "multilabel": MultilabelTask, "regression": RegressionTask}
    return tasks[targets](classes)
