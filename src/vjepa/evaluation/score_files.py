"""Score files."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vjepa.data.manifest import Manifest
from vjepa.evaluation.predictions import ChosenHead


def write_heads(path: Path, rows: Sequence[ChosenHead], heads: Sequence[tuple[float, float]]) -> None:
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
    write_csv(
        path,
        ("label", "name", "clips", "accuracy"),
        list(zip(range(len(names)), names, counts, shares, strict=True)),
    )


def write_predictions(path: Path, manifest: Manifest, found: dict[str, np.ndarray], head: int) -> None:
    """A line a clip: the manifest's row and path, its label, the answer, and how sure the head is of it."""
    lines = [
        (int(row), str(manifest.table["path"][int(row)]), int(label), int(guess[head]), f"{sure[head]:.4f}")
        for row, label, guess, sure in zip(
            found["row"], found["label"], found["guess"], found["sure"], strict=True
        )
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
    lines = [
        (int(row), str(paths[int(row)]), *(f"{v:.5g}" for v in line))
        for row, line in zip(rows, both, strict=True)
    ]
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
    figure.colorbar(
        axes.imshow(shares, vmin=0, vmax=1, cmap="Blues"), shrink=0.7, label="share of the true class"
    )
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
