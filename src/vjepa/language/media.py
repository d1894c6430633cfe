"""Media."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import Dataset

from vjepa.data.decode import DecodeError, open_video
from vjepa.data.latents import LatentCache, read_rows
from vjepa.data.transforms import centre_box, crop
from vjepa.errors import require
from vjepa.language.conversations import Conversation, Media


@dataclass(frozen=True)
class FrameConfig:
    """How a video is shown: the paper takes 128 frames of the whole video, or one a second up to 32."""

    frames: int = 16
    """Frames, spread evenly over the whole video. A picture is one frame."""
    size: int = 256
    """Height and width of the largest centred square, pixels."""

    def __post_init__(self) -> None:
        require(
            min(self.frames, self.size) > 0,
            f"clip: frames={self.frames} and size={self.size} must be positive",
        )


class CaptionSample(NamedTuple):
    row: Conversation | None
    """None if a medium could not be decoded and nothing replaces it."""
    clip: list[Tensor]
    index: int
    bad: list[str]


def frames_of(media: Media, config: FrameConfig) -> UInt8[Tensor, "t c h w"]:
    """Its frames, cropped. Raises DecodeError."""
    with open_video(media.path) as video:
        start = video.start if media.start is None else media.start
        end = video.end if media.end is None else media.end
        still = not np.isfinite(end)
        places = np.zeros(1) if still else (np.arange(config.frames) + 0.5) / config.frames * (end - start)
        frames = rearrange(torch.from_numpy(video.frames(start + places)), "t h w c -> t c h w")
    return crop(frames, centre_box(*frames.shape[-2:], 1.0), config.size, False)


def media_name(media: Media) -> str:
    """A name for its tokens in a cache; another one once the file has changed."""
    try:
        about = media.path.stat()
    except OSError:
        return "missing"
    parts = (media.path, about.st_size, about.st_mtime_ns, media.start, media.end)
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


def kept_tokens(cache: LatentCache, media: Media, rows: Sequence[int] | None = None) -> Tensor | None:
    """Its tokens, or only some moments of them; nothing if they are not in the cache, or damaged there."""
    try:
        return read_rows(cache.folder / f"{media_name(media)}.safetensors", rows).float()
    except (FileNotFoundError, SafetensorError):
        return None


class Shown(Dataset):
    """Media as a batch holds them; index i gives frames, or tokens if the cache has them."""

    def __init__(self, config: FrameConfig, cache: LatentCache | None) -> None:
        self.config, self.cache = config, cache

    def media(self, media: Media) -> Tensor:
        tokens = None if self.cache is None else kept_tokens(self.cache, media)
        return frames_of(media, self.config) if tokens is None else tokens

    def sample(self, row: Conversation, index: int) -> CaptionSample:
        return CaptionSample(row, [self.media(media) for media in row.media], index, [])


class MediaFrames(Dataset):
    """(name in a cache, frames) of some media; no name where they cannot be decoded."""

    def __init__(self, media: Sequence[Media], config: FrameConfig) -> None:
        self.media, self.config = media, config

    def __len__(self) -> int:
        return len(self.media)

    def __getitem__(self, i: int) -> tuple[str, Tensor]:
        try:
            return media_name(self.media[i]), frames_of(self.media[i], self.config)
        except DecodeError:
            return "", torch.empty(0)
