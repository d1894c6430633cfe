"""What a step of pretraining returns: its loss, the parts of that, and what monitors show."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.models.grid import Grid
from vjepa.objectives.dense import ContextConfig, context_l1
from vjepa.objectives.masked_prediction import Prediction, mean_l1


class Outputs(TypedDict):
    """Of the clips, but for `loss`, which is of the images too. Without gradient, but for `loss`."""

    loss: Float[Tensor, ""]
    """What is minimised. Lightning divides it by the number of accumulated batches before monitors see it."""
    l1: Float[Tensor, ""]
    """Equation 1, which is never divided."""
    context_l1: NotRequired[Float[Tensor, ""]]
    """Equation 2 of V-JEPA 2.1, without its weight."""
    images_l1: NotRequired[Float[Tensor, ""]]
    """Equation 1 of the images."""
    context_gap: NotRequired[Float[Tensor, ""]]
    """L1 between the tokens of the trained and the averaged encoder at kept places."""
    grid: Grid
    targets: Float[Tensor, "b n d"]
    """The target encoder's tokens of the whole clips, layer-normed, all levels joined."""
    predictions: list[Prediction]
    """By group of clips, then by mask kind."""


def outputs_of(
    predictions: Sequence[Prediction],
    targets: Float[Tensor, "b n d"],
    grid: Grid,
    context: ContextConfig | None,
    weight: float,
) -> Outputs:
    """The loss of predictions, and what else a step returns. weight: Of the loss at kept places, now."""
    loss = mean_l1(predictions)
    shown = [prediction.detached() for prediction in predictions]
    outputs = Outputs(loss=loss, l1=loss.detach(), grid=grid, targets=targets, predictions=shown)
    gaps = [prediction.context_gap for prediction in shown if prediction.context_gap is not None]
    if gaps:
        outputs["context_gap"] = torch.stack(gaps).mean()
    if context:
        kept = context_l1(predictions, grid, context.by_distance)
        outputs["context_l1"] = kept.detach()
        outputs["loss"] = loss + weight * kept
    return outputs


def joint_outputs(clips: Outputs, images: Outputs, share: float) -> Outputs:
    """Those of the clips, with the loss of both. share: Weight of the images' loss."""
    return clips | {"loss": torch.lerp(clips["loss"], images["loss"], share), "images_l1": images["l1"]}
