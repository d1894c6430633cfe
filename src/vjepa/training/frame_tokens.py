"""Tokens of the frames of robot trajectories, for stages on a frozen encoder: encoded now, or looked up."""

from dataclasses import asdict

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.transforms import normalise
from vjepa.errors import UserError
from vjepa.models.ac_predictor import encode_frames
from vjepa.models.encoder import Encoder
from vjepa.robots.cached_windows import CachedWindows, LatentsConfig
from vjepa.robots.module import TrajectoryData
from vjepa.robots.windows import TrajectoryBatch, Windows


class FrameTokens:
    """`tokens(batch, split)`: layer-normed, each frame encoded alone. With `data.window.pixels: false` from the cache."""

    def __init__(self, encoder: Encoder, data: TrajectoryData, config: LatentsConfig) -> None:
        """Raises UserError if the encoder does not take such frames, or their crops vary and cannot be kept."""
        self.encoder, self.data, self.config = encoder, data, config
        self.readers: dict[str, CachedWindows] = {}
        if not data.window.pixels and not data.window.fixed_crop:
            raise UserError(
                "data.window.pixels=false keeps one crop's tokens; give data.window.scale and aspect a single value"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a frame's tokens. Raises UserError if the patches do not divide the frames."""
        size, t = self.data.window.size, self.encoder.config.tubelet
        try:
            return self.encoder.grid(torch.empty(1, 3, t, size, size, device="meta"))[1:]
        except UserError as error:
            raise UserError(f"data.window: {error}") from error

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    @torch.no_grad()
    def encode(self, frames: UInt8[Tensor, "batch c h w"]) -> Float[Tensor, "batch n d"]:
        return encode_frames(self.encoder, normalise(frames[:, None].to(self.device)))

    @torch.no_grad()
    def __call__(self, batch: TrajectoryBatch, split: str) -> Float[Tensor, "b n d"]:
        """In (T H W) order, on the encoder's device."""
        if self.data.window.pixels:
            return encode_frames(self.encoder, normalise(batch.clip))
        if split not in self.readers:
            self.readers[split] = self.reader(split)
        return self.readers[split](batch).to(self.device)

    def reader(self, split: str) -> CachedWindows:
        data = self.data
        datasets = {
            "train": lambda: data.train_data,
            "val": lambda: [data.val_data],
            "test": lambda: [data.test_data],
        }
        windows = [Windows(dataset, data.window) for dataset in datasets[split]()]
        about = asdict(self.encoder.config)
        return CachedWindows(windows, self.encode, about, self.encoder.state_dict(), self.config, self.device)


def check_equal(name: str, given: int, schema: str, expected: int) -> None:
    """Refuse a network whose inputs are not those of the data's schema."""
    if given != expected:
        raise UserError(
            f"{name}={given}, but data.schema has {schema} of {expected} numbers; give {expected}"
        )
