"""What a grid of probe heads predicts for the clips of a split, and how good the predictions are.

A head is chosen on one split and reported on another. The papers' code chooses on the split that it reports;
that is possible here too, for a comparison with the papers, and is labelled wherever the number appears.

    predictions = Predictions(heads=20, classes=174)
    predictions.begin()
    predictions.update(probabilities, labels, rows)     # once a batch
    accuracies(predictions.compute())                   # one for each head
"""

from vjepa import torchvision_ops  # noqa: F401  before torchmetrics imports torchvision

# isort: split
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional import r2_score
from torchmetrics.functional.classification import multilabel_average_precision

from vjepa.data.targets import Targets


class Predictions(Metric):
    """For every clip its row and label, and each head's most likely class with its probability.

    The metric's states are lists, not sums: processes may hold different numbers of clips, and all clips are
    gathered.
    """

    full_state_update = False
    KEPT = ("row", "label", "answer", "probability")

    def __init__(self, heads: int, classes: int) -> None:
        super().__init__()
        self.heads = heads
        self.classes = classes
        for name in self.KEPT:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def begin(self) -> None:
        """Forget all predictions."""
        self.reset()
        # Gathering needs a tensor from every process, also from one that gets no clip.
        none = torch.empty(0, dtype=torch.long, device=self.device)
        self.update(torch.empty(self.heads, 0, self.classes, device=self.device), none, none)

    def update(
        self, probabilities: Float[Tensor, "p b classes"], label: Int[Tensor, " b"], row: Int[Tensor, " b"]
    ) -> None:
        """Keep a batch's predictions by all heads p; `row` is each clip's row in the manifest."""
        # All probabilities of all heads would be too much for large data sets.
        probability, answer = probabilities.float().max(dim=-1)
        # Clips come first, so that batches of any length can be joined.
        self.keep(row=row, label=label, answer=answer.T, probability=probability.T)

    def keep(self, **values: Tensor) -> None:
        for name, value in values.items():
            getattr(self, name).append(value)

    def compute(self) -> dict[str, np.ndarray]:
        """row b, label b, answer b p, probability b p, in the order of the manifest's rows."""
        values = {}
        for name in self.KEPT:
            state = getattr(self, name)
            # A list of batches becomes one tensor when processes are gathered.
            gathered = torch.cat(state) if isinstance(state, list) else state
            values[name] = gathered.cpu().numpy()
        # Several processes take clips in turns, which must not show in the files.
        order = np.argsort(values["row"], kind="stable")
        return {name: value[order] for name, value in values.items()}


class ValuePredictions(Predictions):
    """Keeps every value, because several labels or numbers for each clip are measured on all values.

    `compute` returns row b, label b, value b p k.
    """

    KEPT = ("row", "label", "value")

    def update(
        self, values: Float[Tensor, "p b k"], label: Int[Tensor, " b"], row: Int[Tensor, " b"]
    ) -> None:
        self.keep(row=row, label=label, value=rearrange(values.float(), "p b k -> b p k"))


@dataclass(frozen=True)
class ChosenHead:
    """One row of the report: the scores of its heads, and the head that stands for it."""

    row: str
    val: tuple[float, ...]
    test: tuple[float, ...]
    on_test: bool
    """Whether the head is chosen on the split that is reported."""

    @property
    def head(self) -> int:
        return int(np.argmax(self.test if self.on_test else self.val))


def accuracies(predictions: dict[str, np.ndarray]) -> tuple[float, ...]:
    """Share of clips that each head gets right; 0 without clips."""
    right = predictions["answer"] == predictions["label"][:, None]
    if len(right) == 0:
        return (0.0,) * right.shape[1]
    return tuple(right.mean(axis=0).tolist())


def scores_per_target(
    kind: Targets, values: Float[np.ndarray, "b p k"], targets: Float[Tensor, "b k"]
) -> Float[Tensor, "p k"]:
    """Score of every head p for every target k.

    A label is scored by its average precision, NaN if no clip has it; a number by the explained share of
    variance (R^2).
    """
    heads = torch.from_numpy(values).unbind(1)
    k = targets.shape[1]
    if kind == "regression":
        scores = [r2_score(head, targets, multioutput="raw_values") for head in heads]
        return torch.stack(scores).view(-1, k)

    scores = [multilabel_average_precision(head, targets.long(), k, average=None) for head in heads]
    # torchmetrics returns 0 for a label that no clip has, which would count as a bad prediction.
    occurs = targets.sum(dim=0) > 0
    return torch.where(occurs, torch.stack(scores).view(-1, k), torch.nan)
