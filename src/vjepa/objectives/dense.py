"""The dense loss of V-JEPA 2.1 (equations 2 and 3): the tokens that the encoder saw are predicted too.

    loss = mean_l1(predictions) + context.at(step, total) * context_l1(predictions, grid, context.by_distance)

An error counts the less, the further its token is from the nearest dropped one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vjepa.errors import require
from vjepa.models.grid import Grid
from vjepa.models.rope import grid_positions
from vjepa.objectives.masked_prediction import Prediction
from vjepa.objectives.masks import BlockConfig, MaskConfig


@dataclass(frozen=True)
class ContextConfig:
    """The loss at kept places: its weight rises from 0 at the beginning of a run, and then stays.

    The paper begins at the 50th of its epochs and is whole at the 100th. Shares of the run do the same for a
    run of any length.
    """

    weight: float = 0.5
    """Weight of the loss at kept places beside that at dropped ones; the paper's is 0.5."""
    begin: float = 0.0
    """Share of the run before which the weight is 0."""
    full: float = 0.0
    """Share of the run after which the weight is whole. It rises linearly from `begin` on."""
    by_distance: bool = True
    """Divide a token's error by the root of its distance to the nearest dropped token (equation 3)."""

    def __post_init__(self) -> None:
        require(self.weight > 0, f"context.weight={self.weight} must be positive; null for no such loss")
        require(
            0 <= self.begin <= self.full <= 1,
            f"context.begin={self.begin} and context.full={self.full} must be shares of the run from 0 to 1, "
            "the second not below the first",
        )

    def at(self, step: int, total: int) -> float:
        """The weight at optimiser step `step` of `total`."""
        begin = self.begin * total
        full = self.full * total
        if step <= begin:
            return 0.0
        if step >= full:
            return self.weight
        return self.weight * (step - begin) / (full - begin)


@dataclass(frozen=True)
class ImageConfig:
    """Single images in the same step as the clips (V-JEPA 2.1): the loss is a mean of both."""

    share: float = 0.5
    """Weight of the images' loss; that of the clips has the rest."""
    masks: MaskConfig = MaskConfig((BlockConfig(10, 0.15),))
    """Which tokens of an image are dropped; the paper has ten blocks."""
    context: ContextConfig | None = None
    """The loss at an image's kept places; the paper's weight is 0.7."""

    def __post_init__(self) -> None:
        require(0 < self.share < 1, f"images.share={self.share} is a share; give a number between 0 and 1")


def distance(keep: Int[Tensor, "b k"], drop: Int[Tensor, "b m"], grid: Grid) -> Float[Tensor, "b k"]:
    """Tokens from each kept place to the nearest dropped one; a step in time counts as one in space."""
    kept = grid_positions(keep, grid).float()
    dropped = grid_positions(drop, grid).float()
    # Not by a matrix product, which would round the root of a small whole number.
    return torch.cdist(kept, dropped, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=-1)


def context_l1(predictions: Sequence[Prediction], grid: Grid, by_distance: bool) -> Float[Tensor, ""]:
    """Equation 2: the mean L1 of all kept tokens of a view, averaged over views.

    Raises TypeError for predictions of a predictor that does not answer at kept places.
    """
    return torch.stack([kept_l1(prediction, grid, by_distance) for prediction in predictions]).mean()


def kept_l1(prediction: Prediction, grid: Grid, by_distance: bool) -> Float[Tensor, ""]:
    """The mean L1 of the kept tokens of one view."""
    if not by_distance:
        return prediction.kept_errors.mean()
    return (prediction.kept_errors / distance(*prediction.view, grid).sqrt()).mean()
