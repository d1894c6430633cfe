"""Token colours."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.models.grid import Grid


def token_colours(
    tokens: Float[Tensor, "b n d"], grid: Grid, frame: tuple[int, int]
) -> UInt8[Tensor, "b t c h w"]:
    """The first three principal components of all shown tokens as red, green and blue, one picture per time step."""
    flat = rearrange(tokens.float(), "b n d -> (b n) d")
    flat = flat - flat.mean(dim=0)
    components = torch.linalg.svd(flat, full_matrices=False).Vh[:3]
    colours = flat @ components.T
    colours = (colours / (2.5 * colours.std(dim=0)) + 0.5).clamp(0, 1).unflatten(0, tokens.shape[:2])
    return (spread(colours, grid, (grid[0], *frame)) * 255).byte()


def spread(
    values: Float[Tensor, "b n c"], grid: Grid, size: tuple[int, int, int]
) -> Float[Tensor, "b t c h w"]:
    """One value per token, as pixels of its tubelet."""
    T, H, W = grid
    t, h, w = size[0] // T, size[1] // H, size[2] // W
    return repeat(values, "b (T H W) c -> b (T t) c (H h) (W w)", T=T, H=H, W=W, t=t, h=h, w=w)


def filmstrip(clips: UInt8[Tensor, "b t c h w"]) -> UInt8[Tensor, "c height width"]:
    """Clips as rows, frames as columns, with a thin gap."""
    times = max(1, 128 // clips.shape[-1])  # small frames are shown larger
    padded = torch.nn.functional.pad(
        repeat(clips, "b t c h w -> b t c (h i) (w j)", i=times, j=times), (0, 2, 0, 2), value=255
    )
    return rearrange(padded, "b t c h w -> c (b h) (t w)")
