"""The attentive probe that reads a frozen encoder (V-JEPA 2, section C.1).

Only the probe trains; its tokens come from any encoder of its width.

    probe = AttentiveProbe(ProbeConfig(depth=1, heads=6), width=384, classes=8)
    logits = probe(tokens)          # tokens b n d -> b classes
"""

from dataclasses import dataclass

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.errors import require
from vjepa.models.layers import EPS, MLP, Block, CrossAttention, check_heads, initialise


@dataclass(frozen=True)
class ProbeConfig:
    """Sizes of a probe; its width is the encoder's."""

    depth: int = 4
    """Blocks. All but the last are self-attention; the last is cross-attention with one learned query. 0: a
    linear map of the averaged tokens."""
    heads: int = 16
    """Attention heads per block."""

    def __post_init__(self) -> None:
        require(self.depth >= 0, f"probe.depth={self.depth}: use 1 or more blocks, or 0 for a linear probe")


class AttentivePool(nn.Module):
    """Maps tokens to one vector per clip: a learned query reads them, then passes a residual perceptron."""

    def __init__(self, config: ProbeConfig, width: int) -> None:
        super().__init__()
        check_heads("probe", width, config.heads)
        # Four times the width for every encoder, also for ViT-g, whose own ratio is 48/11.
        self.blocks = nn.ModuleList(Block(width, config.heads, 4 * width) for _ in range(config.depth - 1))
        self.query = nn.Parameter(torch.zeros(1, width))  # drawn by the network that holds the pool
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attention = CrossAttention(width, config.heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = MLP(width, 4 * width)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        # No rotation, as released: tokens know their places from the encoder.
        for block in self.blocks:
            tokens = block(tokens)
        # With one query, attention is a weighted average of the tokens.
        query = repeat(self.query, "q d -> b q d", b=tokens.shape[0])
        query = query + self.attention(query, self.norm1(tokens))
        return (query + self.mlp(self.norm2(query)))[:, 0]


class AveragePool(nn.Module):
    """Maps tokens to their mean."""

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        return tokens.mean(dim=1)


class AttentiveProbe(nn.Module):
    """A pool and a linear classifier. For regression, each output is a number instead of a logit."""

    def __init__(self, config: ProbeConfig, width: int, classes: int) -> None:
        super().__init__()
        self.config = config
        self.pool = AttentivePool(config, width) if config.depth else AveragePool()
        self.head = nn.Linear(width, classes)

        # Tokens come layer-normed, so a query of their size and weights of size 1/sqrt(width) start with
        # attention that tells tokens apart. The released start (0.02 for all) attends evenly: at width 128
        # the probe stayed at chance for hundreds of steps.
        initialise(self, std=width**-0.5)
        if config.depth:
            nn.init.normal_(self.pool.query)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b classes"]:
        return self.head(self.pool(tokens))
