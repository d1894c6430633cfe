"""Collapse telemetry: numbers that fall when representations stop telling tokens apart.

The loss of a joint-embedding model can improve while its features die, so these are logged from the first step.
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
    """exp of the entropy of the normalised singular values of the centred tokens (RankMe, arXiv 2210.02885): between 1,
    all tokens on a line, and d. At most `limit` tokens, always the same random places, are looked at."""
    flat = rearrange(tokens.float(), "b n d -> (b n) d")
    if len(flat) > limit:
        chosen = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))[:limit]
        flat = flat[chosen.to(flat.device)]
    singular = torch.linalg.svdvals(flat - flat.mean(dim=0))
    share = singular / singular.sum().clamp_min(torch.finfo(singular.dtype).tiny)
    return torch.special.entr(share).sum().exp()


def token_cosine(tokens: Float[Tensor, "b n d"]) -> Float[Tensor, ""]:
    """Mean cosine between two different tokens of a clip; 1 when every place looks the same."""
    unit = normalize(tokens.float(), dim=-1)
    n = tokens.shape[1]
    return ((unit.sum(dim=1).square().sum(dim=-1) - n) / (n * (n - 1))).mean()


def mean_baseline(target: Float[Tensor, "b m d"]) -> Float[Tensor, ""]:
    """L1 of predicting the batch's mean target everywhere: a loss near it has learned nothing about places or clips."""
    return (target - target.mean(dim=(0, 1))).abs().mean()
