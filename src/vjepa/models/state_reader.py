"""Reads the arm's state from frozen tokens: where the camera sees the hand, and whether the gripper closes.

    reader = load_state_reader("ac.safetensors")
    seen = reader.hand(picture)       # tokens b n d of the whole picture -> b 3, metres in the camera's frame
    closing = reader.gripper(hand)    # tokens b n d of the square around the hand -> b, logits

Every robot logs its state, so the readings need no labels. Tokens hold the hand's position, but pooling them
loses it. So both heads look for points: a convolution scores the places of the token grid, a soft arg-max
turns scores into coordinates (Levine et al. 2016, arXiv 1504.00702, section 5.2), and a perceptron reads the
coordinates and what is seen there.
"""

from dataclasses import dataclass
from math import isqrt

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.errors import require


@dataclass(frozen=True)
class StateReaderConfig:
    """Sizes of both heads."""

    width: int = 64
    """Channels of the convolutions."""
    points: int = 8
    """Points that each head looks for."""

    def __post_init__(self) -> None:
        require(min(self.width, self.points) > 0, "reader: width and points must be positive")


class PointHead(nn.Module):
    """Tokens of one square frame to a few numbers, by way of points in it."""

    def __init__(self, token_width: int, config: StateReaderConfig, outputs: int) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(token_width, config.width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(config.width, config.width, 3, padding=1),
            nn.GELU(),
        )
        self.score = nn.Conv2d(config.width, config.points, 1)
        self.describe = nn.Conv2d(config.width, config.width // 2, 1)
        self.read = nn.Sequential(
            nn.Linear(config.points * (2 + config.width // 2), 2 * config.width),
            nn.GELU(),
            nn.Linear(2 * config.width, outputs),
        )

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b k"]:
        side = isqrt(tokens.shape[1])
        seen = self.look(rearrange(tokens, "b (H W) d -> b d H W", H=side))
        share = rearrange(self.score(seen), "b g H W -> b g (H W)").softmax(dim=-1)
        # A point is the mean place, and the mean description, under its scores.
        places = einsum(share, coordinates(side, tokens.device), "b g n, n xy -> b g xy")
        described = einsum(
            share, rearrange(self.describe(seen), "b w H W -> b (H W) w"), "b g n, b n w -> b g w"
        )
        return self.read(rearrange(torch.cat([places, described], dim=-1), "b g w -> b (g w)"))


class StateReader(nn.Module):
    """Both heads, and the mean and the spread of what the first one reads."""

    def __init__(self, config: StateReaderConfig, token_width: int) -> None:
        super().__init__()
        self.config = config
        self.token_width = token_width
        self.place = PointHead(token_width, config, outputs=3)
        self.closing = PointHead(token_width, config, outputs=1)
        # Set by `standardise`, and saved with the weights.
        self.register_buffer("mean", torch.tensor([0.0, 0.0, 1.0]))
        self.register_buffer("std", torch.ones(3))

    @torch.no_grad()
    def standardise(self, seen: Float[Tensor, "n 3"]) -> None:
        """Let the head read numbers of mean 0 and deviation 1 for hands that the camera sees at `seen`."""
        rays = slopes_and_depth(seen)
        self.mean.copy_(rays.mean(dim=0))
        self.std.copy_(rays.std(dim=0).clamp_min(1e-3))

    def ray(self, picture: Float[Tensor, "b n d"]) -> Float[Tensor, "b 3"]:
        """Slopes and depth of the hand, in deviations from their means: what is trained."""
        return self.place(picture)

    def ray_of(self, seen: Float[Tensor, "b 3"]) -> Float[Tensor, "b 3"]:
        """What `ray` should be for a hand that the camera sees at `seen`, metres."""
        return (slopes_and_depth(seen) - self.mean) / self.std

    def hand(self, picture: Float[Tensor, "b n d"]) -> Float[Tensor, "b 3"]:
        """Where the camera sees the hand, metres, from the tokens of the whole picture."""
        return self.hand_of(self.ray(picture))

    def hand_of(self, ray: Float[Tensor, "b 3"]) -> Float[Tensor, "b 3"]:
        """The inverse of `ray_of`."""
        rays = ray * self.std + self.mean
        depth = rays[..., 2:]
        return torch.cat([rays[..., :2] * depth, depth], dim=-1)

    def gripper(self, hand: Float[Tensor, "b n d"]) -> Float[Tensor, " b"]:
        """Logit that the gripper closes or is closed, from the tokens of the square around the hand."""
        return self.closing(hand)[:, 0]


def slopes_and_depth(seen: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """A position in the camera's frame as two slopes, which a picture shows exactly, and a depth."""
    return torch.cat([seen[..., :2] / seen[..., 2:], seen[..., 2:]], dim=-1)


def coordinates(side: int, device: torch.device) -> Float[Tensor, "n 2"]:
    """Column and row of every token of a square frame, from -1 to 1."""
    places = torch.linspace(-1, 1, side, device=device)
    row, column = torch.meshgrid(places, places, indexing="ij")
    return rearrange([column, row], "xy H W -> (H W) xy")
