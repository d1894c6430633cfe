"""The video encoder: a vision transformer over tubelets (V-JEPA 2, sections 2.1 and A.3).

A tubelet is a box of `tubelet` frames, `patch` rows and `patch` columns; each becomes one token.

    encoder = Encoder(EncoderConfig(width=384, depth=12, heads=6, mlp_width=1536))
    tokens = encoder(clip)          # clip b c t h w, normalised floats -> tokens b n d, in (T H W) order
    T, H, W = encoder.grid(clip)    # n = T * H * W
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vjepa.errors import UserError, require
from vjepa.models.grid import Grid, take
from vjepa.models.layers import EPS, Block, Modality, check_heads, initialise, plain_norm
from vjepa.models.rope import Layout, Rotation, rotation_of


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
    """Frequency layout of the rotary positions: `released` as in Meta's weights, or the correct
    `interleaved`."""
    rope_grid: int | None = None
    """Rows and columns to which positions of every grid are stretched: 16 in V-JEPA 2.1; null leaves them."""
    levels: tuple[int, ...] = ()
    """Blocks, from 0, whose tokens are predicted together, the last one among them (V-JEPA 2.1). Each has a
    norm of its own in place of the final one. Without levels it is the last block alone."""
    image_tokenizer: bool = False
    """Whether single images have tubelets of one frame, with weights of their own (V-JEPA 2.1)."""
    modality: bool = False
    """Whether a learned vector tells images from videos (V-JEPA 2.1)."""
    init_std: float = 0.02
    """Standard deviation of the initial matrices. Narrow networks want about 1 over the root of the width."""

    def __post_init__(self) -> None:
        check_heads("encoder", self.width, self.heads)
        positive = min(self.depth, self.mlp_width, self.patch, self.tubelet, self.init_std) > 0
        require(positive, "encoder: depth, mlp_width, patch, tubelet and init_std must be positive")
        levels = [*self.levels]
        last = self.depth - 1
        rising = levels == sorted({*levels})
        require(
            not levels or (rising and levels[0] >= 0 and levels[-1] == last),
            f"encoder.levels={levels} must be rising numbers of blocks, and end with the last, {last}; "
            "give such numbers, or [] for the last block alone",
        )
        require(
            self.rope_grid is None or self.rope_grid > 1,
            f"encoder.rope_grid={self.rope_grid} must be 2 or more",
        )
        layouts = get_args(Layout)
        require(self.rope in layouts, f"encoder.rope={self.rope!r} must be one of {', '.join(layouts)}")


class Encoder(nn.Module):
    """Maps clips of any length and size that the tubelet divides, and single images, to tokens."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.activation_checkpointing = False  # set by stages that train on large clips
        # The released 3-D convolution, whose stride is its kernel, as one matrix.
        self.embed = nn.Linear(3 * config.tubelet * config.patch**2, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_width) for _ in range(config.depth)
        )
        if config.levels:
            self.norms = nn.ModuleList(nn.LayerNorm(config.width, eps=EPS) for _ in config.levels)
        else:
            self.norm = nn.LayerNorm(config.width, eps=EPS)
        if config.image_tokenizer:
            self.embed_image = nn.Linear(3 * config.patch**2, config.width)
        if config.modality:
            self.modality = Modality(config.width)
        initialise(self, config.init_std)

    def grid(self, clip: Float[Tensor, "b c t h w"]) -> Grid:
        """The token grid of a clip, as `grid_of_size`. Raises UserError for another layout or type."""
        if clip.ndim != 5 or clip.shape[1] != 3 or not clip.is_floating_point():
            raise UserError(
                f"an encoder takes normalised floats `b c t h w` with 3 channels, got {clip.dtype} "
                f"{tuple(clip.shape)}; uint8 frames `t h w c` or `t c h w` go through clip_features"
            )
        return self.grid_of_size(*clip.shape[2:])

    def grid_of_size(self, frames: int, height: int, width: int) -> Grid:
        """(T, H, W): how many tubelets such a clip holds along each axis. A single frame fills one tubelet.

        Raises UserError if tubelets do not divide the clip.
        """
        tubelet = self.config.tubelet
        patch = self.config.patch
        if frames == 1:
            frames = tubelet  # an image fills one tubelet
        # Zero is divisible too, but an empty clip has no tokens.
        if frames % tubelet or height % patch or width % patch or not frames * height * width:
            raise UserError(
                f"a clip of {frames} frames of {height}x{width} does not divide into tubelets of "
                f"{tubelet}x{patch}x{patch}; use a multiple of {tubelet} frames and of {patch} pixels"
            )
        return frames // tubelet, height // patch, width // patch

    def fill_tubelet(self, clip: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t_filled h w"]:
        """A clip of one frame, an image, repeated to the length of a tubelet; longer clips as they are."""
        # As the authors do with images (facebookresearch/vjepa2#95); `expand` copies nothing.
        return clip.expand(-1, -1, self.config.tubelet, -1, -1) if clip.shape[2] == 1 else clip

    def forward(
        self, clip: Float[Tensor, "b c t h w"], keep: Int[Tensor, "b k"] | None = None
    ) -> Float[Tensor, "b k d"]:
        """Tokens in (T H W) order. With `keep`, only those tokens are embedded, and see only one another."""
        # No block's tokens are kept: of large clips they would take tens of gigabytes.
        for x in self.after_blocks(clip, keep):  # noqa: B007
            pass
        return self.normed(x, len(self.blocks) - 1)

    def all_levels(
        self, clip: Float[Tensor, "b c t h w"], keep: Int[Tensor, "b k"] | None = None
    ) -> Float[Tensor, "b k l d"]:
        """Tokens of all levels, each through the norm of its level; without levels, of the last block."""
        levels = self.config.levels or (len(self.blocks) - 1,)
        after = enumerate(self.after_blocks(clip, keep))
        return torch.stack([self.normed(x, number) for number, x in after if number in levels], dim=2)

    def after_blocks(
        self, clip: Float[Tensor, "b c t h w"], keep: Int[Tensor, "b k"] | None
    ) -> Iterator[Float[Tensor, "b k d"]]:
        """The tokens after each block in turn."""
        x, rotation = self.embed_tubelets(clip, keep)
        for block in self.blocks:
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, rotation, use_reentrant=False)
            else:
                x = block(x, rotation)
            yield x

    def normed(self, x: Float[Tensor, "b n d"], number: int) -> Float[Tensor, "b n d"]:
        """Tokens after a block through the norm of its level, or through the final one."""
        levels = self.config.levels
        return self.norms[levels.index(number)](x) if levels else self.norm(x)

    def layers(
        self, clip: Float[Tensor, "b c t h w"], layers: tuple[int, ...]
    ) -> Float[Tensor, "b layers n d"]:
        """Tokens after several blocks, each through the final norm, as in the released evaluation.

        Where there are levels, each has a norm of its own, and no other block has one.

        layers: Numbers of blocks, from 0, or from the end: -1 is the last. Raises UserError for others.
        """
        depth = self.config.depth
        # -1 becomes depth - 1; a number that is out of range is missing here, and refused below.
        numbers = [layer % depth for layer in layers if -depth <= layer < depth]
        require(
            len(numbers) == len(layers) > 0,
            f"layers={list(layers)}: the encoder has {depth} blocks; give numbers from 0 to {depth - 1}",
        )

        levels = self.config.levels
        require(
            not levels or {*numbers} <= {*levels},
            f"layers={list(layers)}: only the blocks {', '.join(map(str, levels))} of this one have a norm",
        )
        # Blocks after the last one that is read are not computed.
        after = zip(range(max(numbers) + 1), self.after_blocks(clip, None), strict=False)
        found = {number: self.normed(x, number) for number, x in after if number in numbers}
        # In the order that was asked for.
        return torch.stack([found[number] for number in numbers], dim=1)

    def embed_tubelets(
        self, clip: Float[Tensor, "b c t h w"], keep: Int[Tensor, "b k"] | None
    ) -> tuple[Float[Tensor, "b k d"], Rotation]:
        """What the first block reads: embedded tubelets, and the rotation of each by its place."""
        grid = self.grid(clip)
        is_image = clip.shape[2] == 1
        own = is_image and self.config.image_tokenizer
        clip = clip if own else self.fill_tubelet(clip)
        t = 1 if own else self.config.tubelet
        p = self.config.patch
        # (c t h w) is the order of the released kernel, so its weights fit.
        pixels = rearrange(clip, "b c (T t) (H h) (W w) -> b (T H W) (c t h w)", t=t, h=p, w=p)
        if keep is None:
            index = torch.arange(pixels.shape[1], device=clip.device)[None]
        else:
            # Dropped tubelets are never embedded: that is what makes masked pretraining cheap.
            index = keep
            pixels = take(pixels, keep)
        head_width = self.config.width // self.config.heads
        rotation = rotation_of(index, grid, head_width, self.config.rope, self.config.rope_grid)
        x = self.embed_image(pixels) if own else self.embed(pixels)
        return self.modality(x, is_image) if self.config.modality else x, rotation


def encode_frames(encoder: Encoder, clip: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
    """Layer-normed tokens of a clip in (T H W) order, each frame encoded by itself (section B.1)."""
    # Frames as images: the encoder repeats each to fill a tubelet, or has a tokenizer for images. No token
    # mixes two frames.
    tokens = encoder(rearrange(clip, "b c t h w -> (b t) c 1 h w"))
    return plain_norm(rearrange(tokens, "(b t) n d -> b (t n) d", t=clip.shape[2]))
