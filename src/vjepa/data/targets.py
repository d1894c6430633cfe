"""What a probe answers, and what makes its score evidence.

Besides one class a clip, these are several labels, or numbers. Clips carry one whole number each: for these targets it is the
clip's row in one table of targets, so that whatever draws, replaces, batches and gathers clips needs not know what they are
for. A score on clips that were trained on, that a head was chosen on, or that want the same of every answer, is no evidence.
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

from vjepa.data.manifest import Manifest
from vjepa.data.manifest_files import ManifestError

Targets = Literal["classes", "multilabel", "regression"]
LABELS = "labels"
"""The column of several labels a clip: whole numbers with a bar between them, such as 3|7; empty: none of them."""

Spans = dict[str, list[tuple[float, float]]]
"""Of every video, by its whole path, the seconds that are shown of it."""


def label_sets(manifest: Manifest, classes: int) -> Float[Tensor, "rows classes"]:
    """1 where a row has the label. Raises ManifestError on what is no label."""
    check_complete(manifest, (LABELS,))
    found = torch.zeros(len(manifest), classes)
    for i, text in enumerate(manifest.table[LABELS].to_pylist()):
        for word in filter(None, (word.strip() for word in str("" if text is None else text).split("|"))):
            if not word.isdecimal() or int(word) >= classes:
                raise ManifestError(
                    f"{manifest.source}: {manifest.row(i).path.name} has the label {word!r}; expected whole numbers "
                    f"0..{classes - 1} (model.classes={classes}) with | between them, such as 0|{classes - 1}"
                )
            found[i, int(word)] = 1
    return found


def numbers(manifest: Manifest, columns: Sequence[str]) -> Float[Tensor, "rows k"]:
    """Raises ManifestError on what is no finite number."""
    check_complete(manifest, columns)
    found = torch.empty(len(manifest), len(columns))
    for k, name in enumerate(columns):
        for i, value in enumerate(manifest.table[name].to_pylist()):
            found[i, k] = number(value)
            if not found[i, k].isfinite():
                raise ManifestError(
                    f"{manifest.source}: {manifest.row(i).path.name} has {name}={value!r}; expected a number"
                )
    return found


def number(value: object) -> float:
    """NaN for what is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


def check_complete(manifest: Manifest, columns: Sequence[str]) -> None:
    held = manifest.table.column_names
    if missing := [name for name in columns if name not in held]:
        raise ManifestError(
            f"{manifest.source}: no column {', '.join(missing)} to read targets from; it has {', '.join(held)}"
        )


def check_labelled(manifest: Manifest) -> None:
    """Raise ManifestError if a row has no class."""
    missing = manifest.labels == -1
    if missing.any():
        raise ManifestError(
            f"{manifest.source}: {int(missing.sum())} of {len(manifest)} rows have no label, the first is "
            f"{manifest.row(int(missing.argmax())).path.name}; give every clip one in the column label"
        )


def check_measurable(
    kind: Targets, wanted: Float[Tensor, "rows k"], names: Sequence[str], where: str
) -> None:
    """Raise ManifestError if clips that want this cannot tell a good answer from a bad one: none of them has any label, or all
    have the same number."""
    if kind == "multilabel" and not wanted.any():
        raise ManifestError(
            f"no clip of {where} has any of the {len(names)} labels, so there is no average precision"
        )
    if kind == "regression":
        same = [
            name
            for name, column in zip(names, wanted.T, strict=True)
            if len(column) < 2 or (column == column[0]).all()
        ]
        if same:
            what = f"{where}: {len(wanted)} clips hold one and the same {', '.join(same)}"
            raise ManifestError(
                f"{what}, so no share of its variance can be explained; give clips that differ"
            )


def numbered(manifest: Manifest, first: int) -> Manifest:
    """The same rows, whose labels are `first`, `first` + 1, ..."""
    rows = pa.array(range(first, first + len(manifest)), pa.int64())
    return Manifest(
        manifest.source, manifest.table.set_column(manifest.table.column_names.index("label"), "label", rows)
    )


def spans(manifests: Sequence[Manifest]) -> Spans:
    """Links are followed to the manifest's folder, not file by file: a list of millions is read at once."""
    rows = []
    for manifest in manifests:
        folder = manifest.source if manifest.source.is_dir() else manifest.source.parent
        columns = (manifest.table[name].to_pylist() for name in ("path", "start", "end"))
        rows += [
            (os.path.join(os.path.realpath(folder), path), *times)
            for path, *times in zip(*columns, strict=True)
        ]
    return by_path((path, start or 0.0, inf if end is None else end) for path, start, end in rows)


def by_path(rows: Iterable[tuple[str, float, float]]) -> Spans:
    found: Spans = {}
    for path, start, end in rows:
        found.setdefault(os.path.normpath(path), []).append((start, end))
    return found


def check_disjoint(splits: Mapping[str, Spans], apart: Sequence[tuple[str, str]] | None = None) -> None:
    """Raise ManifestError if two splits show the same seconds of a video. `apart` names the pairs that are looked at, all of
    them if it is not given."""
    for one, other in combinations(splits, 2) if apart is None else apart:
        shared = sorted(path for path in splits[one].keys() & splits[other].keys()
                        if overlap(splits[one][path], splits[other][path]))  # fmt: skip
        if shared:
            raise ManifestError(
                f"data.{one} and data.{other} show the same clips of {len(shared)} videos, the first is {shared[0]}; what is "
                "trained on, or chosen on, is no test: give splits that share none"
            )


def overlap(mine: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> bool:
    return any(start < end and begin < stop for start, stop in mine for begin, end in theirs)
