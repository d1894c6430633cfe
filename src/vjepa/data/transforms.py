"""Crops and flips on uint8, one box for all frames of a clip.

Floats appear only on the device: bytes are resized in a quarter of the time, and a batch of them is a quarter
of the size on its way there.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms import v2

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's, per channel, which the released weights expect."""

BOX_ATTEMPTS = 10  # as in torchvision

Frames = UInt8[np.ndarray, "t h w c"]
"""Frames of one video as decoders give them."""

Box = tuple[int, int, int, int]
"""top, left, height, width, in pixels."""


def normalise(clip: UInt8[Tensor, "b t c h w"]) -> Float[Tensor, "b c t h w"]:
    """Bytes of a batch, on any device, to the floats that encoders take."""
    mean, std = mean_and_std(clip.device)
    return (rearrange(clip, "b t c h w -> b c t h w").float() / 255 - mean) / std


def denormalise(clip: Float[Tensor, "b c t h w"]) -> UInt8[Tensor, "b t c h w"]:
    """The inverse of `normalise`, for images."""
    mean, std = mean_and_std(clip.device)
    # Rounded, because `byte` cuts off, and the round trip would darken an image.
    pixels = ((clip * std + mean) * 255).round().clamp(0, 255).byte()
    return rearrange(pixels, "b c t h w -> b t c h w")


def mean_and_std(device: torch.device) -> tuple[Float[Tensor, "c 1 1 1"], Float[Tensor, "c 1 1 1"]]:
    """MEAN and STD in a shape that broadcasts over t, h and w."""
    mean = rearrange(torch.tensor(MEAN, device=device), "c -> c 1 1 1")
    std = rearrange(torch.tensor(STD, device=device), "c -> c 1 1 1")
    return mean, std


def random_box(
    height: int, width: int, scale: tuple[float, float], aspect: tuple[float, float], rng: np.random.Generator
) -> Box:
    """A box with a uniform share of the area and a log-uniform width over height.

    If none fits in ten draws, it is the whole frame cut to the nearest allowed aspect. This is the rule of
    torchvision's RandomResizedCrop; the draws come from `rng`, so that a sample depends on its own number
    alone.
    """
    for _ in range(BOX_ATTEMPTS):
        area = height * width * rng.uniform(*scale)
        # In logarithms, so that twice as wide is as likely as twice as high.
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        w = round((area * ratio) ** 0.5)
        h = round((area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.integers(0, height - h + 1))
            left = int(rng.integers(0, width - w + 1))
            return top, left, h, w
    return centre_box(height, width, min(max(width / height, aspect[0]), aspect[1]))


def centre_box(height: int, width: int, ratio: float) -> Box:
    """The largest centred box of the given width over height."""
    w = min(width, round(height * ratio))
    h = min(height, round(width / ratio))
    return (height - h) // 2, (width - w) // 2, h, w


def crop(
    frames: UInt8[Tensor, "t c h w"], box: Box, size: int, flip: bool
) -> UInt8[Tensor, "t c {size} {size}"]:
    """The box, resized to size x size, mirrored if `flip`."""
    # Antialiasing, unlike the released loader: without it, every second pixel of a large frame would be
    # ignored.
    frames = v2.functional.resized_crop(frames, *box, [size, size], antialias=True)
    return frames.flip(-1) if flip else frames


def crop_frames(
    frames: Frames, box: Box, size: int, flip: bool = False
) -> UInt8[np.ndarray, "t {size} {size} c"]:
    """The same of frames as decoders give them."""
    top, left, height, width = box
    squares = resized(frames[:, top : top + height, left : left + width], (size, size))
    return torch.from_numpy(squares).flip(2).numpy() if flip else squares


def resized(frames: Frames, size: tuple[int, int]) -> UInt8[np.ndarray, "t h2 w2 c"]:
    """The frames in another height and width."""
    # Contiguous: PyTorch takes up to twice the time for parts of frames.
    pixels = torch.from_numpy(np.ascontiguousarray(frames))
    made = v2.functional.resize(rearrange(pixels, "t h w c -> t c h w"), list(size), antialias=True)
    return rearrange(made, "t c h w -> t h w c").numpy()


def centre_square(frames: Frames, size: int) -> UInt8[np.ndarray, "t {size} {size} c"]:
    """The largest centred square of frames, resized to size x size."""
    return crop_frames(frames, centre_box(*frames.shape[1:3], 1.0), size)


def clip_crop(choose: Callable[[int, int], tuple[Box, bool]], size: int) -> Callable[[Frames], Frames]:
    """A crop for all frames of one clip, by the box (and the mirroring) that `choose` draws once.

    A box that moved from frame to frame would look like motion of the camera."""
    chosen = cache(choose)

    def crop_some(frames: Frames) -> UInt8[np.ndarray, "t h2 w2 c"]:
        box, flip = chosen(*frames.shape[1:3])
        return crop_frames(frames, box, size, flip)

    return crop_some


def centre_crop(frames: UInt8[Tensor, "t c h w"], size: int) -> UInt8[Tensor, "t c {size} {size}"]:
    """The largest centred square, resized to size x size."""
    return crop(frames, centre_box(*frames.shape[-2:], 1.0), size, flip=False)
