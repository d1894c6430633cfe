"""Windows of trajectories as tokens: looked up in a latent cache, or encoded whole episodes at a time.

tokens = CachedWindows(windows, encode, weights, LatentsConfig(), device)
frame_tokens = tokens(batch)      # b (t n) d, for batches read with `pixels: false`
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.decode import DecodeError
from vjepa.data.latents import LatentCache, encode_frames, latent_key
from vjepa.errors import require
from vjepa.robots.episodes import TrajectoryError
from vjepa.robots.windows import TrajectoryBatch, Windows

Encode = Callable[[UInt8[Tensor, "batch c h w"]], Float[Tensor, "batch n d"]]


@dataclass(frozen=True)
class LatentsConfig:
    """Where tokens of a frozen encoder are kept, if `data.window.pixels` is false."""

    folder: str = "data/latents"
    """One folder for all encoders and datasets; each has a key of its own in it."""
    gigabytes: float = 20.0
    """Most that the folder may take; what is beyond is encoded every time."""
    batch: int = 8
    """Frames encoded at once."""
    dtype: Literal["float32", "float16"] = "float32"
    """What is kept; float16 takes half the room, and rounds."""

    def __post_init__(self) -> None:
        require(self.gigabytes > 0 and self.batch > 0, "latents: gigabytes and batch must be positive")


class CachedWindows:
    """Tokens of the windows of a batch. Every dataset of the mixture has a cache of its own."""

    def __init__(
        self,
        windows: Sequence[Windows],
        encode: Encode,
        encoder: Mapping[str, object],
        weights: Mapping[str, Tensor],
        config: LatentsConfig,
        device: torch.device | str,
    ) -> None:
        """
        encode: one frame's bytes each to its tokens.
        encoder: its settings, as far as its weights do not show them; anything that JSON can say.
        """
        self.windows, self.encode, self.batch = windows, encode, config.batch
        limit, dtype = int(config.gigabytes * 2**30), getattr(torch, config.dtype)
        self.caches = []
        for part in windows:
            crop = {"size": part.config.size, "aspect": part.config.aspect}
            seen = crop | {"batch": config.batch, "encoder": dict(encoder)}
            key = latent_key(weights, part.data.fingerprint, seen, device)
            self.caches.append(LatentCache(config.folder, key, limit, dtype))

    def __call__(self, batch: TrajectoryBatch) -> Float[Tensor, "b n d"]:
        """Tokens in (T H W) order, on the CPU. Raises TrajectoryError if an episode cannot be decoded."""
        where = zip(
            batch.source.tolist(), batch.episode.tolist(), batch.camera, batch.rows.tolist(), strict=True
        )
        return torch.stack([self.window(*one) for one in where])

    def window(self, source: int, episode: int, camera: str, rows: list[int]) -> Float[Tensor, "n d"]:
        name = f"{episode:06d}.{camera}"
        tokens = self.caches[source].load(name, lambda: self.encoded(source, episode, camera), rows)
        return rearrange(tokens, "t n d -> (t n) d")

    def encoded(self, source: int, episode: int, camera: str) -> Float[Tensor, "t n d"]:
        """All frames of an episode."""
        windows = self.windows[source]
        rows = np.arange(windows.data.length[episode])
        try:
            frames = windows.frames(episode, camera, rows)
        except DecodeError as error:
            raise TrajectoryError(
                f"{error}; tokens are kept by whole episodes, so remove it from the dataset"
            ) from error
        return encode_frames(frames, self.encode, self.batch)
