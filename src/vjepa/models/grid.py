"""Grid."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

Grid = tuple[int, int, int]  # (T, H, W)


def take(tokens: Float[Tensor, "b n d"], index: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
    """Tokens at the given indices of their own clip."""
    return torch.take_along_dim(tokens, index[..., None], dim=1)
