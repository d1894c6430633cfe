"""The command that says whether two sources hold the same networks, whatever their layouts.

    vjepa weights diff vitl.pt vitl.safetensors

Its exit status is 0 if they do, 1 if they do not, and 2 if one cannot be read, as of the program `diff`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vjepa.errors import announce, counted, require
from vjepa.weights.card import read_card
from vjepa.weights.files import CheckpointError
from vjepa.weights.out.open_parts import OpenPart, classifiers_in, open_part
from vjepa.weights.out.part_settings import different_settings
from vjepa.weights.out.stored import StoredTensor

MOST = 3
"""Names that a line lists; the others are counted."""


@dataclass(frozen=True)
class Difference:
    """How one part differs between two sources."""

    settings: Mapping[str, tuple[Any, Any]]
    """Setting -> its values in both."""
    only_first: tuple[str, ...]
    """Names of tensors that the second lacks."""
    only_second: tuple[str, ...]
    errors: Mapping[str, float]
    """Tensor -> largest difference between its numbers; infinite for another shape."""

    @property
    def is_none(self) -> bool:
        return not (self.settings or self.only_first or self.only_second or self.errors)

    def __str__(self) -> str:
        if self.is_none:
            return "equal"
        told = [f"{key} is {one} and {other}" for key, (one, other) in self.settings.items()]
        told += [f"only in the first: {listed(self.only_first)}"] if self.only_first else []
        told += [f"only in the second: {listed(self.only_second)}"] if self.only_second else []
        if self.errors:
            worst = max(self.errors, key=lambda key: self.errors[key])
            count = counted(len(self.errors), "tensor")
            told.append(f"{count} differ, most {worst}, by {self.errors[worst]:.2g}")
        return "; ".join(told)


def diff(first: Path, second: Path, *, parts: tuple[str, ...] | None = None) -> None:
    """Compare two sources part by part: settings that decide what a network computes, and all numbers.

    The exit status is 0 if they are equal, 1 if they differ.

    Args:
        first: A stage's export, Meta's `.pt`, a Hugging Face directory, or `demo`.
        second: Another.
        parts: Which networks, as `weights info` names them. Not given: all of both.
    """
    held = [read_card(source).parts for source in (first, second)]
    names = parts or tuple(dict.fromkeys([*held[0], *held[1]]))
    missing = [name for name in names if name not in (*held[0], *held[1])]
    if missing:
        raise CheckpointError(f"neither {first} nor {second} holds a part named {missing[0]}")
    require(bool(names), f"{first} and {second} hold no networks")
    lines = [one_line_of(name, first, second, held) for name in names]
    print("\n".join(f"{name:<12} {line}" for name, line in zip(names, lines, strict=True)))
    if any(line != "equal" for line in lines):
        raise SystemExit(1)


def one_line_of(name: str, first: Path, second: Path, held: list[tuple[str, ...]]) -> str:
    """What is said of a part. held: The parts of both sources."""
    for source, other in ((first, held[1]), (second, held[0])):
        if name not in other:
            return f"only in {source}"
    for source in (first, second):
        if name == "probe" and classifiers_in(source) > 1:
            announce(f"{source} holds {classifiers_in(source)} classifiers; the first is compared")
    return str(difference(name, open_part(first, name), open_part(second, name)))


def difference(name: str, first: OpenPart, second: OpenPart) -> Difference:
    """How a part differs between two sources. Tensors are read one by one."""
    both = [key for key in first.tensors if key in second.tensors]
    errors = {key: error_of(first.tensors[key], second.tensors[key]) for key in both}
    return Difference(
        different_settings(name, first.description, second.description),
        tuple(key for key in first.tensors if key not in second.tensors),
        tuple(key for key in second.tensors if key not in first.tensors),
        {key: error for key, error in errors.items() if error != 0},
    )


def error_of(first: StoredTensor, second: StoredTensor) -> float:
    """The largest difference between the numbers of two tensors; infinite for tensors of two shapes."""
    if first.shape != second.shape:
        return float("inf")
    one = first.read()
    other = second.read()
    kind = torch.promote_types(one.dtype, other.dtype)
    differences = (one.to(kind) - other.to(kind)).abs()
    return float(differences.max()) if differences.numel() else 0.0


def listed(names: tuple[str, ...]) -> str:
    """A few of the names, and how many more there are."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more
