"""The probe that names a coming action, and the tokens of a moment that was not seen (sections 6 and D).

A finished stage's export `done`, whose encoder and predictor are in `source`, names the action that comes
`steps` time steps after a clip (b c t h w, normalised). Its logits are those of schema["verbs"] and so on:

    encoder = load_encoder(source)
    predictor = load_predictor(source)
    schema = read_schema(done, "anticipation")
    seen, ahead = look_ahead(predictor, encoder(clip), encoder.grid(clip), steps, schema["positions"])
    verb, noun, action = load_anticipation(done)(torch.cat([seen, ahead], dim=1))
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
from vjepa.models.probe_grid import StackedProbes
from vjepa.models.rope import rotation_of


class ActionLogits(NamedTuple):
    """Logits of one probe, or of a grid of probes: then with an axis p in front."""

    verb: Float[Tensor, "*p b verbs"]
    noun: Float[Tensor, "*p b nouns"]
    action: Float[Tensor, "*p b actions"]


class AnticipationProbe(nn.Module):
    """An attentive probe with three queries, for verb, noun and action, each with a classifier of its own.

    Args:
        config: Number of blocks and attention heads, as for the attentive probe.
        width: Width of the tokens.
        sizes: Numbers of verbs, nouns and actions.
    """

    def __init__(self, config: ProbeConfig, width: int, sizes: tuple[int, int, int]) -> None:
        super().__init__()
        check_heads("probe", width, config.heads)
        self.config = config
        # The last of `depth` blocks is the cross-attention.
        self.blocks = nn.ModuleList(Block(width, config.heads, 4 * width) for _ in range(config.depth - 1))
        self.queries = nn.Parameter(torch.zeros(3, width))  # of verb, noun and action
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.attention = CrossAttention(width, config.heads)
        self.mlp = MLP(width, 4 * width)
        self.heads = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        # As in AttentiveProbe, which gives the reason.
        initialise(self, std=width**-0.5)
        nn.init.normal_(self.queries)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> ActionLogits:
        # No rotation: tokens know their places from the encoder, as in the released probes.
        for block in self.blocks:
            tokens = block(tokens)
        queries = repeat(self.queries, "q d -> b q d", b=len(tokens))
        queries = queries + self.attention(queries, self.norm1(tokens))
        queries = queries + self.mlp(self.norm2(queries))
        return ActionLogits(*(head(queries[:, i]) for i, head in enumerate(self.heads)))


class AnticipationGrid(StackedProbes):
    """Many anticipation probes, computed one after the other."""

    def forward(self, tokens: Float[Tensor, "b n d"]) -> ActionLogits:
        # From one (verb, noun, action) for each head to one stack of heads for each kind.
        kinds = zip(*self.one_by_one(tokens), strict=True)
        return ActionLogits(*(torch.stack(logits) for logits in kinds))


def add_position_embedding(
    tokens: Float[Tensor, "b n d"], grid: Grid, first: Int[Tensor, " b"]
) -> Float[Tensor, "b n d"]:
    """Tokens in (T H W) order, with the sines and cosines of their time, row and column added.

    first: Time step of each clip's first token, counted from the moment to anticipate; negative before it.
        The added times tell a probe how far ahead that moment is.
    """
    _, H, W = grid
    # Negative indices of whole time steps work: division rounds down, and the remainder is positive.
    index = torch.arange(tokens.shape[1], device=tokens.device) + first.to(tokens.device)[:, None] * H * W
    rotation = rotation_of(index, grid, tokens.shape[-1], "interleaved")
    # Interleaved tables hold every angle twice, side by side. One of each is enough.
    cosines = rotation.cos[:, 0, :, ::2]
    sines = rotation.sin[:, 0, :, ::2]
    return tokens + torch.cat([cosines, sines], dim=-1).to(tokens)


def predict_ahead(
    predictor: Predictor, tokens: Float[Tensor, "b n d_in"], grid: Grid, steps: Int[Tensor, " b"]
) -> Float[Tensor, "b m d"]:
    """The predictor's tokens of one time step that comes after the clip's end, of the last level.

    tokens: What the predictor reads (`Predictor.context`).
    steps: How many time steps lie between the clip's last one and the predicted one, for each clip.
    """
    T, H, W = grid
    device = tokens.device
    frame = torch.arange(H * W, device=device)
    # All places of one time step, which is predicted at once, as in the released code.
    drop = (T + steps.to(device))[:, None] * H * W + frame
    keep = repeat(torch.arange(T * H * W, device=device), "n -> b n", b=len(tokens))
    # Rotary positions go on beyond the clip. The grid has to reach the farthest step of the batch.
    longer_grid = (T + int(steps.max()) + 1, H, W)
    return predictor.last_level(predictor(tokens, keep, drop, longer_grid))


def look_ahead(
    predictor: Predictor,
    seen: Float[Tensor, "b n d_in"],
    grid: Grid,
    steps: Int[Tensor, " b"],
    positions: bool,
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b m d"]]:
    """A clip's tokens, and the predicted ones of the moment `steps` time steps after its end.

    seen: What the predictor reads of the clip. Both results are of the last level.

    positions: Add position embeddings to both, with times counted from that moment.
    """
    ahead = predict_ahead(predictor, seen, grid, steps)
    seen = predictor.last_level(seen)
    if positions:
        # The clip begins T + steps time steps before the moment.
        seen = add_position_embedding(seen, grid, -grid[0] - steps)
        ahead = add_position_embedding(ahead, grid, torch.zeros_like(steps))
    return seen, ahead
