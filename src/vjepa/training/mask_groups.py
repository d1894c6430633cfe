"""Which masks a batch gets. They depend on its place in the optimiser step, not on the number of devices.

Clips in one tensor must keep equally many tokens, so masks are sampled for groups of `masks.group` clips (see
`vjepa.objectives.masks`). A batch is a part of a group, or holds several groups.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import lightning as L
from jaxtyping import Float, Int
from torch import Tensor

from vjepa.errors import UserError, require
from vjepa.models.encoder import Encoder
from vjepa.models.grid import Grid
from vjepa.models.predictor import Predictor
from vjepa.objectives.masked_prediction import Prediction, predict_masked
from vjepa.objectives.masks import MaskConfig, View, sample_masks

HELD_OUT_SEED = 1_000_003
HELD_OUT_GROUP = 64
"""Masks of which each held-out clip has one. All keep equally many tokens, so any clips fit one batch."""


class Group(NamedTuple):
    """Clips of a batch that keep equally many tokens."""

    clips: slice
    """Where they stand in the batch."""
    views: list[View]
    """Their masks, one view for each mask kind."""


def sample_groups(
    config: MaskConfig, grid: Grid, clips: int, *, seed: int, step: int, batch: int
) -> list[Group]:
    """Masks for a batch of `clips` clips, group by group.

    batch: its number among the batches of optimiser step `step` (`batch_in_step`). Raises UserError if
    neither `clips` nor `config.group` divides the other.
    """
    size = min(config.group, clips)
    # All batches of a step are of one size, so those before this one hold as many groups each.
    first = batch * (clips // size)
    groups = []
    for number, start in enumerate(range(0, clips, size)):
        count = min(size, clips - start)
        views = sample_masks(config, grid, count, seed=seed, step=step, rank=first + number)
        groups.append(Group(slice(start, start + count), views))
    return groups


def predict_groups(
    encoder: Encoder,
    predictor: Predictor,
    clip: Float[Tensor, "b c t h w"],
    targets: Float[Tensor, "b n d"],
    groups: Sequence[Group],
) -> list[Prediction]:
    """The predictions of all groups of a batch, by group, then by mask kind."""
    predictions = []
    for clips, views in groups:
        predictions += predict_masked(encoder, predictor, clip[clips], targets[clips], views)
    return predictions


def held_out_masks(config: MaskConfig, grid: Grid, rows: Int[Tensor, " b"]) -> list[Group]:
    """The masks of held-out clips, as one group.

    They differ from those of training. They depend on a clip's row of the manifest alone, so a validation
    measures the same whenever it comes, and however the clips are cut into batches.
    """
    config = replace(config, group=HELD_OUT_GROUP)
    views = sample_masks(config, grid, HELD_OUT_GROUP, seed=HELD_OUT_SEED, step=0, rank=0)
    place = rows.cpu() % HELD_OUT_GROUP
    return [Group(slice(None), [View(view.keep[place], view.drop[place]) for view in views])]


def check_groups(
    config: MaskConfig,
    grid: Grid,
    batch_size: int,
    seed: int,
    names: tuple[str, str] = ("data.batch_size", "model.masks"),
) -> None:
    """Raise UserError if batches cannot be divided into groups, or if the masks do not fit into the grid.

    names: Of the settings of `batch_size` and `config`.
    """
    group = config.group
    require(
        group % batch_size == 0 or batch_size % group == 0,
        f"{names[0]}={batch_size} and {names[1]}.group={group}: one must be a multiple of the other",
    )
    # Whether masks fit depends on the kinds and the grid, so one draw is enough to find out.
    try:
        sample_masks(config, grid, min(batch_size, group), seed=seed, step=0, rank=0)
    except UserError as error:
        raise UserError(str(error).replace("masks.kinds", f"{names[1]}.kinds")) from error


def batch_in_step(trainer: L.Trainer, batch_idx: int) -> int:
    """This batch's number among all batches of its optimiser step, over devices and accumulated batches."""
    # All devices take their first batch of the step, then all take their second.
    return batch_idx % trainer.accumulate_grad_batches * trainer.world_size + trainer.global_rank
