"""Where a camera sees the hand, and the square of its picture around the hand.

    seen = in_camera(position, extrinsics)                    # x right, y down, z into the picture; metres
    box = hand_box(seen, height, width, HandView(side=0.16, fov=45.0))

A whole picture shows the fingers a few pixels wide. A square around the hand, enlarged, shows whether they
hold something. The arm's own state and the camera's pose say where it is; for a goal picture, of which no
state is known, a head reads it (`vjepa.models.state_reader`).
"""

from dataclasses import dataclass
from math import radians, tan

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from vjepa.data.transforms import Box
from vjepa.errors import require
from vjepa.robots.euler import euler_to_matrix


@dataclass(frozen=True)
class HandView:
    """A square around the hand, cut from the camera's picture and resized."""

    side: float = 0.16
    """Height and width, as a share of the picture's height."""
    size: int = 64
    """Height and width in pixels to which it is resized."""
    fov: float = 45.0
    """The camera's vertical field of view, degrees."""
    jitter: float = 0.008
    """Standard deviation of the square's place in training, as a share of the picture's height: a reader that
    has to find the hand itself is off by about as much."""

    def __post_init__(self) -> None:
        require(0 < self.side <= 1, f"hand.side={self.side} is a share of the picture's height: 0 to 1")
        require(self.size > 0, f"hand.size={self.size}: give a number of pixels")
        require(0 <= self.jitter < 1, f"hand.jitter={self.jitter} is a share of the picture's height: 0 to 1")
        require(0 < self.fov < 180, f"hand.fov={self.fov}: give the camera's vertical field of view, degrees")

    @property
    def focal(self) -> float:
        """Focal length in heights of the picture."""
        return 0.5 / tan(radians(self.fov) / 2)


def in_camera(position: Float[Tensor, "*#b 3"], extrinsics: Float[Tensor, "*#b 6"]) -> Float[Tensor, "*b 3"]:
    """A position in the robot's frame, as the camera sees it; metres.

    extrinsics: The camera's pose in the robot's frame, xyz in metres and three angles.
    """
    rotation = euler_to_matrix(extrinsics[..., 3:])
    return einsum(rotation, position - extrinsics[..., :3], "... i j, ... i -> ... j")


def in_robot(seen: Float[Tensor, "*#b 3"], extrinsics: Float[Tensor, "*#b 6"]) -> Float[Tensor, "*b 3"]:
    """The inverse of `in_camera`."""
    rotation = euler_to_matrix(extrinsics[..., 3:])
    return einsum(rotation, seen, "... i j, ... j -> ... i") + extrinsics[..., :3]


def beside(
    seen: Float[Tensor, "*#b 3"], offset: Float[Tensor, "*#b 2"], view: HandView
) -> Float[Tensor, "*b 3"]:
    """The place that the picture shows to the right of `seen` and below it, at the same depth; metres.

    offset: How far, in heights of the picture.
    """
    depth = seen[..., 2:]
    return torch.cat([seen[..., :2] + offset * depth / view.focal, depth.expand_as(offset[..., :1])], dim=-1)


def hand_box(seen: Float[Tensor, "3"], height: int, width: int, view: HandView) -> Box:
    """The square around a hand that the camera sees at `seen`, moved into a picture of `height` x `width`.

    A hand outside of the picture, or behind the camera, gets the nearest square that is inside.
    """
    side = max(1, round(view.side * height))
    depth = seen[2].clamp_min(1e-3)
    across, down = (view.focal * height * seen[:2] / depth).nan_to_num().tolist()
    # The optical axis meets the picture in its middle.
    top = round(height / 2 + down - side / 2)
    left = round(width / 2 + across - side / 2)
    return min(max(top, 0), height - side), min(max(left, 0), width - side), side, side
