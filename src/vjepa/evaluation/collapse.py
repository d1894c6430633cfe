"""Collapse telemetry: numbers that fall when representations no longer tell tokens apart.

The loss of a joint-embedding model can improve while its features collapse, so these are logged from the
first step.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def feature_std(tokens: Float[Tensor, "b n d"]) -> Float[Tensor, ""]:
    """Standard deviation over all tokens of the batch, averaged over feature dimensions."""
    return rearrange(tokens, "b n d -> (b n) d").std(dim=0).mean()


def effective_rank(tokens: Float[Tensor, "b n d"], limit: int = 4096) -> Float[Tensor, ""]:
    """Number of dimensions that the centred tokens fill: from 1, if all lie on a line, to d.

    This is RankMe (arXiv 2210.02885): exp of the entropy of the normalised singular values, computed on at
    most `limit` tokens.
    """
    flat = rearrange(tokens.float(), "b n d -> (b n) d")
    if len(flat) > limit:
        # A regular stride could meet one column of the grid only. The same places every time keep the curve
        # smooth.
        chosen = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))[:limit]
        flat = flat[chosen.to(flat.device)]
    singular = torch.linalg.svdvals(flat - flat.mean(dim=0))
    # The clamp gives a complete collapse, where all singular values are 0, a rank of 1.
    share = singular / singular.sum().clamp_min(torch.finfo(singular.dtype).tiny)
    return torch.special.entr(share).sum().exp()


def token_cosine(tokens: Float[Tensor, "b n d"]) -> Float[Tensor, ""]:
    """Mean cosine between two different tokens of a clip; 1 when all tokens point the same way."""
    unit = normalize(tokens.float(), dim=-1)
    n = tokens.shape[1]
    # |sum of unit vectors|^2 is the sum of all cosines, of which n are those of a token with itself.
    cosines = unit.sum(dim=1).square().sum(dim=-1) - n
    return (cosines / (n * (n - 1))).mean()


def mean_baseline(target: Float[Tensor, "b m d"]) -> Float[Tensor, ""]:
    """L1 loss of predicting the batch's mean target everywhere: a model near it knows no places or clips."""
    return (target - target.mean(dim=(0, 1))).abs().mean()
