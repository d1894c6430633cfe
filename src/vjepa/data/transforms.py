"""Crops and flips on uint8, one box for all frames of a clip.

Floats appear only on the device: bytes are resized in a quarter of the time, and a batch of them is a quarter
of the size on its way there.
"""

import math

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


def centre_crop(frames: UInt8[Tensor, "t c h w"], size: int) -> UInt8[Tensor, "t c {size} {size}"]:
    """The largest centred square, resized to size x size."""
    return crop(frames, centre_box(*frames.shape[-2:], 1.0), size, flip=False)
