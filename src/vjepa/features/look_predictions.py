"""What the predictor says of the hidden half of a window, and where it errs.

The encoder reads the first half of a window. The predictor then predicts the tokens of the second half, which
are compared with those that the target encoder gives of the whole window, as in pretraining (equation 1).
Beside this error stands that of a baseline, "nothing changes": the last tokens that were seen, repeated.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.transforms import normalise
from vjepa.errors import announce
from vjepa.models.encoder import Encoder
from vjepa.models.layers import plain_norm
from vjepa.models.predictor import Predictor
from vjepa.weights.card import Card
from vjepa.weights.load import load_encoder, load_predictor

HIDDEN = 0.5
"""Share of a window's time steps that are hidden, the last ones."""


class Errors(NamedTuple):
    """L1 between predicted and true tokens, averaged over their channels, at the hidden steps of a window."""

    predicted: Float[Tensor, "T H W"]
    unchanged: Float[Tensor, "T H W"]
    """Of the baseline that repeats the last seen tokens."""


@dataclass(frozen=True)
class Forecaster:
    """The networks that predict the hidden half of a window."""

    target: Encoder
    """The averaged encoder, whose tokens are predicted."""
    context: Encoder
    """The encoder that reads what is seen. In pretraining it is the student; not every file holds one."""
    predictor: Predictor

    @torch.inference_mode()
    def errors(
        self, clip: UInt8[Tensor, "t c h w"], tokens: Float[Tensor, "T H W d"] | None = None
    ) -> Errors:
        """The errors at the hidden steps, on the CPU.

        tokens: The target encoder's tokens of this clip, if they are there already.
        """
        pixels = normalise(clip[None].to(next(self.target.parameters()).device))
        T, H, W = grid = self.target.grid(pixels)
        n = H * W
        places = torch.arange(T * n, device=pixels.device)[None]
        keep, drop = places.split([(T - hidden_steps(T)) * n, hidden_steps(T) * n], dim=1)

        whole = self.target(pixels) if tokens is None else tokens.flatten(0, 2)[None].to(pixels.device)
        true = plain_norm(whole)[:, -drop.shape[1] :]
        context = self.predictor.context(self.context, pixels, keep)
        predicted = self.predictor.last_level(self.predictor(context, keep, drop, grid))

        # By the encoder whose tokens are predicted, but of the seen part alone: the strictest fair baseline.
        same = self.context is self.target
        read = self.predictor.last_level(context) if same else self.target(pixels, keep)
        last = repeat(plain_norm(read)[:, -n:], "b n d -> b (T n) d", T=hidden_steps(T))
        errors = [(guess - true).abs().mean(dim=-1)[0] for guess in (predicted, last)]
        return Errors(*(rearrange(error, "(T H W) -> T H W", H=H, W=W).cpu() for error in errors))


def hidden_steps(steps: int) -> int:
    """How many of a window's time steps are hidden."""
    return max(round(HIDDEN * steps), 1)


def load_forecaster(source: str | Path, card: Card, target: Encoder) -> Forecaster | None:
    """The forecaster of weights that hold a predictor of their own tokens; None of others.

    target: The averaged encoder of the same weights, on its device.
    """
    if "predictor" not in card.parts:
        return None
    predictor = load_predictor(source)
    if predictor.config.target_width:
        announce(f"{source}: its predictor predicts a teacher's tokens, so its errors are left out")
        return None
    device = next(target.parameters()).device
    has_student = {"student", "ema"} <= set(card.parts)
    context = load_encoder(source, "student").to(device).eval() if has_student else target
    return Forecaster(target, context, predictor.to(device).eval())
