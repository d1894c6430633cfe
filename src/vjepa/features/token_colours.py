"""Tokens as images: principal components as colours, values on their tubelets' pixels, tiled clips."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import pad

from vjepa.models.grid import Grid

SMALLEST = 128
"""Frames with fewer pixels in a row are enlarged, up to this width."""


def token_colours(
    tokens: Float[Tensor, "b n d"], grid: Grid, frame: tuple[int, int]
) -> UInt8[Tensor, "b t c h w"]:
    """The first three principal components of all tokens as red, green and blue, an image a time step.

    frame: Height and width of the images in pixels.
    """
    # One set of components for all clips, so that a colour means the same in every image.
    flat = rearrange(tokens.float(), "b n d -> (b n) d")
    centred = flat - flat.mean(dim=0)
    components = torch.linalg.svd(centred, full_matrices=False).Vh[:3]
    projected = centred @ components.T

    # 1.25 standard deviations to either side of the mean fill the range of a colour.
    colours = (projected / (2.5 * projected.std(dim=0)) + 0.5).clamp(0, 1).unflatten(0, tokens.shape[:2])
    return (tokens_to_pixels(colours, grid, (grid[0], *frame)) * 255).byte()


def tokens_to_pixels(
    values: Float[Tensor, "b n c"], grid: Grid, size: tuple[int, int, int]
) -> Float[Tensor, "b t c h w"]:
    """The values of every token on all pixels of its tubelet, in a clip of `size` (frames, height, width)."""
    T, H, W = grid
    t = size[0] // T
    h = size[1] // H
    w = size[2] // W
    return repeat(values, "b (T H W) c -> b (T t) c (H h) (W w)", T=T, H=H, W=W, t=t, h=h, w=w)


def tile_clips(clips: UInt8[Tensor, "b t c h w"]) -> UInt8[Tensor, "c height width"]:
    """One image of several clips: clips are its rows and frames its columns, with white gaps between them."""
    # Whole times, so that pixels stay sharp squares.
    times = max(1, SMALLEST // clips.shape[-1])
    enlarged = repeat(clips, "b t c h w -> b t c (h i) (w j)", i=times, j=times)
    # The gaps are right of and below each image.
    padded = pad(enlarged, (0, 2, 0, 2), value=255)
    return rearrange(padded, "b t c h w -> c (b h) (t w)")
