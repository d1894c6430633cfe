"""Masked prediction in representation space: equation 1 of V-JEPA 2 (section 2.1).

    targets = target_tokens(target_encoder, clip)                      # of the whole clip, without gradient
    predictions = predict_masked(encoder, predictor, clip, targets, sample_masks(...))
    loss = mean_l1(predictions)

The encoder sees only the kept tokens, and the predictor fills the dropped ones. The loss is the mean absolute
difference between their predicted and their target tokens, averaged over the mask kinds. Where the encoder
has levels (V-JEPA 2.1), tokens are those of all levels, joined end to end.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

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
    kept_errors: Float[Tensor, "b k"] | None
    """The same of every kept token, if the predictor answers there too."""
    context_gap: Float[Tensor, ""] | None
    """L1 between the tokens of both encoders at the kept places, without gradient: for monitors. None if the
    targets are a teacher's."""

    def detached(self) -> "Prediction":
        kept = None if self.kept_errors is None else self.kept_errors.detach()
        return self._replace(errors=self.errors.detach(), kept_errors=kept)


@torch.no_grad()
def target_tokens(target: Encoder, clip: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
    """The target encoder's tokens of the whole clip, in float32; each level layer-normed without affine."""
    # Of the whole clip: each target token has seen everything that the encoder does not see.
    return joined(plain_norm(target.all_levels(clip)))


def joined(levels: Float[Tensor, "b n l d"]) -> Float[Tensor, "b n l*d"]:
    """The levels of each token end to end."""
    return rearrange(levels, "b n l d -> b n (l d)")


def predict_masked(
    encoder: Encoder,
    predictor: Predictor,
    clip: Float[Tensor, "b c t h w"],
    targets: Float[Tensor, "b n d"],
    views: Sequence[View],
) -> list[Prediction]:
    """One prediction for each view, that is, for each mask kind."""
    # Masks are drawn on the CPU.
    on_device = [View(view.keep.to(clip.device), view.drop.to(clip.device)) for view in views]
    return [predict_view(encoder, predictor, clip, targets, view) for view in on_device]


def predict_view(
    encoder: Encoder,
    predictor: Predictor,
    clip: Float[Tensor, "b c t h w"],
    targets: Float[Tensor, "b n d"],
    view: View,
) -> Prediction:
    """The prediction of one view."""
    levels = encoder.all_levels(clip, view.keep)[:, :, -predictor.levels :]
    places = view.keep, view.drop, encoder.grid(clip)
    kept_errors = None
    if predictor.config.dense:
        predicted, seen = predictor.dense(joined(levels), *places, is_image=clip.shape[2] == 1)
        kept_errors = token_l1(seen, targets, view.keep)
    else:
        predicted = predictor(joined(levels), *places, is_image=clip.shape[2] == 1)
    gap = None
    if predictor.config.target_width is None:
        # The encoder's tokens are normed as the targets are, or the gap would measure their scale.
        gap = token_l1(joined(plain_norm(levels.detach())), targets, view.keep).mean()
    return Prediction(view, token_l1(predicted, targets, view.drop), kept_errors, gap)


def token_l1(
    predicted: Float[Tensor, "b k d"], targets: Float[Tensor, "b n d"], index: Int[Tensor, "b k"]
) -> Float[Tensor, "b k"]:
    """L1 of every predicted token, averaged over its channels; `index` lists their places."""
    # Only targets are layer-normed, as in the released code. In float32, since bfloat16 would round away the
    # difference of two nearly equal tokens.
    return (predicted.float() - take(targets, index)).abs().mean(dim=-1)


def mean_l1(predictions: Sequence[Prediction]) -> Float[Tensor, ""]:
    """Equation 1: the mean L1 of all dropped tokens of a view, averaged over views."""
    # A mean of means, as released: a mask kind with fewer dropped tokens counts as much as the others.
    return torch.stack([prediction.errors.mean() for prediction in predictions]).mean()
