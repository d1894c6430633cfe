"""Files that describe a probe's predictions on the test clips, as CSV tables."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vjepa.data.manifest import Manifest
from vjepa.evaluation.predictions import ChosenHead


def write_heads(path: Path, rows: Sequence[ChosenHead], heads: Sequence[tuple[float, float]]) -> None:
    """One line for each head of every row: its settings, both scores, and whether it was chosen."""
    lines = []
    for row in rows:
        for i, (lr, decay) in enumerate(heads):
            scores = (f"{row.val[i]:.4f}", f"{row.test[i]:.4f}")
            lines.append((row.row, i, lr, decay, *scores, int(i == row.head)))
    write_csv(path, ("row", "head", "lr", "weight_decay", "val", "test", "chosen"), lines)


def write_classes(path: Path, confusion: Int[np.ndarray, "c c"], names: Sequence[str]) -> None:
    """One line for each class: its clips, and the share of them that is right (empty without clips)."""
    clips = confusion.sum(axis=1)
    right = confusion.diagonal()
    shares = [f"{r / n:.4f}" if n else "" for r, n in zip(right, clips, strict=True)]
    lines = zip(range(len(names)), names, clips, shares, strict=True)
    write_csv(path, ("label", "name", "clips", "accuracy"), lines)


def write_predictions(
    path: Path, manifest: Manifest, names: Sequence[str], predictions: dict[str, np.ndarray], head: int
) -> None:
    """One line for each clip: row and path in the manifest, label, answer and its probability, both by name.

    names: What each class is called.
    """
    rows = predictions["row"].tolist()
    labels = predictions["label"].tolist()
    answers = predictions["answer"][:, head].tolist()
    probabilities = [f"{value:.4f}" for value in predictions["probability"][:, head]]
    named = ([names[number] for number in numbers] for numbers in (labels, answers))
    lines = zip(rows, paths_of(manifest, rows), labels, answers, probabilities, *named, strict=True)
    header = ("row", "path", "label", "answer", "probability", "label_name", "answer_name")
    write_csv(path, header, lines)


def write_targets(path: Path, names: Sequence[str], measure: str, scores: Float[Tensor, " k"]) -> None:
    """One line for each target with its score, which is empty where no clip of the split has the label."""
    cells = ["" if score.isnan() else f"{score:.4f}" for score in scores]
    write_csv(path, ("target", measure), zip(names, cells, strict=True))


def write_values(
    path: Path,
    manifest: Manifest,
    names: Sequence[str],
    rows: Int[np.ndarray, " b"],
    targets: Float[Tensor, "b k"],
    values: Float[Tensor, "b k"],
) -> None:
    """One line for each clip: row and path in the manifest, then truth and answer for every target."""
    columns = [column for name in names for column in (name, f"{name}_answer")]
    pairs = torch.stack([targets, values], dim=-1).flatten(1).tolist()
    cells = [[f"{value:.5g}" for value in pair] for pair in pairs]
    numbers = rows.tolist()
    clips = zip(numbers, paths_of(manifest, numbers), cells, strict=True)
    write_csv(path, ("row", "path", *columns), [(row, name, *line) for row, name, line in clips])


def paths_of(manifest: Manifest, rows: Sequence[int]) -> list[str]:
    """The manifest's path of each of these rows."""
    return [str(manifest.table["path"][row]) for row in rows]


def write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")  # the default is \r\n
        writer.writerow(header)
        writer.writerows(lines)
