"""Crops and flips on uint8, one box for all frames of a clip; floats appear only on the device."""

import math

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms import v2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which the released weights expect
ATTEMPTS = 10

Box = tuple[int, int, int, int]  # top, left, height, width


def normalise(clip: UInt8[Tensor, "b t c h w"]) -> Float[Tensor, "b c t h w"]:
    """Bytes of a batch, on any device, to the floats that encoders take."""
    mean, std = (torch.tensor(values, device=clip.device).view(3, 1, 1, 1) for values in (MEAN, STD))
    return (rearrange(clip, "b t c h w -> b c t h w").float() / 255 - mean) / std


def denormalise(clip: Float[Tensor, "b c t h w"]) -> UInt8[Tensor, "b t c h w"]:
    """The inverse of `normalise`, for pictures."""
    mean, std = (torch.tensor(values, device=clip.device).view(3, 1, 1, 1) for values in (MEAN, STD))
    return rearrange(((clip * std + mean) * 255).round().clamp(0, 255).byte(), "b c t h w -> b t c h w")


def random_box(
    height: int, width: int, scale: tuple[float, float], aspect: tuple[float, float], rng: np.random.Generator
) -> Box:
    """A box with a uniform share of the area and a log-uniform width over height; if none fits in ten draws, the whole
    frame cut to the nearest allowed aspect (the rule of torchvision's RandomResizedCrop, with our own randomness)."""
    for _ in range(ATTEMPTS):
        area = height * width * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1)), h, w
    return centre_box(height, width, min(max(width / height, aspect[0]), aspect[1]))


def centre_box(height: int, width: int, ratio: float) -> Box:
    """The largest centred box of the given width over height."""
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    return (height - h) // 2, (width - w) // 2, h, w


def crop(
    frames: UInt8[Tensor, "t c h w"], box: Box, size: int, flip: bool
) -> UInt8[Tensor, "t c {size} {size}"]:
    """The box, resized to size x size, mirrored if `flip`."""
    frames = v2.functional.resized_crop(frames, *box, [size, size], antialias=True)
    return frames.flip(-1) if flip else frames
