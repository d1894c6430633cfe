"""Rollout errors and the use of actions on all held-out windows, of which each process sees a share.

means = RolloutMeans(horizons, schema)
means.add(predictor, tokens, batch, extrinsics)     # for every batch of this process
errors = means.compute(trainer.strategy)            # over the windows of all processes
"""

from collections.abc import Mapping
from math import nan
from typing import NamedTuple

from jaxtyping import Float
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from vjepa.data.means import Means
from vjepa.evaluation.action_use import Use, action_use_errors, labels_of, one_ahead, use_of
from vjepa.evaluation.rollout_error import ROWS, rollout_errors
from vjepa.models.ac_predictor import ACPredictor
from vjepa.robots.schema import StateSchema
from vjepa.robots.window_batches import TrajectoryBatch
from vjepa.weights.action_use import ALL, ActionUse


class HeldOutErrors(NamedTuple):
    """Means over held-out windows."""

    windows: int
    """How many could be decoded."""
    curves: dict[str, list[float]]
    """For each row of the table, its error after 1, 2, ... actions; NaN where there is none."""
    use: Use
    """Whether actions are used, at every horizon."""
    grippers: tuple[str, ...]
    """Dimensions of actions that move a gripper."""

    def metrics(self) -> dict[str, float]:
        """The errors that are known, as `model_1`, `model_2`, ..., and the use of whole actions one ahead."""
        named = {
            f"{row}_{k}": error for row, curve in self.curves.items() for k, error in enumerate(curve, 1)
        }
        used = {"action_use": self.use[ALL][0]}
        return {name: value for name, value in (named | used).items() if value is not None and value == value}

    def exported(self) -> ActionUse | None:
        """What an export says of the use of actions; None where nothing could be judged."""
        return one_ahead(self.use)


class RolloutMeans:
    """The means of `rollout_errors` and `action_use_errors`."""

    def __init__(self, horizons: int, schema: StateSchema) -> None:
        """
        Args:
            horizons: Actions of an evaluated window.
            schema: What its states and actions are.
        """
        self.horizons = horizons
        self.schema = schema
        rows = [*ROWS, *(row for pair in labels_of(schema).values() for row in pair)]
        # All names, for a process that sees no window.
        self.means = Means(f"{row}_{k}" for row in rows for k in range(1, horizons + 1))

    def add(
        self,
        predictor: ACPredictor,
        frame_tokens: Float[Tensor, "b n d"],
        batch: TrajectoryBatch,
        extrinsics: Float[Tensor, "b t x"] | None = None,
    ) -> None:
        """Add the errors of a batch of windows. extrinsics: For a predictor that takes the camera's pose."""
        given = (predictor, frame_tokens, batch.actions, batch.states, self.schema, extrinsics)
        errors = rollout_errors(*given)
        errors |= action_use_errors(errors, *given)
        self.means.add(mean_errors(errors), len(batch.actions))

    def compute(self, strategy: Strategy) -> HeldOutErrors:
        """The means over the windows of all processes, and forget them. Every process has to call it."""
        means = self.means.compute(strategy)
        curves = {row: curve_of(means, row, self.horizons) for row in ROWS}
        use = {
            label: use_of(*(curve_of(means, row, self.horizons) for row in pair))
            for label, pair in labels_of(self.schema).items()
        }
        return HeldOutErrors(int(self.means.count), curves, use, self.schema.gripper_labels)


def mean_errors(errors: Mapping[str, Float[Tensor, "_ T"]]) -> dict[str, Float[Tensor, ""]]:
    """The mean over windows of each row and horizon, as `model_1`, `model_2`, ...; no row without windows."""
    means = {row: error.mean(dim=0) for row, error in errors.items() if len(error)}
    return {f"{row}_{k}": value for row, mean in means.items() for k, value in enumerate(mean, 1)}


def curve_of(means: Mapping[str, float], row: str, horizons: int) -> list[float]:
    """The mean of a row after 1, 2, ... actions; NaN where no window was seen."""
    return [means.get(f"{row}_{k}", nan) for k in range(1, horizons + 1)]


def is_curve(name: str, horizons: int) -> bool:
    """Whether a metric becomes a curve: the use of actions, and two errors at the first and the last horizon.

    All errors over all horizons are one figure; 32 curves would bury the others. name: as in `metrics`.
    """
    row, _, k = name.rpartition("_")
    return name == "action_use" or (row in ("model", "persistence") and int(k) in (1, horizons))
