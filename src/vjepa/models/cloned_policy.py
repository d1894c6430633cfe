"""A policy cloned from recorded actions: what to do now, to get to a goal. No world model, no planning.

The baseline of section 4 of V-JEPA 2 is Octo, a policy fine-tuned on the same episodes with hindsight goals.
This is its stand-in at our size, on the same frozen tokens as the action-conditioned predictor.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from vjepa.errors import require


@dataclass(frozen=True)
class ClonedPolicyConfig:
    """Sizes of the policy. `tokens` and `token_width` must be those of the encoder's tokens of one frame."""

    tokens: int = 64
    """Tokens of a frame."""
    token_width: int = 64
    """Width of the encoder's tokens."""
    narrow: int = 16
    """Width to which the tokens of both frames at one place are reduced together."""
    width: int = 256
    """Hidden width."""
    state_dim: int = 7
    """Numbers of a state."""
    action_dim: int = 7
    """Numbers of an action."""

    def __post_init__(self) -> None:
        sizes = (self.tokens, self.token_width, self.narrow, self.width, self.state_dim, self.action_dim)
        require(min(sizes) > 0, "policy: every size must be positive")


class ClonedPolicy(nn.Module):
    """Maps the tokens of the present frame and of the goal, and the state, to the next action."""

    def __init__(self, config: ClonedPolicyConfig) -> None:
        super().__init__()
        self.config = config
        # `read` has weights for every place, so places are narrowed first, all by one map.
        self.squeeze = nn.Linear(2 * config.token_width, config.narrow)
        # Every place has weights of its own here, so no position embedding is needed.
        self.read = nn.Sequential(
            nn.Linear(config.tokens * config.narrow + config.state_dim, config.width),
            nn.GELU(),
            nn.Linear(config.width, config.width),
            nn.GELU(),
            nn.Linear(config.width, config.action_dim),
        )

    def forward(
        self, now: Float[Tensor, "b n d"], goal: Float[Tensor, "b n d"], state: Float[Tensor, "b s"]
    ) -> Float[Tensor, "b a"]:
        # Both frames of one place side by side, so that what differs between them shows.
        places = gelu(self.squeeze(torch.cat([now, goal], dim=-1)))
        return self.read(torch.cat([rearrange(places, "b n w -> b (n w)"), state], dim=-1))
