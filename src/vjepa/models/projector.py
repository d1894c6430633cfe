"""Projector."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.errors import UserError, require
from vjepa.models.grid import Grid
from vjepa.models.layers import initialise
from vjepa.models.probe import AttentivePool, ProbeConfig


class VideoTokens(NamedTuple):
    """What the encoder saw of one clip or picture: tokens (n, d) in (T H W) order, and their grid."""

    tokens: Tensor
    grid: Grid


@dataclass(frozen=True)
class ProjectorConfig:
    """From the encoder's tokens to the language model's embeddings: standardised, pooled, and a perceptron of two layers."""

    window: tuple[int, int, int] = (1, 1, 1)
    """Tokens along time, height and width that become one. The paper: (1, 1, 1) scaled up, an attentive 4 or 8 before."""
    pooling: Literal["average", "attention", "concat"] = "average"
    """A window's mean, what a learned query reads in it, or all of its tokens side by side: nothing is lost, and the perceptron
    knows the places within the window, for a first layer that is as many times larger."""
    heads: int = 8
    """Attention heads of that query."""

    def __post_init__(self) -> None:
        require(
            min(self.window) > 0, f"projector.window={self.window} must be three positive numbers of tokens"
        )


class Projector(nn.Module):
    """
    Args:
        config: Pool and perceptron.
        width: Of the encoder's tokens.
        words: Width of the language model's embeddings.
        std: Of those embeddings. Projected tokens start at this size, as words that the language model knows would have.
    """

    def __init__(self, config: ProjectorConfig, width: int, words: int, std: float = 0.02) -> None:
        super().__init__()
        self.config, self.width = config, width
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        inputs = width * math.prod(config.window) if config.pooling == "concat" else width
        self.mlp = nn.Sequential(nn.Linear(inputs, words), nn.GELU(), nn.Linear(words, words))
        initialise(self.mlp, std=inputs**-0.5)
        nn.init.trunc_normal_(
            self.mlp[2].weight, std=std / math.sqrt(0.42 * words)
        )  # 0.42: the mean square of a GELU
        if config.pooling == "attention":
            self.pool = AttentivePool(ProbeConfig(depth=1, heads=config.heads), width)
            initialise(self.pool, std=width**-0.5)
            nn.init.normal_(self.pool.query)
            self.places = nn.Parameter(0.02 * torch.randn(math.prod(config.window), width))

    @torch.no_grad()
    def standardise(self, seen: Iterable[VideoTokens]) -> None:
        """Take over mean and spread of each channel over these clips, so that every channel is read at the same size.

        An encoder's channels differ in size, and a few large ones that tell nothing would drown the others."""
        count, total, squares = 0, 0.0, 0.0
        for clip in seen:
            tokens = clip.tokens.double()
            count, total, squares = (
                count + len(tokens),
                total + tokens.sum(dim=0),
                squares + tokens.square().sum(dim=0),
            )
        if count:
            self.mean.copy_(total / count)
            self.std.copy_((squares / count - (total / count) ** 2).clamp_min(1e-12).sqrt())

    def size(self, grid: Grid) -> int:
        """Tokens that a clip of this grid becomes. Raises UserError if the window does not divide the grid."""
        if any(tokens % window for tokens, window in zip(grid, self.config.window, strict=True)):
            raise UserError(
                f"projector.window={self.config.window} does not divide a clip of {grid} tokens (time, height, width); "
                "choose divisors, or another data.clip"
            )
        return math.prod(grid) // math.prod(self.config.window)

    def forward(self, seen: Sequence[VideoTokens]) -> Float[Tensor, "m e"]:
        """The tokens of all clips, one clip after the other."""
        return self.mlp(torch.cat([self.pooled(clip) for clip in seen]))

    def pooled(self, clip: VideoTokens) -> Float[Tensor, "m inputs"]:
        self.size(clip.grid)
        if clip.tokens.shape[-1] != self.width:
            raise UserError(
                f"the projector reads tokens of width {self.width}, this encoder's have {clip.tokens.shape[-1]}"
            )
        tokens = (clip.tokens - self.mean) / self.std
        if self.config.window == (1, 1, 1) and self.config.pooling == "average":
            return tokens
        (T, H, W), (t, h, w) = clip.grid, self.config.window
        sizes = {"T": T // t, "H": H // h, "W": W // w, "t": t, "h": h, "w": w}
        windows = rearrange(tokens, "(T t H h W w) d -> (T H W) (t h w) d", **sizes)
        if self.config.pooling == "concat":
            return windows.flatten(1)
        return windows.mean(dim=1) if self.config.pooling == "average" else self.pool(windows + self.places)
