"""Three-dimensional rotary position embedding (V-JEPA 2, section 2.1).

The width of a head is cut into three equal segments. They rotate with the time, the row and the column of a
token's tubelet; dimensions that are left over do not rotate. All blocks share one table.
"""

from typing import Literal, NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from vjepa.models.grid import Grid

Layout = Literal["released", "interleaved"]
BASE = 10_000.0
"""Wavelengths run from 2 pi to nearly 2 pi times this, in tubelets."""


class Rotation(NamedTuple):
    """Cosine and sine of every token's angles, one column per head dimension."""

    cos: Float[Tensor, "b 1 n e"]
    sin: Float[Tensor, "b 1 n e"]


def grid_positions(index: Int[Tensor, "b n"], grid: Grid) -> Int[Tensor, "b n 3"]:
    """Time, row and column of token indices in (T H W) order."""
    _, H, W = grid
    return torch.stack([index // (H * W), index // W % H, index % W], dim=-1)


def stretched(positions: Int[Tensor, "b n 3"], grid: Grid, side: int | None) -> Float[Tensor, "b n 3"]:
    """Positions whose rows and columns run from 0 to side - 1, whatever the grid; as they are without a side.

    A grid of one row, or of one column, has it at 0.
    """
    _, H, W = grid
    if side is None:
        return positions.float()
    scale = [1.0, (side - 1) / max(H - 1, 1), (side - 1) / max(W - 1, 1)]
    return positions * torch.tensor(scale, device=positions.device)


def rotation_of(
    index: Int[Tensor, "b n"], grid: Grid, head_width: int, layout: Layout, side: int | None = None
) -> Rotation:
    """Cosine and sine tables for the tokens `index`, always in float32.

    side: Rows and columns to which every grid is stretched (V-JEPA 2.1); None leaves them as they are.

    `interleaved` gives both members of a rotated pair (2i, 2i+1) the same frequency. `released` tiles the
    frequencies instead, so the members of a pair turn at different rates. That is not a rotation, but the
    released weights were trained with it.
    """
    # The members of a pair are neighbours, so a segment has even width.
    segment = 2 * (head_width // 3 // 2)
    # bfloat16 angles would be off by up to 0.03 rad at 32 time steps.
    exponent = -torch.arange(segment // 2, device=index.device, dtype=torch.float32) / (segment / 2)
    frequency = BASE**exponent

    pattern = "b n x f -> b n (x r f)" if layout == "released" else "b n x f -> b n (x f r)"
    positions = stretched(grid_positions(index, grid), grid, side)
    angle = repeat(positions[..., None] * frequency, pattern, r=2)
    angle = pad(angle, (0, head_width - 3 * segment))[:, None]  # an angle of zero does not rotate
    return Rotation(angle.cos(), angle.sin())


def rotate(x: Float[Tensor, "b g n e"], rotation: Rotation) -> Float[Tensor, "b g n e"]:
    """Queries or keys of `g` heads, each turned by the angles of its token."""
    even, odd = rearrange(x, "b g n (e r) -> r b g n e", r=2)
    # (even, odd) turned by 90 degrees is (-odd, even), so this is the usual rotation matrix.
    quarter_turn = rearrange([-odd, even], "r b g n e -> b g n (e r)")
    return x * rotation.cos + quarter_turn * rotation.sin
