"""The distance of predicted tokens from a goal's tokens: the energy of V-JEPA 2 (section 3.2, equation 5)."""

from collections.abc import Callable
from math import isqrt

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import UserError

Energy = Callable[[Float[Tensor, "s T a"]], Float[Tensor, " s"]]
"""What a planner minimises: it maps s sequences of T actions to their energies."""


def distance(
    tokens: Float[Tensor, "*#s n d"], goal: Float[Tensor, "*#s n d"], scales: tuple[int, ...] = (1,)
) -> Float[Tensor, "*s"]:
    """Mean absolute difference over tokens and channels, for every sample.

    scales: Sides of the squares of tokens that are averaged before they are compared; the distances of all
    scales are added. (1,) is equation 5.

    Raises UserError if a square does not divide the frame.
    """
    # Single tokens differ equally much however far apart two things are that do not overlap. Averages over
    # squares differ less when the two come close.
    distances = []
    for side in scales:
        difference = average_squares(tokens, side) - average_squares(goal, side)
        # In single precision also where tokens are not: half of it cannot tell 800 samples apart.
        distances.append(difference.abs().mean(dim=(-2, -1), dtype=torch.float32))
    return torch.stack(distances).sum(dim=0)


def average_squares(tokens: Float[Tensor, "*s n d"], side: int) -> Float[Tensor, "*s m d"]:
    """The averages over squares of `side` x `side` tokens of one square frame."""
    if side == 1:
        return tokens
    H, rest = divmod(isqrt(tokens.shape[-2]), side)
    if rest or not H:
        raise UserError(
            f"world_model.scales: squares of {side} tokens do not divide a frame of {tokens.shape[-2]} tokens"
        )
    return reduce(tokens, "... (H p W q) d -> ... (H W) d", "mean", H=H, p=side, q=side)
