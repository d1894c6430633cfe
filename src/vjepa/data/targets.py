"""What a probe answers besides one class a clip: several labels, or numbers.

Clips carry one whole number each. For these targets it is the clip's row in one table of targets, so that whatever draws,
replaces, batches and gathers clips needs not know what they are for.
"""

from collections.abc import Sequence
from typing import Literal

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.data.manifest import Manifest, ManifestError

Targets = Literal["classes", "multilabel", "regression"]
LABELS = "labels"
"""The column of several labels a clip: whole numbers with a bar between them, such as 3|7; empty: none of them."""


def label_sets(manifest: Manifest, classes: int) -> Float[Tensor, "rows classes"]:
    """1 where a row has the label. Raises ManifestError on what is no label."""
    refuse_missing(manifest, (LABELS,))
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
    refuse_missing(manifest, columns)
    found = torch.empty(len(manifest), len(columns))
    for k, name in enumerate(columns):
        for i, value in enumerate(manifest.table[name].to_pylist()):
            found[i, k] = number(value)
            if not found[i, k].isfinite():
                raise ManifestError(f"{manifest.source}: {manifest.row(i).path.name} has {name}={value!r}; expected a number")
    return found


def number(value: object) -> float:
    """NaN for what is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


def refuse_missing(manifest: Manifest, columns: Sequence[str]) -> None:
    held = manifest.table.column_names
    if missing := [name for name in columns if name not in held]:
        raise ManifestError(f"{manifest.source}: no column {', '.join(missing)} to read targets from; it has {', '.join(held)}")


def numbered(manifest: Manifest, first: int) -> Manifest:
    """The same rows, whose labels are `first`, `first` + 1, ..."""
    rows = pa.array(range(first, first + len(manifest)), pa.int64())
    return Manifest(manifest.source, manifest.table.set_column(manifest.table.column_names.index("label"), "label", rows))
