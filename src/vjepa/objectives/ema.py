"""The target encoder: an exponential moving average of the trained encoder (V-JEPA 2, section 2.1)."""

import torch
from torch import nn


@torch.no_grad()
def update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target <- momentum * target + (1 - momentum) * online, parameter by parameter."""
    # One fused call for all parameters: a loop over hundreds of tensors costs a launch for each.
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), 1 - momentum)


@torch.no_grad()
def distance(target: nn.Module, online: nn.Module) -> torch.Tensor:
    """Root mean square difference of the two networks' parameters."""
    differences = torch._foreach_sub(list(target.parameters()), list(online.parameters()))
    squares = torch.stack([d.square().sum() for d in differences]).sum()
    return (squares / sum(d.numel() for d in differences)).sqrt()
