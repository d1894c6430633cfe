"""What a grid of heads answered to the clips of a split, and what may be said of it: choice of a head, tables, files.

A head is chosen on one split and reported on another. Choosing on the split that is reported, as the papers' code does, is
possible to compare with the papers, and is labelled wherever the number appears.
"""

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
    """The labels and every head's answers, each clip once, over all processes: shares of unequal length are gathered whole."""

    full_state_update = False
    KEPT = ("row", "label", "guess", "sure")

    def __init__(self, heads: int, classes: int) -> None:
        super().__init__()
        self.heads, self.classes = heads, classes
        for name in self.KEPT:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def begin(self) -> None:
        """Forget, and hold an answer to no clip, so that a process without clips has something to gather too."""
        self.reset()
        none = torch.empty(0, dtype=torch.long, device=self.device)
        self.update(torch.empty(self.heads, 0, self.classes, device=self.device), none, none)

    def update(
        self, shares: Float[Tensor, "p b classes"], label: Int[Tensor, " b"], row: Int[Tensor, " b"]
    ) -> None:
        """shares: each head's probabilities."""
        sure, guess = shares.float().max(dim=-1)
        for name, value in (("row", row), ("label", label), ("guess", guess.T), ("sure", sure.T)):
            getattr(self, name).append(value)

    def compute(self) -> dict[str, np.ndarray]:
        """row b, label b, guess b p, sure b p, in the order of the manifest's rows."""
        found = {name: torch.cat(as_list(getattr(self, name))).cpu().numpy() for name in self.KEPT}
        order = np.argsort(found["row"], kind="stable")
        return {name: value[order] for name, value in found.items()}


class ValuePredictions(Predictions):
    """The same, keeping every value: what several labels or numbers a clip are measured on."""

    KEPT = ("row", "label", "value")

    def update(
        self, values: Float[Tensor, "p b k"], label: Int[Tensor, " b"], row: Int[Tensor, " b"]
    ) -> None:
        """`compute` gives row b, label b, value b p k."""
        for name, value in (
            ("row", row),
            ("label", label),
            ("value", rearrange(values.float(), "p b k -> b p k")),
        ):
            getattr(self, name).append(value)


def as_list(state: list[Tensor] | Tensor) -> list[Tensor]:
    """A state is a list of batches until processes are gathered, and one tensor afterwards."""
    return state if isinstance(state, list) else [state]


@dataclass(frozen=True)
class ChosenHead:
    """One row of the report: its heads' accuracies (or other qualities), and the head that stands for it."""

    row: str
    val: tuple[float, ...]
    test: tuple[float, ...]
    on_test: bool
    """Whether the head was chosen on the very split that is reported."""

    @property
    def head(self) -> int:
        return int(np.argmax(self.test if self.on_test else self.val))


def accuracies(found: dict[str, np.ndarray]) -> tuple[float, ...]:
    """Share of clips that each head gets right."""
    right = found["guess"] == found["label"][:, None]
    return tuple(right.mean(axis=0).tolist()) if len(right) else (0.0,) * right.shape[1]


def qualities(
    kind: Targets, value: Float[np.ndarray, "b p k"], wanted: Float[Tensor, "b k"]
) -> Float[Tensor, "p k"]:
    """Of every head and target: average precision of labels (NaN if no clip has it), explained share of variance of numbers."""
    heads, k = torch.from_numpy(value).unbind(1), wanted.shape[1]
    if kind == "multilabel":
        found = [multilabel_average_precision(guess, wanted.long(), k, average=None) for guess in heads]
        return torch.where(wanted.sum(dim=0) > 0, torch.stack(found).view(-1, k), torch.nan)
    return torch.stack([r2_score(guess, wanted, multioutput="raw_values") for guess in heads]).view(-1, k)
