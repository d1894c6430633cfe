"""What a grid of heads answered to the clips of a split, and what may be said of it: choice of a head, tables, files.

A head is chosen on one split and reported on another. Choosing on the split that is reported, as the papers' code does, is
possible to compare with the papers, and is labelled wherever the number appears.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional import r2_score
from torchmetrics.functional.classification import multilabel_average_precision

from vjepa.data.manifest import Manifest
from vjepa.data.targets import Targets


class Answers(Metric):
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

    def update(self, shares: Float[Tensor, "p b classes"], label: Int[Tensor, " b"], row: Int[Tensor, " b"]) -> None:
        """shares: each head's probabilities."""
        sure, guess = shares.float().max(dim=-1)
        for name, value in (("row", row), ("label", label), ("guess", guess.T), ("sure", sure.T)):
            getattr(self, name).append(value)

    def compute(self) -> dict[str, np.ndarray]:
        """row b, label b, guess b p, sure b p, in the order of the manifest's rows."""
        found = {name: torch.cat(as_list(getattr(self, name))).cpu().numpy() for name in self.KEPT}
        order = np.argsort(found["row"], kind="stable")
        return {name: value[order] for name, value in found.items()}


class Values(Answers):
    """The same, keeping every value: what several labels or numbers a clip are measured on."""

    KEPT = ("row", "label", "value")

    def update(self, values: Float[Tensor, "p b k"], label: Int[Tensor, " b"], row: Int[Tensor, " b"]) -> None:
        """`compute` gives row b, label b, value b p k."""
        for name, value in (("row", row), ("label", label), ("value", rearrange(values.float(), "p b k -> b p k"))):
            getattr(self, name).append(value)


def as_list(state: list[Tensor] | Tensor) -> list[Tensor]:
    """A state is a list of batches until processes are gathered, and one tensor afterwards."""
    return state if isinstance(state, list) else [state]


@dataclass(frozen=True)
class Chosen:
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


def qualities(kind: Targets, value: Float[np.ndarray, "b p k"], wanted: Float[Tensor, "b k"]) -> Float[Tensor, "p k"]:
    """Of every head and target: average precision of labels (NaN if no clip has it), explained share of variance of numbers."""
    heads, k = torch.from_numpy(value).unbind(1), wanted.shape[1]
    if kind == "multilabel":
        found = [multilabel_average_precision(guess, wanted.long(), k, average=None) for guess in heads]
        return torch.where(wanted.sum(dim=0) > 0, torch.stack(found).view(-1, k), torch.nan)
    return torch.stack([r2_score(guess, wanted, multioutput="raw_values") for guess in heads]).view(-1, k)


def write_heads(path: Path, rows: Sequence[Chosen], heads: Sequence[tuple[float, float]]) -> None:
    """A line a head of every row: its rate and decay, what it got right on both splits, and whether it was chosen."""
    lines = [
        (choice.row, i, lr, decay, f"{choice.val[i]:.4f}", f"{choice.test[i]:.4f}", int(i == choice.head))
        for choice in rows
        for i, (lr, decay) in enumerate(heads)
    ]
    write_csv(path, ("row", "head", "lr", "weight_decay", "val", "test", "chosen"), lines)


def write_classes(path: Path, confusion: Int[np.ndarray, "c c"], names: Sequence[str]) -> None:
    """A line a class: how many clips it has, and the share of them that was recognised (empty without clips)."""
    counts, right = confusion.sum(axis=1), confusion.diagonal()
    shares = [f"{r / n:.4f}" if n else "" for r, n in zip(right, counts, strict=True)]
    write_csv(path, ("label", "name", "clips", "accuracy"), list(zip(range(len(names)), names, counts, shares, strict=True)))


def write_predictions(path: Path, manifest: Manifest, found: dict[str, np.ndarray], head: int) -> None:
    """A line a clip: the manifest's row and path, its label, the answer, and how sure the head is of it."""
    lines = [
        (int(row), str(manifest.table["path"][int(row)]), int(label), int(guess[head]), f"{sure[head]:.4f}")
        for row, label, guess, sure in zip(found["row"], found["label"], found["guess"], found["sure"], strict=True)
    ]
    write_csv(path, ("row", "path", "label", "answer", "probability"), lines)


def write_targets(path: Path, names: Sequence[str], measure: str, quality: Float[Tensor, " k"]) -> None:
    """A line a target, and how well it is told (empty where the split cannot say)."""
    shares = ["" if q.isnan() else f"{q:.4f}" for q in quality]
    write_csv(path, ("target", measure), list(zip(names, shares, strict=True)))


def write_values(path: Path, manifest: Manifest, names: Sequence[str], rows: Int[np.ndarray, " b"],
                 wanted: Float[Tensor, "b k"], value: Float[Tensor, "b k"]) -> None:  # fmt: skip
    """A line a clip: the manifest's row and path, then what was wanted and what was answered, target by target."""
    header = ("row", "path", *(f"{name}{what}" for name in names for what in ("", "_answer")))
    both = torch.stack([wanted, value], dim=-1).flatten(1).tolist()
    paths = manifest.table["path"]
    lines = [(int(row), str(paths[int(row)]), *(f"{v:.5g}" for v in line)) for row, line in zip(rows, both, strict=True)]
    write_csv(path, header, lines)


def confusion_of(found: dict[str, np.ndarray], head: int, classes: int) -> Int[np.ndarray, "c c"]:
    """How often class i (first axis) was taken for class j."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (found["label"], found["guess"][:, head]), 1)
    return counts


def draw_confusion(path: Path, confusion: Int[np.ndarray, "c c"], names: Sequence[str], title: str) -> None:
    """Shares of each true class (rows) by answer (columns). Without matplotlib (the `plot` extra) there is no picture."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print("confusion.png is left out: it needs matplotlib; pip install 'vjepa[plot]'")
        return
    side, few = min(3 + 0.35 * len(names), 16), len(names) <= 40
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / confusion.sum(axis=1, keepdims=True).clip(1)
    figure.colorbar(axes.imshow(shares, vmin=0, vmax=1, cmap="Blues"), shrink=0.7, label="share of the true class")
    axes.set(title=title, xlabel="answer", ylabel="true class")
    if few:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    figure.savefig(path, dpi=120)


def class_names(manifest: Manifest, classes: int) -> list[str]:
    """From the column `label_name` where the manifest has one; otherwise the numbers."""
    names = dict(enumerate(map(str, range(classes))))
    if "label_name" in manifest.table.column_names:
        names |= dict(zip(manifest.labels.tolist(), manifest.table["label_name"].to_pylist(), strict=True))
    return [str(names[i]) for i in range(classes)]


def write_csv(path: Path, header: Sequence[str], lines: Sequence[tuple]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)
