"""The token grid of a clip, picking tokens out of it by index, and merging the tokens of a square into one.

Tokens stand in (T H W) order: time varies slowest, columns fastest.
"""

from math import isqrt

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

Grid = tuple[int, int, int]
"""(T, H, W): how many tubelets a clip holds along time, height and width."""


def take(tokens: Float[Tensor, "b n d"], index: Int[Tensor, "b k"]) -> Float[Tensor, "b k d"]:
    """The tokens at `index`, which lists the places of each clip separately."""
    return torch.take_along_dim(tokens, index[..., None], dim=1)


def merge_squares(tokens: Float[Tensor, "b n d"], T: int, side: int) -> Float[Tensor, "b T m k"]:
    """The tokens of T square frames, with those of every `side` x `side` square joined end to end."""
    H = isqrt(tokens.shape[1] // T) // side  # squares along a side of the frame
    return rearrange(tokens, "b (T H p W q) d -> b T (H W) (p q d)", T=T, H=H, W=H, p=side)


def split_squares(merged: Float[Tensor, "b T m k"], side: int) -> Float[Tensor, "b n d"]:
    """The inverse of `merge_squares`."""
    H = isqrt(merged.shape[2])
    return rearrange(merged, "b T (H W) (p q d) -> b (T H p W q) d", H=H, p=side, q=side)
