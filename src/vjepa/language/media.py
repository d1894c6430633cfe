"""Videos and images of conversations, as frames or as an encoder's cached tokens.

    decode_media(Media(Path("clip.mp4"), None, None), FrameConfig(frames=16, size=256))     # t c h w uint8

A video is shown as frames spread evenly over its whole length, and never cropped at random: an answer that
says left, right or a number must stay true. So the same tokens can be used in every epoch.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import Dataset

from vjepa.data.decode import open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.latents import LatentCache, read_rows
from vjepa.data.transforms import centre_square
from vjepa.errors import require
from vjepa.language.conversations import Conversation, Media


@dataclass(frozen=True)
class FrameConfig:
    """Which frames of a video are shown. The paper takes 128 of the whole video, or one a second up to 32."""

    frames: int = 16
    """Frames, spread evenly over the whole video. An image is one frame."""
    size: int = 256
    """Height and width of the largest centred square, pixels."""

    def __post_init__(self) -> None:
        require(
            min(self.frames, self.size) > 0,
            f"clip: frames={self.frames} and size={self.size} must be positive",
        )


class CaptionSample(NamedTuple):
    """One conversation with its media."""

    row: Conversation | None
    """None if a medium could not be decoded and nothing replaces it."""
    clip: list[Tensor]
    """One for each medium: frames (t, c, h, w) uint8, or tokens (T, H W, d) from a cache."""
    index: int
    bad: list[str]
    """Why each conversation that was tried could not be decoded."""


def decode_media(media: Media, config: FrameConfig) -> UInt8[Tensor, "t c h w"]:
    """The frames of a medium, cropped to a square. Raises DecodeError."""
    with open_video(media.path) as video:
        start = video.start if media.start is None else media.start
        end = video.end if media.end is None else media.end
        if np.isfinite(end):
            # The middle of each of `frames` equal parts: the very ends of a video are often black, or
            # missing.
            times = start + (np.arange(config.frames) + 0.5) / config.frames * (end - start)
        else:  # an image never ends
            times = start + np.zeros(1)
        frames = torch.from_numpy(video.frames(times, partial(centre_square, size=config.size)))
    return rearrange(frames, "t h w c -> t c h w")


def cache_name(media: Media) -> str:
    """Name of a medium's tokens in a cache. The name changes when the file changes."""
    try:
        status = media.path.stat()
    except OSError:
        return "missing"  # no such tokens are cached, so the decoder reports the file
    # Size and time stand for the content, because to hash it would mean to read every video.
    parts = (media.path, status.st_size, status.st_mtime_ns, media.start, media.end)
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


def cached_tokens(
    cache: LatentCache, media: Media, rows: Sequence[int] | None = None
) -> Float[Tensor, "T n d"] | None:
    """A medium's tokens, or those of the time steps `rows`; None if they are not cached or damaged."""
    try:
        return read_rows(cache.folder / f"{cache_name(media)}.safetensors", rows).float()
    except (FileNotFoundError, SafetensorError):
        return None


class MediaDataset(Dataset):
    """Base of data sets of conversations: a medium is frames, or tokens if the cache holds them."""

    def __init__(self, config: FrameConfig, cache: LatentCache | None) -> None:
        self.config = config
        self.cache = cache

    def sample(self, row: Conversation, index: int) -> CaptionSample:
        """A conversation with its media. Raises DecodeError."""
        return CaptionSample(row, [self.frames_or_tokens(media) for media in row.media], index, [])

    def frames_or_tokens(self, media: Media) -> Tensor:
        # A medium may be missing in the cache: its folder was full, or the file damaged.
        tokens = None if self.cache is None else cached_tokens(self.cache, media)
        return decode_media(media, self.config) if tokens is None else tokens


class MediaFrames(Dataset):
    """(name in a cache, frames) of each medium; the name is empty if the medium cannot be decoded."""

    def __init__(self, media: Sequence[Media], config: FrameConfig) -> None:
        self.media = media
        self.config = config

    def __len__(self) -> int:
        return len(self.media)

    def __getitem__(self, i: int) -> tuple[str, Tensor]:
        media = self.media[i]
        try:
            return cache_name(media), decode_media(media, self.config)
        except DecodeError:
            return "", torch.empty(0)
