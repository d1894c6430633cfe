"""The projector: an encoder's tokens of a clip, pooled and mapped to the embeddings of a language model.

projector = Projector(ProjectorConfig(window=(1, 2, 2)), width=1024, language_width=4096)
projector.standardise(some_clips)
embeddings = projector([VideoTokens(tokens, grid)])     # tokens n d -> embeddings m e
"""

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

GELU_MEAN_SQUARE = 0.42
"""Mean square of a GELU's output for a standard normal input."""


class VideoTokens(NamedTuple):
    """The encoder's tokens of one clip or image (n, d) in (T H W) order, and their grid."""

    tokens: Tensor
    grid: Grid


@dataclass(frozen=True)
class ProjectorConfig:
    """Tokens are standardised, pooled in windows, and pass a perceptron of two layers."""

    window: tuple[int, int, int] = (1, 1, 1)
    """Tokens along time, height and width that become one. The paper scales up with (1, 1, 1)."""
    pooling: Literal["average", "attention", "concat"] = "average"
    """average: a window's mean. attention: what a learned query reads in it. concat: all of its tokens side
    by side, so nothing is lost, not even the place within the window, but the first layer is as many times
    larger."""
    heads: int = 8
    """Attention heads of the query of `attention`."""

    def __post_init__(self) -> None:
        require(
            min(self.window) > 0, f"projector.window={self.window} must be three positive numbers of tokens"
        )


class Projector(nn.Module):
    """Maps the encoder's tokens of clips to embeddings of a language model.

    Args:
        config: Window, pooling and heads.
        width: Width of the encoder's tokens.
        language_width: Width of the language model's embeddings.
        std: Standard deviation of those embeddings. Projected tokens start at this size, like known words.
    """

    def __init__(self, config: ProjectorConfig, width: int, language_width: int, std: float = 0.02) -> None:
        super().__init__()
        self.config = config
        self.width = width
        # Buffers, so that they are saved with the weights.
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

        window_size = math.prod(config.window)
        inputs = width * window_size if config.pooling == "concat" else width
        self.mlp = nn.Sequential(
            nn.Linear(inputs, language_width), nn.GELU(), nn.Linear(language_width, language_width)
        )
        # Keeps the size of standardised inputs.
        initialise(self.mlp, std=inputs**-0.5)
        # Hidden units start with standard normal inputs, so this makes the outputs' deviation `std`.
        nn.init.trunc_normal_(self.mlp[2].weight, std=std / math.sqrt(GELU_MEAN_SQUARE * language_width))

        if config.pooling == "attention":
            self.pool = AttentivePool(ProbeConfig(depth=1, heads=config.heads), width)
            # As large as in AttentiveProbe, which gives the reason.
            initialise(self.pool, std=width**-0.5)
            nn.init.normal_(self.pool.query)
            # Attention does not depend on the order of tokens; these tell the places of a window apart.
            self.places = nn.Parameter(0.02 * torch.randn(window_size, width))

    @torch.no_grad()
    def standardise(self, clips: Iterable[VideoTokens]) -> None:
        """Set `mean` and `std` to those of each channel over these clips; without clips, keep both.

        The channels of an encoder differ in size. A few large, uninformative ones would drown the others.
        """
        count = 0
        total = 0.0
        squares = 0.0
        for clip in clips:
            # In float32, sums over millions of tokens lose digits.
            tokens = clip.tokens.double()
            count += len(tokens)
            total = total + tokens.sum(dim=0)
            squares = squares + tokens.square().sum(dim=0)
        if count:
            mean = total / count
            self.mean.copy_(mean)
            # A constant channel must not divide by zero.
            self.std.copy_((squares / count - mean**2).clamp_min(1e-12).sqrt())

    def token_count(self, grid: Grid) -> int:
        """How many tokens such a clip becomes. Raises UserError if the window does not divide the grid."""
        if any(tokens % window for tokens, window in zip(grid, self.config.window, strict=True)):
            raise UserError(
                f"projector.window={self.config.window} does not divide a clip of {grid} tokens "
                "(time, height, width); choose divisors, or another data.clip"
            )
        return math.prod(grid) // math.prod(self.config.window)

    def forward(self, clips: Sequence[VideoTokens]) -> Float[Tensor, "m e"]:
        """The embeddings of all clips, one clip after the other."""
        return self.mlp(torch.cat([self.pool_windows(clip) for clip in clips]))

    def pool_windows(self, clip: VideoTokens) -> Float[Tensor, "m inputs"]:
        """Standardised tokens, one for each window. Raises UserError if grid or width do not fit."""
        self.token_count(clip.grid)
        if clip.tokens.shape[-1] != self.width:
            raise UserError(
                f"the projector reads tokens of width {self.width}, this encoder's have "
                f"{clip.tokens.shape[-1]}; use the encoder that the projector was aligned with"
            )
        tokens = (clip.tokens - self.mean) / self.std
        # The paper's setting at scale, in which a window is its only token.
        if self.config.window == (1, 1, 1) and self.config.pooling == "average":
            return tokens

        T, H, W = clip.grid
        t, h, w = self.config.window
        counts = {"T": T // t, "H": H // h, "W": W // w}
        windows = rearrange(tokens, "(T t H h W w) d -> (T H W) (t h w) d", **counts, t=t, h=h, w=w)
        if self.config.pooling == "concat":
            return rearrange(windows, "m k d -> m (k d)")
        if self.config.pooling == "average":
            return windows.mean(dim=1)
        return self.pool(windows + self.places)
