"""Measures of a planner as functions of numbers: progress of samples, ranks of energies, lost episodes."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

PROGRESS = 0.001
"""Metres by which an action has to shorten the distance to go, to count as progress."""
CLOSED = 0.5
"""Closedness above which a gripper counts as closed, 0 open .. 1 closed."""
FAR = 0.04
"""Metres between fingertips and the object's centre above which closing is too early."""
AT = 0.03
"""Metres between fingertips and the object's centre within which the hand is at the object."""

FailureKind = Literal["opened on the way", "never closed", "missed the object", "closed early", "other"]
"""Why an episode with an object was lost. The first that fits counts:

opened on the way   the object was held, and later it was not
never closed        the gripper was never closed, and the object never held
missed the object   the hand was never within 3 cm of the object
closed early        the gripper was closed more than 4 cm away, before the object was ever between the fingers
other               none of these, such as fingers that close beside the object
"""
FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)


class Grip(NamedTuple):
    """Hand and object at one time."""

    closedness: float
    """Measured, 0 open .. 1 closed."""
    held: bool
    """Whether both fingers touch the object."""
    between: bool
    """Whether the object's centre is between the fingers, touched or not."""
    distance: float
    """Metres from the fingertips to the object's centre."""


def progress_share(before: float, after: Float[ndarray, " s"]) -> float:
    """Share of the samples after which less is to go than before, by more than 1 mm; 0 .. 1."""
    return float((after < before - PROGRESS).mean())


def rank_correlation(x: Float[ndarray, " s"], y: Float[ndarray, " s"]) -> float | None:
    """Spearman's rank correlation, -1 .. 1; None if all values of one of the two are equal."""
    x_ranks = ranks(x)
    y_ranks = ranks(y)
    if np.ptp(x_ranks) == 0 or np.ptp(y_ranks) == 0:
        return None
    return float(np.corrcoef(x_ranks, y_ranks)[0, 1])


def ranks(values: Float[ndarray, " s"]) -> Float[ndarray, " s"]:
    """The place of each value in their order, from 0; equal values share the mean of their places."""
    less = (values < values[:, None]).sum(axis=1)
    equal = (values == values[:, None]).sum(axis=1)
    return less + (equal - 1) / 2


def failure_kind(grips: Sequence[Grip]) -> FailureKind:
    """Why an episode that was lost was lost: hand and object at its start and after each action."""
    closed = column(grips, "closedness") > CLOSED
    held = column(grips, "held").astype(bool)
    away = column(grips, "distance") > FAR
    # True from the first time on.
    was_held = np.logical_or.accumulate(held)
    was_between = np.logical_or.accumulate(column(grips, "between").astype(bool))
    fits: dict[FailureKind, Bool[ndarray, ""]] = {
        "opened on the way": (was_held & ~held).any(),
        "never closed": ~(closed | held).any(),
        "missed the object": ~held.any() & (column(grips, "distance") > AT).all(),
        "closed early": (closed & away & ~was_between).any(),
    }
    return next((kind for kind, fitting in fits.items() if fitting), "other")


def column(grips: Sequence[Grip], name: str) -> Float[ndarray, " t"]:
    """One field of all grips as numbers."""
    return np.array([getattr(grip, name) for grip in grips], float)
