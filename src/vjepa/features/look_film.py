"""The page's moving picture as a film: video, tokens as colours and foreground, side by side."""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from vjepa.drawing.captions import beside
from vjepa.drawing.film import write_gif, write_mp4
from vjepa.features.look_video import Look, Shown

HEADERS = ("video", "tokens as colours", "foreground")
GIF_HEIGHT = 160
"""Pixels. A GIF is larger than an MP4 of the same film, so its frames are smaller."""
GIF_FPS = 8
GIF_SECONDS = 12
CHUNK = 32
"""Frames that are drawn at once, because they are floats then, four times as large."""
DIM = 0.35
"""Brightness of the background in the view of the foreground."""

Frames = UInt8[np.ndarray, "t h w 3"]


def write_films(look: Look, gif: Path | None, mp4: Path | None) -> None:
    """Write the films that have a path: all videos one below another."""
    fps = look.timing.film_fps
    if mp4:
        height = look.videos[0].film.shape[-2]
        write_mp4(mp4, look_film(look, 1, height), fps)
    if gif:
        every = max(round(fps / GIF_FPS), 1)
        film = look_film(look, every, min(GIF_HEIGHT, look.videos[0].film.shape[-2]))
        write_gif(gif, film[: round(GIF_SECONDS * fps / every)], fps / every)


def look_film(look: Look, every: int, height: int) -> Frames:
    """Every `every`-th frame of the films of all videos. Frames are `height` pixels high."""
    rows = [
        video_film(video, colours, mask, every, height)
        for video, colours, mask in zip(look.videos, look.colours, look.masks, strict=True)
    ]
    # A shorter film holds its last frame, and a narrower one has a white margin.
    length = max(len(row) for row in rows)
    width = max(row.shape[2] for row in rows)
    rows = [np.concatenate([row, np.repeat(row[-1:], length - len(row), axis=0)]) for row in rows]
    margins = [((0, 0), (0, 0), (0, width - row.shape[2]), (0, 0)) for row in rows]
    padded = [np.pad(row, margin, constant_values=255) for row, margin in zip(rows, margins, strict=True)]
    return np.concatenate(padded, axis=1)


def video_film(
    video: Shown, colours: UInt8[Tensor, "T H W 3"], mask: Float[Tensor, "T H W"], every: int, height: int
) -> Frames:
    """One video beside its tokens as colours and its foreground, with headers."""
    frames = video.film[::every]
    size = (height, round(frames.shape[-1] * height / frames.shape[-2]))
    # A step is on screen for several frames.
    steps = torch.arange(len(video.film))[::every] * len(colours) // len(video.film)
    parts = []
    for chunk in torch.arange(len(frames)).split(CHUNK):
        seen = resize(frames[chunk].float() / 255, size)
        tokens = resize(rearrange(colours[steps[chunk]], "t H W c -> t c H W").float() / 255, size)
        alpha = resize(mask[steps[chunk], None], size)
        foreground = alpha * tokens + (1 - alpha) * DIM * seen.mean(dim=1, keepdim=True)
        parts.append(beside([to_frames(part) for part in (seen, tokens, foreground)], HEADERS))
    return np.concatenate(parts)


def resize(images: Float[Tensor, "t c _h _w"], size: tuple[int, int]) -> Float[Tensor, "t c h w"]:
    """Images in another size, smoothly."""
    return interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def to_frames(images: Float[Tensor, "t c h w"]) -> Frames:
    return rearrange((images * 255).round().byte(), "t c h w -> t h w c").numpy()
