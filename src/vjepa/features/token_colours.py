"""Tokens as images: principal components as colours, values on their tubelets' pixels, tiled clips."""

from collections.abc import Sequence

import torch
from einops import rearrange, repeat
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import pad

from vjepa.models.grid import Grid

CHROMA = 0.15
"""How colourful the colours of components are: the greatest distance from grey, in units of OKLab."""
OKLAB_TO_LMS = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
LMS_TO_RGB = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)
"""Bjorn Ottosson's matrices of the colour space OKLab."""

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


def component_colours(
    projected: Sequence[Float[Tensor, "_T _H _W k"]], foreground: int, sign: int
) -> list[UInt8[Tensor, "_T _H _W 3"]]:
    """Three components as colours that all videos share.

    The component of the foreground runs from blue to orange, and the foreground's side is orange. Of the two
    others, the first runs from dark to light and the second from magenta to green. Equal steps look equally
    large (the colour space is OKLab), so that no component looks stronger than it is.

    Args:
        projected: Each video's tokens along the components, of which the first three are shown.
        foreground: Number of the component that tells foreground from background.
        sign: 1 if the foreground is where that component is large, -1 where it is small.
    """
    flat = torch.cat([part[..., :3].flatten(0, 2) for part in projected])
    low, middle, high = flat.quantile(torch.tensor([0.02, 0.5, 0.98]), dim=0)
    others = [number for number in range(flat.shape[1]) if number != foreground]
    colours = []
    for part in projected:
        # Most tokens lie within -1 and 1; the few that lie far away are drawn near, without being cut off.
        values = (2 * (part[..., :3] - middle) / (high - low).clamp(min=1e-6)).tanh()
        light, green = values[..., others].unbind(-1)
        colours.append((oklab_to_rgb(light, sign * values[..., foreground], green) * 255).round().byte())
    return colours


def oklab_to_rgb(
    light: Float[Tensor, "*shape"], orange: Float[Tensor, "*shape"], green: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape 3"]:
    """Red, green and blue, 0 to 1, of three opponent values from -1 to 1."""
    # OKLab's own axes are red to green and yellow to blue; orange lies between red and yellow.
    a = CHROMA * (0.6 * orange - 0.8 * green)
    b = CHROMA * (0.8 * orange + 0.6 * green)
    lms = torch.stack([0.63 + 0.24 * light, a, b], dim=-1) @ torch.tensor(OKLAB_TO_LMS).T
    linear = (lms**3 @ torch.tensor(LMS_TO_RGB).T).clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def tile_clips(clips: UInt8[Tensor, "b t c h w"]) -> UInt8[Tensor, "c height width"]:
    """One image of several clips: clips are its rows and frames its columns, with white gaps between them."""
    # Whole times, so that pixels stay sharp squares.
    times = max(1, SMALLEST // clips.shape[-1])
    enlarged = repeat(clips, "b t c h w -> b t c (h i) (w j)", i=times, j=times)
    # The gaps are right of and below each image.
    padded = pad(enlarged, (0, 2, 0, 2), value=255)
    return rearrange(padded, "b t c h w -> c (b h) (t w)")
