"""Attention over time steps that never sees the future, and the cache of past steps that this makes possible.

Because no step sees a later one, the keys and values of past steps never change. They are kept, so a rollout
of T steps costs T passes over one step each.
"""

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from vjepa.models.layers import Block
from vjepa.models.rope import Rotation, rotate


class KeysValues(NamedTuple):
    """What one block keeps of all past tokens. Keys are already turned by their positions."""

    keys: Float[Tensor, "b g k e"]
    values: Float[Tensor, "b g k e"]


Cache = tuple[KeysValues, ...]
"""One entry per block; empty before the first step."""


def attend_with_past(
    block: Block,
    x: Float[Tensor, "b n d"],
    rotation: Rotation,
    mask: Bool[Tensor, "n k"] | None,
    past: KeysValues | None,
) -> tuple[Float[Tensor, "b n d"], KeysValues]:
    """One block's pass over new tokens that also see `past`; its output, and the keys and values of both.

    mask: Whether each new token sees each token of the past and of the new ones; None if all see all.
    """
    # The two lines of Block.forward, written out, because Block keeps no keys and values.
    attention = block.attention
    q, k, v = rearrange(attention.qkv(block.norm1(x)), "b n (r g e) -> r b g n e", r=3, g=attention.heads)
    # Rotations are float32; the cache stays in the precision of autocast.
    q = rotate(q, rotation).to(v.dtype)
    k = rotate(k, rotation).to(v.dtype)
    if past is not None:
        k = torch.cat([past.keys, k], dim=2)
        v = torch.cat([past.values, v], dim=2)

    attended = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    x = x + attention.out(rearrange(attended, "b g n e -> b n (g e)"))
    return x + block.mlp(block.norm2(x)), KeysValues(k, v)


def block_causal_mask(steps: int, past: int, tokens: int, device: torch.device) -> Bool[Tensor, "q k"]:
    """Whether each token of `steps` new steps sees each token of the `past + steps` steps up to them.

    tokens: Number of tokens of one step. A token sees its whole own step and all earlier ones.
    """
    # Compared by steps, not by tokens: tokens of one step see each other in both directions.
    step = repeat(torch.arange(past + steps, device=device), "T -> (T k)", k=tokens)
    return step[past * tokens :, None] >= step


def step_index(steps: int, past: int, side: int, conditions: int, device: torch.device) -> Int[Tensor, "1 n"]:
    """Grid indices of the tokens of `steps` new steps after `past`: `conditions`, then a square frame.

    Conditions lie at row 0 and column 0 of the frame, where only time turns them, as in the released code.
    """
    # Negative places are those of the conditions; they move to the frame's first.
    place = torch.arange(-conditions, side**2, device=device).clamp_min(0)
    time = torch.arange(past, past + steps, device=device)
    return rearrange(time[:, None] * side**2 + place, "T k -> 1 (T k)")


def cached_tokens(cache: Cache) -> int:
    """How many tokens the cache holds."""
    return cache[0].keys.shape[2] if cache else 0


def first_tokens(cache: Cache, count: int) -> Cache:
    """The cache as it was after its first `count` tokens, which must be whole steps."""
    return tuple(KeysValues(kept.keys[:, :, :count], kept.values[:, :, :count]) for kept in cache)
