"""The target encoder: an exponential moving average of the trained one."""

import torch
from torch import nn


@torch.no_grad()
def update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target <- momentum * target + (1 - momentum) * online, parameter by parameter."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), 1 - momentum)


@torch.no_grad()
def distance(target: nn.Module, online: nn.Module) -> torch.Tensor:
    """Root mean square difference of the two networks' parameters."""
    differences = torch._foreach_sub(list(target.parameters()), list(online.parameters()))
    squares = torch.stack([d.square().sum() for d in differences]).sum()
    return (squares / sum(d.numel() for d in differences)).sqrt()
