"""The probe that names a coming action, and the tokens of a moment that was not seen (V-JEPA 2, sections 6 and D).

A finished stage's export `done`, trained on `source`, names what comes `steps` time steps after a clip (b c t h w, normalised):

    encoder, predictor, told = load_encoder(source), load_predictor(source), read_schema(done, "anticipation")
    both = look_ahead(predictor, encoder(clip), encoder.grid(clip), steps, told["positions"])
    verb, noun, action = load_anticipation(done)(torch.cat(both, dim=1))          # logits of told["verbs"], and so on
"""

from typing import NamedTuple

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from vjepa.models.grid import Grid
from vjepa.models.layers import EPS, MLP, Block, CrossAttention, check_heads, initialise
from vjepa.models.predictor import Predictor
from vjepa.models.probe import ProbeConfig
from vjepa.models.probe_grid import Stacked
from vjepa.models.rope import rotation


class ActionLogits(NamedTuple):
    """Of one probe, or of several: then with an axis p in front."""

    verb: Float[Tensor, "*p b verbs"]
    noun: Float[Tensor, "*p b nouns"]
    action: Float[Tensor, "*p b actions"]


class AnticipationProbe(nn.Module):
    """The attentive probe with three queries, each with a classifier of its own; blocks are shared."""

    def __init__(self, config: ProbeConfig, width: int, sizes: tuple[int, int, int]) -> None:
        super().__init__()
        check_heads("probe", width, config.heads)
        self.config = config
        self.blocks = nn.ModuleList(Block(width, config.heads, 4 * width) for _ in range(config.depth - 1))
        self.queries = nn.Parameter(torch.zeros(3, width))
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.attention = CrossAttention(width, config.heads)
        self.mlp = MLP(width, 4 * width)
        self.heads = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        initialise(self, std=width**-0.5)  # as the attentive probe, and for its reasons
        nn.init.normal_(self.queries)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> ActionLogits:
        for block in self.blocks:
            tokens = block(tokens)
        queries = repeat(self.queries, "q d -> b q d", b=len(tokens))
        queries = queries + self.attention(queries, self.norm1(tokens))
        queries = queries + self.mlp(self.norm2(queries))
        return ActionLogits(*(head(queries[:, i]) for i, head in enumerate(self.heads)))


class AnticipationGrid(Stacked):
    """Many such probes, one after the other: their blocks have nothing to share.

    activation_checkpointing: hold one probe's activations at a time, for a third more arithmetic."""

    def __init__(self, probe: AnticipationProbe, size: int, activation_checkpointing: bool = False) -> None:
        super().__init__(probe, size)
        self.activation_checkpointing = activation_checkpointing

    def forward(self, tokens: Float[Tensor, "b n d"]) -> ActionLogits:
        each = self.one_by_one(tokens, self.activation_checkpointing)
        return ActionLogits(*(torch.stack(logits) for logits in zip(*each, strict=True)))


def add_position_embedding(
    tokens: Float[Tensor, "b n d"], grid: Grid, first: Int[Tensor, " b"]
) -> Float[Tensor, "b n d"]:
    """Tokens in (T H W) order, with the sines and cosines of their time, row and column added. Time is counted from the moment
    that is asked for, `first` being that of the first token (negative: before it), so that a probe knows how far ahead it is.
    """
    _, H, W = grid
    index = torch.arange(tokens.shape[1], device=tokens.device) + first.to(tokens.device)[:, None] * H * W
    by = rotation(index, grid, tokens.shape[-1], "interleaved")
    return tokens + torch.cat([by.cos[:, 0, :, ::2], by.sin[:, 0, :, ::2]], dim=-1).to(tokens)


def predict_ahead(
    predictor: Predictor, tokens: Float[Tensor, "b n d"], grid: Grid, ahead: Int[Tensor, " b"]
) -> Float[Tensor, "b m d"]:
    """The predictor's tokens of one time step: `ahead` steps are skipped after the clip's last, for each clip its own."""
    T, H, W = grid
    place = torch.arange(H * W, device=tokens.device)
    drop = (T + ahead.to(tokens.device))[:, None] * H * W + place
    keep = repeat(torch.arange(T * H * W, device=tokens.device), "n -> b n", b=len(tokens))
    return predictor(tokens, keep, drop, (T + int(ahead.max()) + 1, H, W))


def look_ahead(
    predictor: Predictor, seen: Float[Tensor, "b n d"], grid: Grid, steps: Int[Tensor, " b"], positions: bool
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b m d"]]:
    """A clip's tokens and those of the moment `steps` time steps after its last, with their places if `positions`."""
    ahead = predict_ahead(predictor, seen, grid, steps)
    if not positions:
        return seen, ahead
    return add_position_embedding(seen, grid, -grid[0] - steps), add_position_embedding(
        ahead, grid, torch.zeros_like(steps)
    )
