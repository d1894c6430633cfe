"""Bounds of actions, as a config and as tensors that bring actions within them."""

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
    """Of the ball, or half a side of the box; metres."""
    moved: tuple[int, ...] = (0, 1, 2)
    """Dimensions under the constraint."""
    limit: float = 0.75
    """Greatest absolute value in every other dimension: the gripper's as released."""

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
            # The nearest point of the ball would lie on an axis far too often.
            size = (actions.abs() * self.moved).sum(dim=-1, keepdim=True)
            shortened = actions * (self.radius / size.clamp_min(self.radius))
            actions = torch.where(self.moved, shortened, actions)
        return actions.clamp(-self.limit, self.limit)
