"""Labelled clips in memory: what read-outs are fitted and scored on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from vjepa.data.clips import ClipConfig, EvaluationClips
from vjepa.data.manifest import read_manifest
from vjepa.data.manifest_files import with_column
from vjepa.errors import UserError, require

EMPTY = ("", None, -1)
"""Cells of a column that hold no class."""


class LabelledClips(NamedTuple):
    """Decoded clips, with the manifest's columns of the same rows."""

    clips: UInt8[Tensor, "b t c h w"]
    columns: dict[str, list]

    def names(self, column: str) -> list:
        """The classes that occur in a column, sorted. Raises UserError if there are fewer than two."""
        # Sorted, so that the numbers of classes do not depend on the order of rows.
        names = sorted({value for value in self.columns[column] if value not in EMPTY})
        require(
            len(names) > 1,
            f"column {column} tells no two classes apart (it holds {names}), so it cannot be read out",
        )
        return names

    def classes(self, column: str, names: Sequence) -> Int[Tensor, " b"]:
        """For every clip, the place of its class in `names`; -1 where the column is empty.

        Raises UserError for a class that is not among `names`: a read-out cannot answer what it was not
        fitted on.
        """
        values = self.columns[column]
        unknown = sorted({value for value in values if value not in EMPTY} - set(names))
        require(
            not unknown,
            f"column {column} holds {unknown} where read-outs are scored, but not where they are fitted",
        )
        # Read-outs leave out clips with -1.
        return torch.tensor([-1 if value in EMPTY else names.index(value) for value in values])

    def numbers(self, names: Sequence[str]) -> Float[Tensor, "b k"]:
        """The named columns as numbers. Raises UserError for a cell that is not a number."""
        return torch.tensor([[as_number(name, value) for value in self.columns[name]] for name in names]).T


def as_number(column: str, value: object) -> float:
    """A cell as a number. Raises UserError if it is not one."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise UserError(
            f"column {column} is regressed, but holds {value!r}; every row needs a number"
        ) from None


def read_labelled_clips(
    path: str, clip: ClipConfig, limit: int, columns: Sequence[str] = ("label",)
) -> LabelledClips:
    """At most `limit` clips of a manifest, evenly spread over it; clips that cannot be decoded are left out.

    Raises UserError if a column is missing, or if no clip can be decoded.
    """
    manifest = read_manifest(path)
    known = manifest.table.column_names
    missing = [name for name in columns if name not in known]
    require(
        not missing,
        f"{path} has no column {', '.join(missing)} for a read-out; it has {', '.join(known)}",
    )

    dataset = EvaluationClips(manifest, clip)
    # Spread, because a manifest may be sorted by class.
    rows = np.linspace(0, len(dataset) - 1, min(limit, len(dataset))).round().astype(int).tolist()
    clips = {row: dataset[row].clip for row in rows}
    clips = {row: frames for row, frames in clips.items() if frames is not None}
    require(bool(clips), f"{path}: no clip could be decoded; `vjepa data check {path}` says why")
    # The columns have to stay beside the clips that could be decoded.
    table = manifest.table.take(list(clips))
    if manifest.classes:
        # Another manifest may number the same names in another way.
        table = with_column(table, "label", table["label_name"])
    return LabelledClips(
        torch.stack(list(clips.values())), {name: table[name].to_pylist() for name in columns}
    )
