"""The frozen encoder's tokens of a batch of clips, which are given as frames or as cached tokens."""

from collections.abc import Sequence
from math import isqrt
from typing import TypeVar

import torch
from einops import rearrange
from torch import Tensor

from vjepa.data.transforms import normalise
from vjepa.errors import require
from vjepa.language.conversations import Conversation
from vjepa.models.encoder import Encoder
from vjepa.models.grid import Grid
from vjepa.models.projector import VideoTokens

Clip = TypeVar("Clip")
"""A clip's frames, or its tokens."""


@torch.no_grad()
def encode_clips(encoder: Encoder, clips: Sequence[Tensor], device: torch.device | str) -> list[VideoTokens]:
    """Tokens of each clip, in the order of the clips.

    A clip is frames (t, c, h, w) uint8, or tokens (T, H W, d) from a cache, which stay as they are.
    """
    encoded: dict[int, VideoTokens] = {}
    # Clips of one size go through the encoder together.
    for kind in dict.fromkeys((clip.shape, clip.dtype) for clip in clips):
        numbers = [i for i, clip in enumerate(clips) if (clip.shape, clip.dtype) == kind]
        # Frames move to the device as bytes, a quarter of their size in float32.
        batch = torch.stack([clips[i] for i in numbers]).to(device)
        grid = token_grid(encoder, clips[numbers[0]])
        if batch.dtype == torch.uint8:
            tokens = encoder(normalise(batch))
        else:
            tokens = rearrange(batch, "b T n d -> b (T n) d")
        encoded |= {i: VideoTokens(own, grid) for i, own in zip(numbers, tokens, strict=True)}
    return [encoded[i] for i in range(len(clips))]


def token_grid(encoder: Encoder, clip: Tensor) -> Grid:
    """(T, H, W) of a clip's tokens, without encoding it. Cached tokens come from square frames."""
    if clip.dtype != torch.uint8:
        T, n, _ = clip.shape
        return (T, isqrt(n), isqrt(n))
    frames, _, height, width = clip.shape
    return encoder.grid_of_size(frames, height, width)


def split_by_row(rows: Sequence[Conversation], clips: Sequence[Clip]) -> list[list[Clip]]:
    """The clips of each row, from the clips of all rows in turn."""
    counts = [len(row.media) for row in rows]
    require(
        sum(counts) == len(clips), f"the rows have {sum(counts)} media, but {len(clips)} clips were given"
    )
    # The count was checked, so `next` never runs out.
    rest = iter(clips)
    return [[next(rest) for _ in range(count)] for count in counts]
