"""Bounds of actions: the config, and its tensors, which bring actions within the bounds."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import require


@dataclass(frozen=True)
class ActionBounds:
    """Where actions must lie.

    The paper names an L1 ball of radius 0.075 m, "about 13 cm". The released planner clips each axis to 0.075
    m instead, a box whose corners are 13 cm from its centre.
    """

    constraint: Literal["l1_ball", "box"] = "l1_ball"
    """The paper's ball or the released planner's box, for the dimensions `moved`."""
    radius: float = 0.075
    """Radius of the ball, or half a side of the box; metres."""
    moved: tuple[int, ...] = (0, 1, 2)
    """Dimensions under the constraint; by default the position."""
    limit: float = 0.75
    """Greatest absolute value in every other dimension; as released for the gripper."""

    def __post_init__(self) -> None:
        require(self.radius > 0 and self.limit > 0, "bounds: radius and limit must be positive")


class Limits:
    """The bounds as tensors on the device, made once per plan so that the loop copies nothing there."""

    def __init__(self, bounds: ActionBounds, action_dim: int, device: torch.device) -> None:
        dims = torch.arange(action_dim, device=device)
        self.moved = torch.isin(dims, torch.tensor(bounds.moved, device=device))
        self.limit = torch.where(self.moved, bounds.radius, bounds.limit)
        self.is_ball = bounds.constraint == "l1_ball"
        self.radius = bounds.radius

    def project(self, actions: Float[Tensor, "*s a"]) -> Float[Tensor, "*s a"]:
        """Actions within the bounds: shortened along their own direction to the ball, clipped to the box."""
        if self.is_ball:
            # Not the nearest point of the ball, which lies on an axis or a face far too often: directions are
            # kept. `moved` also masks out the dimensions that do not count.
            size = (actions.abs() * self.moved).sum(dim=-1, keepdim=True)
            # The factor is 1 within the ball.
            shortened = actions * (self.radius / size.clamp_min(self.radius))
            actions = torch.where(self.moved, shortened, actions)
        # After the ball this changes only the dimensions that are not moved.
        return actions.clamp(-self.limit, self.limit)
