"""Which classifier of a file is meant: evaluations train several side by side, one for each rate and decay.

    chosen_classifier(path, content, 3)         # number 3, from 0
    chosen_classifier(path, content, "best")    # if the file says their accuracies

The public evaluation prints accuracies and does not write them; other programs may.
"""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from vjepa.errors import announce, counted, require
from vjepa.weights.files import CheckpointError

Head = int | Literal["best"] | None
"""A classifier's number, from 0; or the one of the highest accuracy; None: the only one, or the first."""


def chosen_classifier(path: Path, content: Mapping[str, Any], head: Head) -> Any:
    """The tensors of one of the classifiers in a file. For the first of several, a line on stderr says so.

    Raises CheckpointError if there is no such number, or if the file does not say which is the best.
    """
    classifiers = classifiers_of(content)
    check_head(path, head, len(classifiers))
    if head == "best":
        return classifiers[best_of(path, content)]
    if head is None and len(classifiers) > 1:
        announce(
            f"{path} holds {len(classifiers)} classifiers; the first is read "
            f"(load_probe takes head=0 to {len(classifiers) - 1})"
        )
    return classifiers[head or 0]


def classifiers_of(content: Mapping[str, Any]) -> list[Any]:
    """The classifiers in a file. Raises UserError if they are no list."""
    given = content["classifiers"]
    require(isinstance(given, list | tuple), f"its classifiers are a {type(given).__name__}, expected a list")
    return list(given)


def check_head(path: Path, head: Head, count: int) -> None:
    """Raise CheckpointError for a number that none of a file's classifiers has."""
    if head in (None, "best") or (type(head) is int and 0 <= head < count):
        return
    most = f"0 to {count - 1}" if count > 1 else "0, or leave it out"
    raise CheckpointError(
        f"{path} holds {counted(count, 'classifier')}, and head={head!r} is none; give {most}"
    )


def best_of(path: Path, content: Mapping[str, Any]) -> int:
    """The number of the classifier of the highest accuracy. Raises CheckpointError if nothing tells."""
    count = len(content["classifiers"])
    known = {key: found for key, value in content.items() if (found := accuracies(key, value, count))}
    # Accuracies of training say nothing where there are others.
    tables = [numbers for key, numbers in known.items() if "val" in key] or list(known.values())
    if count == 1:
        return 0
    if len(tables) != 1:
        raise CheckpointError(
            f"{path} holds {count} classifiers and does not say how accurate they are, so head='best' is "
            f"unknown; give head=0 to {count - 1}, as the log of its training says"
        )
    return tables[0].index(max(tables[0]))


def accuracies(key: str, value: Any, count: int) -> list[float] | None:
    """One number for each classifier, under a name such as `val_acc_per_head`; None for anything else."""
    if "acc" not in str(key).lower() or not isinstance(value, list | tuple | Tensor):
        return None
    numbers = value.tolist() if isinstance(value, Tensor) else list(value)
    known = isinstance(numbers, list) and all(isinstance(number, int | float) for number in numbers)
    return numbers if known and len(numbers) == count and all(map(isfinite, numbers)) else None
