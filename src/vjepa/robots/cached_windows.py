"""Windows of trajectories as tokens: read from a latent cache, or made by encoding the whole episode.

    tokens = CachedWindows(windows, encode, settings, encoder.state_dict(), LatentsConfig(), device)
    frame_tokens = tokens(batch)      # b (t n) d, for batches read with `pixels: false`

Windows overlap, so a whole episode is encoded once for all of its windows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.decode_error import DecodeError
from vjepa.data.latents import LatentCache, encode_in_fixed_batches, latent_key
from vjepa.errors import require
from vjepa.robots.episodes import TrajectoryError
from vjepa.robots.window_batches import TrajectoryBatch
from vjepa.robots.windows import Windows

Encode = Callable[[UInt8[Tensor, "batch c h w"]], Float[Tensor, "batch n d"]]


@dataclass(frozen=True)
class LatentsConfig:
    """Where tokens of a frozen encoder are kept, if `data.window.pixels` is false."""

    folder: str = "data/latents"
    """One folder for all encoders and datasets; each has a key of its own in it."""
    gigabytes: float = 20.0
    """Most that the folder may take; what does not fit is encoded every time."""
    batch: int = 8
    """Frames encoded at once."""
    dtype: Literal["float32", "float16"] = "float32"
    """Precision on disk; float16 takes half the room, and rounds."""

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
        windows: The windows of every dataset, in the order of the mixture.
        encode: Maps uint8 frames to their tokens.
        encoder: Settings that change the tokens and are not part of the weights, in the types of JSON.
        weights: The encoder's.
        config: Where and how tokens are kept.
        device: Where the encoder runs; tokens of another kind of device may differ in the last bits.
        """
        self.windows = windows
        self.encode = encode
        self.batch = config.batch
        self.caches = []
        for dataset in windows:
            settings = {
                "size": dataset.config.size,
                "aspect": dataset.config.aspect,
                "batch": config.batch,
                "encoder": dict(encoder),
                "hand": None if dataset.view is None else asdict(dataset.view),
            }
            # Whatever changes the tokens must be in the key, or stale ones would be read.
            key = latent_key(weights, dataset.data.fingerprint, settings, device)
            # The limit is of the folder, which all of these caches share.
            limit = int(config.gigabytes * 2**30)
            self.caches.append(LatentCache(config.folder, key, limit, getattr(torch, config.dtype)))

    def __call__(self, batch: TrajectoryBatch) -> Float[Tensor, "b n d"]:
        """Tokens in (T H W) order, on the CPU. Raises TrajectoryError if an episode cannot be decoded."""
        windows = zip(
            batch.source.tolist(), batch.episode.tolist(), batch.camera, batch.rows.tolist(), strict=True
        )
        return torch.stack([self.window_tokens(*window) for window in windows])

    def window_tokens(self, source: int, episode: int, camera: str, rows: list[int]) -> Float[Tensor, "n d"]:
        """Tokens of some rows of an episode, one frame after the other."""

        def make() -> Float[Tensor, "t n d"]:
            return self.encode_episode(source, episode, camera)

        # The dataset's own number: which episodes are left out depends on the cameras and columns in use.
        number = self.windows[source].data.numbers[episode]
        tokens = self.caches[source].load(f"{number:06d}.{camera}", make, rows)
        return rearrange(tokens, "t n d -> (t n) d")

    def encode_episode(self, source: int, episode: int, camera: str) -> Float[Tensor, "t n d"]:
        """Tokens of all frames of an episode."""
        # Windows overlap and begin anywhere, so an episode's frames are encoded once for all of its windows.
        windows = self.windows[source]
        rows = np.arange(windows.data.length[episode])
        try:
            frames = windows.frames(episode, camera, rows)
        except DecodeError as error:
            # Too late to draw another episode, as the loader would: the batch already exists.
            raise TrajectoryError(
                f"{error}; tokens are kept by whole episodes, so remove it from the dataset"
            ) from error
        return encode_in_fixed_batches(frames, self.encode, self.batch)
