"""The video encoder: a vision transformer over tubelets (V-JEPA 2, sections 2.1 and A.3)."""

from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vjepa.errors import UserError, require
from vjepa.models.grid import Grid, take
from vjepa.models.layers import EPS, Block, check_heads, initialise
from vjepa.models.rope import Layout, Rotation, rotation


@dataclass(frozen=True)
class EncoderConfig:
    """One network; `conf/encoder/*.yaml` holds the papers' sizes."""

    width: int = 1024
    """Width of a token."""
    depth: int = 24
    """Number of transformer blocks."""
    heads: int = 16
    """Attention heads per block."""
    mlp_width: int = 4096
    """Hidden width of the blocks' two-layer perceptron."""
    patch: int = 16
    """Height and width of a tubelet, pixels."""
    tubelet: int = 2
    """Length of a tubelet, frames."""
    rope: Layout = "released"
    """Frequency layout of the rotary positions: `released` as in Meta's V-JEPA 2 weights, or the correct `interleaved`."""
    init_std: float = 0.02
    """Standard deviation of the initial matrices. Narrow networks want more: about 1 over the square root of the width."""

    def __post_init__(self) -> None:
        check_heads("encoder", self.width, self.heads)
        positive = min(self.depth, self.mlp_width, self.patch, self.tubelet, self.init_std) > 0
        require(positive, "encoder: depth, mlp_width, patch, tubelet and init_std must be positive")


class Encoder(nn.Module):
    """Clips of any length and size that the tubelet divides, to tokens."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = False  # activation checkpointing, for training
        self.embed = nn.Linear(3 * config.tubelet * config.patch**2, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_width) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=EPS)
        initialise(self, config.init_std)

    def grid(self, clip: Float[Tensor, "b c t h w"]) -> Grid:
        """(T, H, W): how many tubelets the clip holds along each axis."""
        t, h, w = clip.shape[2:]
        tubelet, patch = self.config.tubelet, self.config.patch
        if t % tubelet or h % patch or w % patch or not t * h * w:
            raise UserError(
                f"a clip of {t} frames of {h}x{w} does not divide into tubelets of {tubelet}x{patch}x{patch}; "
                f"use a multiple of {tubelet} frames and of {patch} pixels"
            )
        return t // tubelet, h // patch, w // patch

    def forward(
        self, clip: Float[Tensor, "b c t h w"], keep: Int[Tensor, "b k"] | None = None
    ) -> Float[Tensor, "b k d"]:
        """Tokens in (T H W) order; with `keep`, only those are embedded and attend to one another.

        An image is a clip of one frame: it is repeated to the length of a tubelet.
        """
        x, by = self.embedded(clip, keep)
        for block in self.blocks:
            x = (
                checkpoint(block, x, by, use_reentrant=False)
                if self.activation_checkpointing and self.training
                else block(x, by)
            )
        return self.norm(x)

    def layers(
        self, clip: Float[Tensor, "b c t h w"], layers: tuple[int, ...]
    ) -> Float[Tensor, "b layers n d"]:
        """Tokens after several blocks, counted from 0 (or from the end: -1), each through the final norm as released."""
        wanted = [
            layer % self.config.depth for layer in layers if -self.config.depth <= layer < self.config.depth
        ]
        last = self.config.depth - 1
        sentence = f"layers={list(layers)}: the encoder has {self.config.depth} blocks; give numbers from 0 to {last}"
        require(len(wanted) == len(layers) > 0, sentence)
        x, by = self.embedded(clip, None)
        found = {}
        for number, block in enumerate(self.blocks[: max(wanted) + 1]):
            x = block(x, by)
            found |= {number: self.norm(x)} if number in wanted else {}
        return torch.stack([found[number] for number in wanted], dim=1)

    def embedded(
        self, clip: Float[Tensor, "b c t h w"], keep: Int[Tensor, "b k"] | None
    ) -> tuple[Float[Tensor, "b k d"], Rotation]:
        """What the first block reads: tubelets, and the rotation of each by its place."""
        if clip.shape[2] == 1:
            clip = repeat(clip, "b c 1 h w -> b c t h w", t=self.config.tubelet)
        grid = self.grid(clip)
        p, t = self.config.patch, self.config.tubelet
        patches = rearrange(clip, "b c (T t) (H h) (W w) -> b (T H W) (c t h w)", t=t, h=p, w=p)
        index = torch.arange(patches.shape[1], device=clip.device)[None] if keep is None else keep
        x = self.embed(patches if keep is None else take(patches, keep))
        return x, rotation(index, grid, self.config.width // self.config.heads, self.config.rope)
