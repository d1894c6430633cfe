"""Windows of robot episodes whose images are squares around the hand, where the logged state says it is.

windows = HandWindows(data, TrajectoryConfig(hand=HandView()))
images = windows.frames(episode=7, camera=windows.cameras[0], rows=np.arange(40))     # t c size size
"""

from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from vjepa.data.decode_error import DecodeError
from vjepa.data.transforms import crop_frames
from vjepa.errors import require
from vjepa.robots.episodes import Episodes
from vjepa.robots.hand_view import beside, hand_box, in_camera
from vjepa.robots.windows import TrajectoryConfig, Windows

ROWS_AT_ONCE = 64
"""Whole pictures in memory, before their squares are cut."""


class HandWindows(Windows):
    """The windows of `config.hand`."""

    def __init__(self, data: Episodes, config: TrajectoryConfig) -> None:
        """Raises UserError for a dataset that does not say where its cameras or hands are."""
        super().__init__(data, replace(config, size=config.hand.size))
        self.view = config.hand
        require(
            bool(data.extrinsics),
            f"{data.folder}: the square around the hand needs the camera's pose; name its column in the "
            "source's columns.extrinsics, or leave data.window.hand out",
        )
        require(
            len(data.schema.position) == 3,
            f"{data.folder}: the square around the hand needs one hand's xyz, "
            f"but schema.position names {len(data.schema.position)} dimensions",
        )

    def frames(
        self, episode: int, camera: str, rows: Int64[np.ndarray, " t"], rng: np.random.Generator | None = None
    ) -> UInt8[Tensor, "t c size size"]:
        """The squares of some rows. Raises DecodeError, which names the episode."""
        parts = np.array_split(rows, -(-len(rows) // ROWS_AT_ONCE))
        try:
            return torch.cat([self.squares(episode, camera, part) for part in parts])
        except DecodeError as error:
            raise DecodeError(error.path, f"{error.reason} ({self.data.name(episode)})") from error

    def squares(
        self, episode: int, camera: str, rows: Int64[np.ndarray, " t"]
    ) -> UInt8[Tensor, "t c size size"]:
        """The squares of so few rows that all of their pictures may be in memory."""
        pictures = self.data.frames(episode, camera, rows).numpy()
        places = self.places(episode, camera, rows)
        boxes = [hand_box(place, *pictures.shape[1:3], self.view) for place in places]
        pairs = zip(pictures, boxes, strict=True)
        squares = np.concatenate([crop_frames(picture[None], box, self.view.size) for picture, box in pairs])
        return rearrange(torch.from_numpy(squares), "t h w c -> t c h w")

    def seen(self, camera: str) -> Float32[Tensor, "rows 3"]:
        """Where the camera sees the hand at every row of the dataset, metres."""
        positions = self.data.states[:, list(self.data.schema.position)]
        return in_camera(positions, self.data.extrinsics[camera])

    def places(self, episode: int, camera: str, rows: Int64[np.ndarray, " t"]) -> Float32[Tensor, "t 3"]:
        """Where the camera sees the hand, metres, a little beside it by the jitter of the view."""
        seen = self.seen(camera)[self.data.rows(episode)][rows]
        return beside(seen, self.jitter(episode, rows), self.view)

    def jitter(self, episode: int, rows: Int64[np.ndarray, " t"]) -> Float32[Tensor, "t 2"]:
        """How far each square is beside the hand, in heights of the picture: the same every time."""
        # A stream for each row, so that it does not matter which rows are read together.
        number = int(self.data.numbers[episode])
        draws = [np.random.default_rng([number, row]).standard_normal(2) for row in rows.tolist()]
        return torch.from_numpy(self.view.jitter * np.stack(draws)).float()
