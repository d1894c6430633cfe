"""Masked prediction in representation space: equation 1 of V-JEPA 2 (section 2.1).

    targets = target_tokens(target_encoder, clip)                      # of the whole clip, without gradient
    predictions = predict_masked(encoder, predictor, clip, targets, sample_masks(...))
    loss = mean_l1(predictions)

The encoder sees only the kept tokens, and the predictor fills the dropped ones. The loss is the mean absolute
difference between their predicted and their target tokens, averaged over the mask kinds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import l1_loss

from vjepa.models.encoder import Encoder
from vjepa.models.grid import take
from vjepa.models.layers import plain_norm
from vjepa.models.predictor import Predictor
from vjepa.objectives.masks import View


class Prediction(NamedTuple):
    """The prediction of clips under one mask kind."""

    view: View
    errors: Float[Tensor, "b m"]
    """L1 of every dropped token, averaged over its channels."""
    context_gap: Float[Tensor, ""]
    """L1 between the tokens of both encoders at the kept places, without gradient: for monitors."""

    def detached(self) -> "Prediction":
        return self._replace(errors=self.errors.detach())


@torch.no_grad()
def target_tokens(target: Encoder, clip: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
    """The target encoder's tokens of the whole clip, layer-normed without affine parameters, in float32."""
    # Of the whole clip: each target token has seen everything that the encoder does not see.
    return plain_norm(target(clip))


def predict_masked(
    encoder: Encoder,
    predictor: Predictor,
    clip: Float[Tensor, "b c t h w"],
    targets: Float[Tensor, "b n d"],
    views: Sequence[View],
) -> list[Prediction]:
    """One prediction for each view, that is, for each mask kind."""
    grid = encoder.grid(clip)
    predictions = []
    for view in views:
        keep = view.keep.to(clip.device)  # masks are drawn on the CPU
        drop = view.drop.to(clip.device)
        context = encoder(clip, keep)
        predicted = predictor(context, keep, drop, grid)

        # Only targets are layer-normed, as in the released code. In float32, since bfloat16 would round away
        # the difference of two nearly equal tokens.
        errors = (predicted.float() - take(targets, drop)).abs().mean(dim=-1)
        # The encoder's tokens are normed as the targets are, or the gap would measure their scale.
        context_gap = l1_loss(plain_norm(context.detach()), take(targets, keep))
        predictions.append(Prediction(View(keep, drop), errors, context_gap))
    return predictions


def mean_l1(predictions: Sequence[Prediction]) -> Float[Tensor, ""]:
    """Equation 1: the mean L1 of all dropped tokens of a view, averaged over views."""
    # A mean of means, as released: a mask kind with fewer dropped tokens counts as much as the others.
    return torch.stack([prediction.errors.mean() for prediction in predictions]).mean()
