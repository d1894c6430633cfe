"""Many probes on the same tokens, as one network whose parameters are stacked (V-JEPA 2, section C.1).

The papers train 20 heads that differ in learning rate and weight decay. A loop over them reads the tokens 20
times and projects each to keys and values 20 times. But the last block has a single query per head, so its
products may be regrouped:

    q . (W_k x_n + b_k) = (W_k' q) . x_n + (a number that is the same for all n, so the softmax drops it)
    sum_n a_n (W_v x_n + b_v) = W_v (sum_n a_n x_n) + b_v

Now the queries are projected instead of the tokens, and all probes of one block read the tokens in one matrix
product. The results are those of separate probes up to rounding. Blocks before the last have weights and
tokens of their own in every probe, and nothing to share, so probes of more blocks are computed in a loop.

    vjepa bench probe-grid       measures a training step beside a loop over heads

Axes: `p` probes, `g` attention heads.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import layer_norm
from torch.utils.checkpoint import checkpoint

from vjepa.errors import require
from vjepa.models.layers import EPS
from vjepa.models.probe import AttentiveProbe


class StackedProbes(nn.Module):
    """Copies of one probe. `stacked` holds their parameters, with one more axis in front.

    Args:
        probe: All copies start with its weights.
        size: Number of copies.
        activation_checkpointing: Hold the activations of one copy at a time, for a third more arithmetic.
            Those of 20 probes of 4 blocks on a batch of the papers' size fit no GPU.
    """

    def __init__(self, probe: nn.Module, size: int, activation_checkpointing: bool = False) -> None:
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        # `repeat` copies, so that every probe has memory of its own to train in.
        self.stacked = copy_with(probe, lambda value: value.repeat(size, *[1] * value.ndim))

    def __len__(self) -> int:
        return len(next(self.stacked.parameters()))

    def member(self, i: int) -> nn.Module:
        """A copy of probe `i`, on its own and on the CPU."""
        return copy_with(self.stacked, lambda value: value[i].cpu().clone())

    def one_by_one(self, tokens: Float[Tensor, "b n d"]) -> list:
        """What each probe returns, computed in turn."""
        # Parameters are taken apart once, so that their gradients are put together once.
        parameters = {name: value.unbind() for name, value in self.stacked.named_parameters()}
        outputs = []
        for i in range(len(self)):
            own = {name: values[i] for name, values in parameters.items()}
            if self.activation_checkpointing:
                # A reentrant checkpoint would lose the gradient: its tensor input, the tokens, needs none.
                outputs.append(checkpoint(functional_call, self.stacked, own, tokens, use_reentrant=False))
            else:
                outputs.append(functional_call(self.stacked, own, tokens))
        return outputs


class ProbeGrid(StackedProbes):
    """Attentive or linear probes as one network."""

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "p b classes"]:
        depth = self.stacked.config.depth
        # The regrouped products below need a single block, and keep the activations of all probes.
        if depth > 1 or self.activation_checkpointing:
            return torch.stack(self.one_by_one(tokens))
        if depth == 0:
            mean = tokens.mean(dim=1).expand(len(self), -1, -1)
            return self.each(lambda probe, mean: probe.head(mean), mean)

        # The affine part of the norm belongs to each probe; this part is common to all.
        normed = layer_norm(tokens, tokens.shape[-1:], eps=EPS)  # `plain_norm` has another epsilon
        attention = torch.einsum("pgd,bnd->pbgn", self.each(token_queries), normed).softmax(dim=-1)
        # Under autocast the softmax returns another type than the tokens have.
        read = torch.einsum("pbgn,bnd->pbgd", attention.to(normed), normed)
        return self.each(logits_of_read, read)

    def each(
        self, function: Callable[..., Tensor], *inputs: Float[Tensor, "p ..."]
    ) -> Float[Tensor, "p ..."]:
        """`function(probe, *inputs)` for every probe and its slice of the inputs, in one call."""
        call = ProbeFunction(self.stacked, function)
        parameters = dict(call.named_parameters())
        return torch.vmap(lambda own, *slices: functional_call(call, own, slices))(parameters, *inputs)


class ProbeFunction(nn.Module):
    """A function of a probe as a module: `functional_call` replaces only the parameters of modules."""

    def __init__(self, probe: AttentiveProbe, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.probe = probe
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self.probe, *inputs)


def token_queries(probe: AttentiveProbe) -> Float[Tensor, "g d"]:
    """For each attention head, the vector whose product with a normed token is its attention logit."""
    pool = probe.pool
    attention = pool.attention
    to_key = rearrange(attention.kv.weight, "(r g e) d -> r g e d", r=2, g=attention.heads)[0]
    # The division is that of scaled dot-product attention.
    query = rearrange(attention.q(pool.query), "1 (g e) -> g e", g=attention.heads) / to_key.shape[1] ** 0.5
    # The norm's bias, like the keys', adds the same number to all logits of a head.
    return torch.einsum("ge,ged->gd", query, to_key) * pool.norm1.weight


def logits_of_read(probe: AttentiveProbe, read: Float[Tensor, "b g d"]) -> Float[Tensor, "b classes"]:
    """A probe's logits from the normed tokens, as each attention head has averaged them."""
    pool = probe.pool
    attention = pool.attention
    read = read * pool.norm1.weight + pool.norm1.bias
    # Attention weights add up to 1, so values may be computed, and their bias added, after the average.
    to_value = rearrange(attention.kv.weight, "(r g e) d -> r g e d", r=2, g=attention.heads)[1]
    value = rearrange(torch.einsum("bgd,ged->bge", read, to_value), "b g e -> b (g e)")
    query = pool.query + value + attention.kv.bias.chunk(2)[1]
    return probe.head(query + pool.mlp(pool.norm2(query)))


def copy_with(network: nn.Module, change: Callable[[Tensor], Tensor]) -> nn.Module:
    """A copy of a network whose parameters are changed, perhaps in shape."""
    network = copy.deepcopy(network)
    for module in network.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(change(value.detach())))
    return network


def check_not_negative(rates: Sequence[float], decays: Sequence[float]) -> None:
    """Raise UserError for a grid of rates and decays that no optimiser takes."""
    require(
        min((*rates, *decays), default=0) >= 0,
        f"model.grid: lr={rates} and weight_decay={decays} hold a negative number; "
        "rates and decays are 0 or more",
    )
