"""The transformer block of all networks here, its initial weights, and the check of its widths."""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from vjepa.errors import UserError, require
from vjepa.models.rope import Rotation, rotate

EPS = 1e-6
"""Epsilon of every layer norm with weights, as released; `plain_norm` keeps torch's 1e-5."""


class Attention(nn.Module):
    """Multi-head self-attention, with rotary positions where a rotation is given."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b n d"], rotation: Rotation | None = None) -> Float[Tensor, "b n d"]:
        # `r` counts queries, keys and values, `g` the heads, as released weights are laid out.
        q, k, v = rearrange(self.qkv(x), "b n (r g e) -> r b g n e", r=3, g=self.heads)
        # Values are not turned: a position decides who attends to whom, not what is read there.
        if rotation is not None:
            q = rotate(q, rotation)
            k = rotate(k, rotation)
        # Under autocast the rotation returns float32 while values are bfloat16; attention wants one dtype.
        attended = scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype))
        return self.out(rearrange(attended, "b g n e -> b n (g e)"))


class CrossAttention(nn.Module):
    """Queries read tokens. There is no output projection, as in the released probes."""

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
    """Perceptron of two layers; exports know them as `mlp.0` and `mlp.2`."""

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

    def forward(self, x: Float[Tensor, "b n d"], rotation: Rotation | None = None) -> Float[Tensor, "b n d"]:
        x = x + self.attention(self.norm1(x), rotation)
        return x + self.mlp(self.norm2(x))


class Modality(nn.Module):
    """A learned vector for tokens of images, and one for those of videos (V-JEPA 2.1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # As released. Nearly zero, so that at first it tells nothing apart.
        self.image = nn.Parameter(1e-6 * torch.randn(width))
        self.video = nn.Parameter(1e-6 * torch.randn(width))

    def forward(self, x: Float[Tensor, "b n d"], is_image: bool) -> Float[Tensor, "b n d"]:
        return x + (self.image if is_image else self.video).to(x.dtype)


def plain_norm(tokens: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """Layer norm without affine parameters, in float32 whatever the precision of the tokens."""
    return layer_norm(tokens.float(), tokens.shape[-1:])


def check_heads(name: str, width: int, heads: int) -> None:
    """Raise UserError unless `heads` heads of even width make up `width`; `name` is the recipe's section."""
    require(width > 0 and heads > 0, f"{name}.width={width} and {name}.heads={heads} must be positive")
    if width % heads:
        raise UserError(
            f"{name}.heads={heads} does not divide {name}.width={width}; choose a divisor of the width"
        )
    if width // heads % 2:
        raise UserError(
            f"{name}.width={width} over {name}.heads={heads} gives heads of odd width; "
            "rotary positions turn pairs of dimensions, so choose an even width per head"
        )


@torch.no_grad()
def initialise(module: nn.Module, std: float = 0.02) -> None:
    """Truncated normal weights of deviation `std` and zero biases for every linear map in `module`.

    The last linear map of each residual branch is divided by the square root of twice its block's number, so
    that the residual stream grows little with depth.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=std)
            nn.init.zeros_(part.bias)

    # As released. Each block adds two branches to the stream, hence twice its number.
    blocks = [part for part in module.modules() if isinstance(part, Block)]
    for number, block in enumerate(blocks, start=1):
        block.attention.out.weight.div_(math.sqrt(2 * number))
        # mlp[2] is the second linear map; mlp[1] is the GELU.
        block.mlp[2].weight.div_(math.sqrt(2 * number))
