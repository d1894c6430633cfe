"""The transformer block that every network here is made of."""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from vjepa.errors import UserError, require
from vjepa.models.rope import Rotation, rotate

EPS = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention, with rotary positions where a rotation is given."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b n d"], by: Rotation | None = None) -> Float[Tensor, "b n d"]:
        q, k, v = rearrange(self.qkv(x), "b n (r g e) -> r b g n e", r=3, g=self.heads)
        if by is not None:
            q, k = rotate(q, by), rotate(k, by)
        x = scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype))
        return self.out(rearrange(x, "b g n e -> b n (g e)"))


class CrossAttention(nn.Module):
    """Queries read tokens. The released probes end here, without an output projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)

    def forward(
        self, query: Float[Tensor, "b q d"], tokens: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b q d"]:
        q = rearrange(self.q(query), "b q (g e) -> b g q e", g=self.heads)
        k, v = rearrange(self.kv(tokens), "b n (r g e) -> r b g n e", r=2, g=self.heads)
        return rearrange(scaled_dot_product_attention(q, k, v), "b g q e -> b q (g e)")


class MLP(nn.Sequential):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = MLP(width, mlp_width)

    def forward(self, x: Float[Tensor, "b n d"], by: Rotation | None = None) -> Float[Tensor, "b n d"]:
        x = x + self.attention(self.norm1(x), by)
        return x + self.mlp(self.norm2(x))


def plain_norm(tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """Layer norm without affine parameters, in float32."""
    return layer_norm(tokens.float(), tokens.shape[-1:])


def check_heads(name: str, width: int, heads: int) -> None:
    require(width > 0 and heads > 0, f"{name}.width={width} and {name}.heads={heads} must be positive")
    if width % heads:
        raise UserError(
            f"{name}.heads={heads} does not divide {name}.width={width}; choose a divisor of the width"
        )
    if width // heads % 2:
        raise UserError(
            f"{name}.width={width} over {name}.heads={heads} gives heads of odd width; rotary positions need even"
        )


def initialise(module: nn.Module, std: float = 0.02) -> None:
    """Truncated normal weights and zero biases; the last linear map of each residual branch shrinks with its depth."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=std)
            nn.init.zeros_(part.bias)
    for depth, block in enumerate((part for part in module.modules() if isinstance(part, Block)), start=1):
        with torch.no_grad():
            block.attention.out.weight.div_(math.sqrt(2 * depth))
            block.mlp[2].weight.div_(math.sqrt(2 * depth))
