"""Tokens of the frames of robot trajectories, for stages on a frozen encoder.

They are encoded with every batch, or encoded once and then read from a latent cache:

    tokens = FrameTokens(encoder, data, LatentsConfig())
    frame_tokens = tokens(batch, "train")        # b (t n) d
"""

from dataclasses import asdict

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.transforms import normalise
from vjepa.errors import UserError
from vjepa.models.encoder import Encoder, encode_frames
from vjepa.robots.cached_windows import CachedWindows, LatentsConfig
from vjepa.robots.trajectory_data import TrajectoryData
from vjepa.robots.window_batches import TrajectoryBatch
from vjepa.robots.windows import Windows


class FrameTokens:
    """Layer-normed tokens of a batch, each frame encoded alone."""

    def __init__(
        self, encoder: Encoder, data: TrajectoryData, config: LatentsConfig, windows: type[Windows] = Windows
    ) -> None:
        """
        Args:
            encoder: The frozen encoder.
            data: The data module whose batches are encoded.
            config: Where tokens are kept, if `data.window.pixels` is false.
            windows: Whose images are encoded: whole pictures, or `HandWindows`.

        Raises UserError if tokens are to be kept but would vary, as they do with random crops.
        """
        self.encoder = encoder
        self.data = data
        self.config = config
        self.windows = windows
        self.readers: dict[str, CachedWindows] = {}
        if not data.window.pixels and not data.window.fixed_crop:
            raise UserError(
                "data.window.pixels=false keeps one crop's tokens; "
                "give data.window.scale and aspect a single value"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a frame's tokens. Raises UserError if the patches do not divide the frames."""
        size = self.data.window.size
        try:
            return self.encoder.grid_of_size(1, size, size)[1:]
        except UserError as error:
            raise UserError(f"data.window: {error}") from error

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    @torch.no_grad()
    def encode(self, frames: UInt8[Tensor, "batch c h w"]) -> Float[Tensor, "batch n d"]:
        # Each frame is a clip of its own, which the encoder repeats to fill a tubelet.
        return encode_frames(self.encoder, normalise(frames[:, None].to(self.device)))

    @torch.no_grad()
    def __call__(self, batch: TrajectoryBatch, split: str) -> Float[Tensor, "b n d"]:
        """Tokens in (T H W) order, on the encoder's device.

        split: `train`, `val` or `test`. A batch numbers the episodes of its own split.
        """
        if self.data.window.pixels:
            return encode_frames(self.encoder, normalise(batch.clip))
        # Made at the first batch: the cache's key names the kind of device, and Lightning moves the encoder
        # to its device only after it is built.
        if split not in self.readers:
            self.readers[split] = self.reader(split)
        return self.readers[split](batch).to(self.device)

    def reader(self, split: str) -> CachedWindows:
        """The latent cache of a split's datasets."""
        if split == "train":
            datasets = self.data.train_data
        else:
            datasets = [self.data.val_data if split == "val" else self.data.test_data]
        windows = [self.windows(dataset, self.data.window) for dataset in datasets]
        # A part of the cache's key: weights do not show the number of heads, or the rotary layout.
        settings = asdict(self.encoder.config)
        weights = self.encoder.state_dict()
        return CachedWindows(windows, self.encode, settings, weights, self.config, self.device)
