"""The target encoder: an exponential moving average of the trained encoder (V-JEPA 2, section 2.1)."""

from collections.abc import Mapping

import torch
from torch import nn

from vjepa.errors import require


def check_momentum(momentum: Mapping[str, float | None], half_life: float | None) -> None:
    """Raise UserError for a momentum that is no share, and a half-life that is no number of clips."""
    positive = half_life is None or half_life > 0
    require(positive, f"model.half_life={half_life} is a number of clips; give one above 0, or null")
    for name, share in momentum.items():
        is_share = share is None or 0 <= share <= 1
        require(is_share, f"model.momentum.{name}={share} is a share of the average that stays; give 0 to 1")


def momentum_of(half_life: float, clips: int) -> float:
    """The momentum of a step of so many clips, by which half of the average is new after `half_life` clips.

    The paper's 0.99925 at 3,072 clips a step is a half-life of 2.8 million.
    """
    return 0.5 ** (clips / half_life)


@torch.no_grad()
def update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target <- momentum * target + (1 - momentum) * online, parameter by parameter."""
    pairs = zip(target.parameters(), online.parameters(), strict=True)
    # What does not train has no average either.
    averages, trained = zip(*((mean, own) for mean, own in pairs if own.requires_grad), strict=True)
    # One fused call for all parameters: a loop over hundreds of tensors costs a launch for each.
    torch._foreach_lerp_(list(averages), list(trained), 1 - momentum)


@torch.no_grad()
def distance(target: nn.Module, online: nn.Module) -> torch.Tensor:
    """Root mean square difference of the two networks' parameters."""
    differences = torch._foreach_sub(list(target.parameters()), list(online.parameters()))
    squares = torch.stack([d.square().sum() for d in differences]).sum()
    rms = (squares / sum(d.numel() for d in differences)).sqrt()
    # Where devices share the weights out, each has a part of the sum; all of them take part here.
    return rms.full_tensor() if hasattr(rms, "full_tensor") else rms
