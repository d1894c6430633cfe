"""What a probe predicts, and what makes its score evidence.

A target is one class per clip, several labels, or numbers. A clip carries one whole number. For labels and
numbers it is the clip's row in one table of targets, so that the code that draws, batches and gathers clips
is the same for every kind of target.

A score proves nothing if its clips were used for training or for choosing a head, or if its targets are all
the same. The checks below refuse that.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import inf
from typing import Literal

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.data.list_dialect import NAMES_OF_LABEL
from vjepa.data.manifest import NO_LABEL, Manifest
from vjepa.data.manifest_error import ManifestError
from vjepa.data.manifest_files import with_column

Targets = Literal["classes", "multilabel", "regression"]
LABELS = "labels"
"""The column of several labels per clip: whole numbers with a bar between them, such as 3|7. An empty cell
means no label."""

Spans = dict[str, list[tuple[float, float]]]
"""For the absolute path of each video, the (start, end) in seconds of every segment that is shown of it."""


def label_sets(manifest: Manifest, classes: int) -> Float[Tensor, "rows classes"]:
    """1 where a row has the label, else 0. Raises ManifestError unless all labels are in 0..classes-1."""
    check_columns(manifest, (LABELS,))
    # A row without any label is a row of zeros, which binary losses take as it is.
    table = torch.zeros(len(manifest), classes)
    for i, text in enumerate(manifest.table[LABELS].to_pylist()):
        # Parquet may hold a list of numbers.
        words = text if isinstance(text, list) else [] if text is None else str(text).split("|")
        for word in filter(None, (str(word).strip() for word in words)):
            # isdecimal, because int() would also take "+3", "1_0" and spaces.
            if not word.isdecimal() or int(word) >= classes:
                raise ManifestError(
                    f"{manifest.source}: {manifest.row(i).path.name} has the label {word!r}; "
                    f"expected whole numbers 0..{classes - 1} (model.classes={classes}) with | between them, "
                    f"such as 0|{classes - 1}"
                )
            table[i, int(word)] = 1
    return table


def number_columns(manifest: Manifest, columns: Sequence[str]) -> Float[Tensor, "rows k"]:
    """The numbers of each row. Raises ManifestError for a value that is no finite number."""
    check_columns(manifest, columns)
    table = torch.empty(len(manifest), len(columns))
    for k, name in enumerate(columns):
        for i, value in enumerate(manifest.table[name].to_pylist()):
            # One check for all that is no number: text, nothing, NaN and infinity.
            table[i, k] = to_float(value)
            if not table[i, k].isfinite():
                raise ManifestError(
                    f"{manifest.source}: {manifest.row(i).path.name} has {name}={value!r}; expected a number"
                )
    return table


def to_float(value: object) -> float:
    """The value as a number, NaN if it is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


def check_columns(manifest: Manifest, columns: Sequence[str]) -> None:
    """Raise ManifestError unless the manifest has these columns."""
    names = manifest.table.column_names
    if missing := [name for name in columns if name not in names]:
        raise ManifestError(
            f"{manifest.source}: no column {', '.join(missing)} to read targets from; "
            f"it has {', '.join(names)}"
        )


def check_labelled(manifest: Manifest) -> None:
    """Raise ManifestError if a row has no class."""
    missing = manifest.labels == NO_LABEL
    if missing.any():
        first = manifest.row(int(missing.argmax())).path.name
        raise ManifestError(
            f"{manifest.source}: {int(missing.sum())} of {len(manifest)} rows have no label, "
            f"the first is {first}; {renamed_label(manifest) or 'give every clip one in the column label'}"
        )


def renamed_label(manifest: Manifest) -> str:
    """What to do, if the labels seem to stand in a column of another name; empty if not."""
    names = [name for name in manifest.table.column_names if name.lower() in NAMES_OF_LABEL]
    missing = names and (manifest.labels == NO_LABEL).all()
    return f"no row has a label, and a column is called {names[0]!r}: rename it to 'label'" if missing else ""


def check_measurable(
    kind: Targets, targets: Float[Tensor, "rows k"], names: Sequence[str], split: str
) -> None:
    """Raise ManifestError if targets have no label, or no variance, so that no score can be computed."""
    if kind == "multilabel" and not targets.any():
        reason = f"no clip of {split} has any of the {len(names)} labels"
        raise ManifestError(f"{reason}, so there is no average precision")

    if kind == "regression":
        columns = zip(names, targets.T, strict=True)
        constant = [name for name, column in columns if len(column) < 2 or (column == column[0]).all()]
        if constant:
            reason = f"{split}: {len(targets)} clips hold one and the same {', '.join(constant)}"
            advice = "no share of its variance can be explained; give clips that differ"
            raise ManifestError(f"{reason}, so {advice}")


def with_row_labels(manifest: Manifest, first: int) -> Manifest:
    """The same rows, whose labels are `first`, `first` + 1, ..."""
    labels = pa.array(range(first, first + len(manifest)), pa.int64())
    return manifest.with_table(with_column(manifest.table, "label", labels))


def spans(manifests: Sequence[Manifest]) -> Spans:
    """The segments of each video that the manifests show."""
    rows = []
    for manifest in manifests:
        # Links are followed to the manifest's folder, not file by file, which is too slow for millions.
        folder = os.path.realpath(manifest.folder)
        columns = (manifest.table[name].to_pylist() for name in ("path", "start", "end"))
        for path, start, end in zip(*columns, strict=True):
            rows.append((os.path.join(folder, path), start or 0.0, inf if end is None else end))
    return spans_by_path(rows)


def spans_by_path(rows: Iterable[tuple[str, float, float]]) -> Spans:
    """(path, start, end) of each row, grouped by path."""
    spans: Spans = {}
    for path, start, end in rows:
        # Normalised, so that "a/../b.mp4" and "b.mp4" are one video.
        spans.setdefault(os.path.normpath(path), []).append((start, end))
    return spans


def check_disjoint(splits: Mapping[str, Spans], pairs: Sequence[tuple[str, str]] | None = None) -> None:
    """Raise ManifestError if two splits show the same seconds of a video.

    pairs: Which splits are compared; None compares all of them.
    """
    for a, b in combinations(splits, 2) if pairs is None else pairs:
        both = splits[a].keys() & splits[b].keys()
        shared = sorted(path for path in both if overlap(splits[a][path], splits[b][path]))
        if shared:
            raise ManifestError(
                f"data.{a} and data.{b} show the same clips of {len(shared)} videos, the first is "
                f"{shared[0]}; what is trained on, or chosen on, is no test: give splits that share none"
            )


def overlap(spans: list[tuple[float, float]], others: list[tuple[float, float]]) -> bool:
    """Whether any span of one list shares time with any span of the other."""
    # Spans that only touch share no frame, so the comparisons are strict.
    return any(start < stop and begin < end for start, end in spans for begin, stop in others)
