"""Three-dimensional rotary position embedding (V-JEPA 2, section 2.1).

The width of a head is cut into three equal segments that rotate with the time, row and column of a token's tubelet; what
is left over does not rotate. Tables are computed once per forward pass and shared by every block.
"""

from typing import Literal, NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from vjepa.models.grid import Grid

Layout = Literal["released", "interleaved"]
BASE = 10_000.0


class Rotation(NamedTuple):
    """Cosine and sine of every token's angles, one column per head dimension."""

    cos: Float[Tensor, "b 1 n e"]
    sin: Float[Tensor, "b 1 n e"]


def positions(index: Int[Tensor, "b n"], grid: Grid) -> Int[Tensor, "b n 3"]:
    """Time, row and column of token indices in (T H W) order."""
    _, H, W = grid
    return torch.stack([index // (H * W), index // W % H, index % W], dim=-1)


def rotation(index: Int[Tensor, "b n"], grid: Grid, head_width: int, layout: Layout) -> Rotation:
    """Tables for the tokens `index`; always float32, because bfloat16 angles are off by up to 0.03 rad at 32 time steps.

    `interleaved` gives both members of a rotated pair (2i, 2i+1) the same frequency. `released` tiles the frequencies
    instead, so that the members of a pair turn at different rates: not a rotation, but what the released weights were
    trained with.
    """
    segment = 2 * (head_width // 3 // 2)
    frequency = BASE ** (
        -torch.arange(segment // 2, device=index.device, dtype=torch.float32) / (segment / 2)
    )
    pattern = "b n x f -> b n (x r f)" if layout == "released" else "b n x f -> b n (x f r)"
    angle = repeat(positions(index, grid)[..., None] * frequency, pattern, r=2)
    angle = torch.nn.functional.pad(angle, (0, head_width - 3 * segment))[:, None]
    return Rotation(angle.cos(), angle.sin())


def rotate(x: Float[Tensor, "b g n e"], by: Rotation) -> Float[Tensor, "b g n e"]:
    """Queries or keys of `g` heads, turned by their tokens' angles."""
    even, odd = rearrange(x, "b g n (e r) -> r b g n e", r=2)
    quarter_turn = rearrange([-odd, even], "r b g n e -> b g n (e r)")
    return x * by.cos + quarter_turn * by.sin
