"""A picture of what tokens hold: the layer-normed tokens of one frame to the pixels of that frame.

A decoder is trained on the tokens of a frozen encoder, and no other network learns from it. Predicted tokens
are then decoded by the same weights, so that one sees what a predictor imagines (V-JEPA 2, section B.3, where
a vision transformer of 300M parameters does it). This one is a few convolutions.

    decoder = Decoder(DecoderConfig(), encoder.config)
    pictures = decoder(encode_frames(encoder, clip))      # b n d -> b 3 h w
"""

from dataclasses import dataclass
from math import isqrt

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import gelu

from vjepa.errors import require
from vjepa.models.encoder import EncoderConfig
from vjepa.models.layers import plain_norm

CHUNK = 64
"""Frames that `images` decodes at once."""


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder. Width of tokens and side of patches are the encoder's."""

    width: int = 96
    """Channels on the token grid."""
    depth: int = 2
    """Residual blocks on the token grid, of two convolutions each."""
    narrow: int = 8
    """Channels at full resolution, from which the last convolution makes colours."""

    def __post_init__(self) -> None:
        sizes = f"decoder: width={self.width}, depth={self.depth} and narrow={self.narrow}"
        require(min(self.width, self.depth, self.narrow) > 0, f"{sizes} must be positive")


class ConvolutionBlock(nn.Module):
    """A residual block of two 3x3 convolutions. An untrained one changes nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        for weight in self.second.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        # Every place by itself: a norm over the frame would let a moving hand change the colour of the wall.
        normed = rearrange(plain_norm(rearrange(x, "b c H W -> b H W c")), "b H W c -> b c H W")
        return x + self.second(gelu(self.first(gelu(normed))))


class Decoder(nn.Module):
    """Maps the tokens of square frames to pictures, by convolutions alone: any number of tokens a side."""

    def __init__(self, config: DecoderConfig, encoder: EncoderConfig) -> None:
        """encoder: Config of the encoder whose tokens it reads."""
        super().__init__()
        self.config = config
        self.embed = nn.Conv2d(encoder.width, config.width, 1)
        self.blocks = nn.ModuleList(ConvolutionBlock(config.width) for _ in range(config.depth))
        # Every token becomes the pixels of its patch.
        self.spread = nn.Conv2d(config.width, config.narrow * encoder.patch**2, 1)
        self.shuffle = nn.PixelShuffle(encoder.patch)
        # The only map across the edges of patches at full resolution, without which they show.
        self.colour = nn.Conv2d(config.narrow, 3, 3, padding=1, bias=False)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b 3 h w"]:
        """Pictures as red, green and blue from 0 to 1; a little below and above, where it overshoots.

        Raises UserError unless the tokens are those of square frames.
        """
        side = isqrt(tokens.shape[1])
        require(
            side**2 == tokens.shape[1],
            f"{tokens.shape[1]} tokens are no square frame; give a decoder the tokens of single frames",
        )
        x = self.embed(rearrange(tokens, "b (H W) d -> b d H W", H=side))
        for block in self.blocks:
            x = block(x)
        # Around grey. A bias in its place would add up the rounding of millions of pixels.
        return 0.5 + self.colour(gelu(self.shuffle(self.spread(gelu(x)))))

    @torch.no_grad()
    def images(self, tokens: Float[Tensor, "b n d"]) -> UInt8[Tensor, "b h w 3"]:
        """The same as images of bytes on the CPU, as films and files take them."""
        device = next(self.parameters()).device
        pictures = torch.cat([self(chunk.to(device)).cpu() for chunk in tokens.split(CHUNK)])
        return rearrange(as_bytes(pictures), "b c h w -> b h w c")


def as_bytes(pictures: Float[Tensor, "*b c h w"]) -> UInt8[Tensor, "*b c h w"]:
    """Pictures from 0 to 1 as bytes; what lies beyond is cut off."""
    return (pictures.float() * 255).round().clamp(0, 255).byte()
