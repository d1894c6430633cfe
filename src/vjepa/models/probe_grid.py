"""Many probes of one shape on the same tokens, as one network whose parameters are stacked (V-JEPA 2, section C.1).

The papers train 20 heads that differ in learning rate and weight decay. A loop over them reads the tokens 20 times and
projects each to keys and values 20 times. But the last block has a single query per head, and products may be regrouped:

    q . (W_k x_n + b_k) = (W_k' q) . x_n + (the same for all n, so the softmax drops it)
    sum_n a_n (W_v x_n + b_v) = W_v (sum_n a_n x_n) + b_v

So the queries are projected instead of the tokens, and with one block all heads read the same normed tokens in one matrix
product. The results are those of separate probes up to rounding. Blocks before the last have weights and tokens of their own in
every probe, and nothing to share: twenty probes are twenty times the arithmetic, which a loop already does at half of a
core's peak or more (50 of 95 GFLOP/s at width 64, 73 at width 384).

What such blocks compute is kept for the gradient, of every probe at once: 20 probes of 4 blocks on a batch of the papers' size
fit no GPU. With `activation_checkpointing` the probes are computed one after the other, and each once more when its gradient is due, so that
no more than one of them is held at a time. They all read the same tokens, which are never copied.

    python -m vjepa bench-probe-grid       measures a training step beside a loop over heads

Axes: `p` probes, `g` attention heads.
"""

import copy
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from vjepa.errors import require
from vjepa.models.layers import EPS, Block
from vjepa.models.probe import AttentivePool, AttentiveProbe


class Stacked(nn.Module):
    """`size` copies of a network. `stacked` holds its parameters with one more axis in front, under the same names."""

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.stacked = copy.deepcopy(network)
        self.template = [
            copy.deepcopy(network).to("meta")
        ]  # in a list, so that it is no part of this network
        for module in self.stacked.modules():
            for name, value in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(value.detach().repeat(size, *[1] * value.ndim)))

    def __len__(self) -> int:
        return len(next(self.stacked.parameters()))

    def member(self, i: int) -> nn.Module:
        """A copy of network `i`, on its own."""
        network = copy.deepcopy(self.template[0]).to_empty(device="cpu")
        network.load_state_dict({name: value[i] for name, value in self.stacked.state_dict().items()})
        return network

    def one_by_one(self, tokens: Float[Tensor, "b n d"], activation_checkpointing: bool) -> list:
        """What each network answers, computed in turn; with `activation_checkpointing`, nothing is kept for the gradient but the tokens.
        Parameters are taken apart once, so that their gradients are put together once."""
        apart, network = (
            {name: value.unbind() for name, value in self.stacked.named_parameters()},
            self.template[0],
        )
        each = [{name: values[i] for name, values in apart.items()} for i in range(len(self))]
        if activation_checkpointing:
            return [checkpoint(functional_call, network, own, tokens, use_reentrant=False) for own in each]
        return [functional_call(network, own, tokens) for own in each]


class ProbeGrid(Stacked):
    """Attentive probes as one network.

    activation_checkpointing: hold one probe's activations at a time, for a third more arithmetic."""

    def __init__(self, probe: AttentiveProbe, size: int, activation_checkpointing: bool = False) -> None:
        super().__init__(probe, size)
        self.activation_checkpointing = activation_checkpointing

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "p b classes"]:
        if self.activation_checkpointing:
            return torch.stack(self.one_by_one(tokens, activation_checkpointing=True))
        probe, config = self.stacked, self.stacked.config
        if not config.depth:
            return linear(tokens.mean(dim=1).expand(len(self), -1, -1), probe.head)
        for block in probe.pool.blocks:
            tokens = self_attention(
                tokens if tokens.ndim == 4 else tokens.expand(len(self), -1, -1, -1), block, config.heads
            )
        return linear(pooled(tokens, probe.pool, config.heads), probe.head)


def pooled(tokens: Float[Tensor, "*p b n d"], pool: AttentivePool, heads: int) -> Float[Tensor, "p b d"]:
    """The last block for all probes: on tokens of their own (four axes), or on the same tokens (three)."""
    axes = "pbnd" if tokens.ndim == 4 else "bnd"
    unit, scale, shift = layer_norm(tokens, tokens.shape[-1:], eps=EPS), pool.norm1.weight, pool.norm1.bias
    to_key, to_value = rearrange(pool.attention.kv.weight, "p (r g e) d -> r p g e d", r=2, g=heads)
    query = (
        rearrange(linear(pool.query, pool.attention.q), "p 1 (g e) -> p g e", g=heads)
        / to_key.shape[2] ** 0.5
    )
    asked = torch.einsum("pge,pged->pgd", query, to_key) * scale[:, None]
    attention = torch.einsum(f"pgd,{axes}->pbgn", asked, unit).softmax(dim=-1)
    seen = (
        torch.einsum(f"pbgn,{axes}->pbgd", attention.to(unit), unit) * scale[:, None, None]
        + shift[:, None, None]
    )
    value = rearrange(torch.einsum("pbgd,pged->pbge", seen, to_value), "p b g e -> p b (g e)")
    x = pool.query + value + pool.attention.kv.bias.chunk(2, dim=-1)[1][:, None]
    return x + perceptron(norm(x, pool.norm2), pool.mlp)


def self_attention(x: Float[Tensor, "p b n d"], block: Block, heads: int) -> Float[Tensor, "p b n d"]:
    """A transformer block without positions, of every probe on its own tokens."""
    q, k, v = rearrange(
        linear(norm(x, block.norm1), block.attention.qkv), "p b n (r g e) -> r (p b) g n e", r=3, g=heads
    )
    read = rearrange(scaled_dot_product_attention(q, k, v), "(p b) g n e -> p b n (g e)", p=len(x))
    x = x + linear(read, block.attention.out)
    return x + perceptron(norm(x, block.norm2), block.mlp)


def linear(x: Float[Tensor, "p *rest d"], layer: nn.Linear) -> Float[Tensor, "p *rest o"]:
    rows = torch.baddbmm(layer.bias[:, None], x.flatten(1, -2), layer.weight.mT)
    return rows.unflatten(1, x.shape[1:-1])


def norm(x: Float[Tensor, "p *rest d"], layer: nn.LayerNorm) -> Float[Tensor, "p *rest d"]:
    shape = (len(layer.weight), *[1] * (x.ndim - 2), x.shape[-1])
    return layer_norm(x, x.shape[-1:], eps=EPS) * layer.weight.view(shape) + layer.bias.view(shape)


def perceptron(x: Float[Tensor, "p *rest d"], mlp: nn.Sequential) -> Float[Tensor, "p *rest d"]:
    return linear(gelu(linear(x, mlp[0])), mlp[2])


def check_not_negative(rates: Sequence[float], decays: Sequence[float]) -> None:
    """Raise UserError for a grid of rates and decays that no optimiser takes."""
    require(min((*rates, *decays), default=0) >= 0, f"model.grid: lr={rates} and weight_decay={decays} hold a negative "
                                                          "number; rates and decays are 0 or more")  # fmt: skip
