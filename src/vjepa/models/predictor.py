"""The predictor of pretraining: a narrow transformer that fills dropped tokens from kept ones (V-JEPA 2, section 2.1)."""

from dataclasses import dataclass

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from vjepa.errors import require
from vjepa.models.encoder import EncoderConfig
from vjepa.models.grid import Grid
from vjepa.models.layers import EPS, Block, check_heads, initialise
from vjepa.models.rope import rotation


@dataclass(frozen=True)
class PredictorConfig:
    """Its input width, output width and rotary layout are the encoder's."""

    width: int = 384
    """Width of a token inside the predictor."""
    depth: int = 12
    """Number of transformer blocks."""
    heads: int = 12
    """Attention heads per block."""
    mlp_width: int = 1536
    """Hidden width of the blocks' two-layer perceptron."""
    mask_tokens: int = 1
    """Learned queries held; the released weights hold 10, one per clip length they were trained with."""
    init_std: float = 0.02
    """Standard deviation of the initial matrices."""

    def __post_init__(self) -> None:
        check_heads("predictor", self.width, self.heads)
        positive = min(self.depth, self.mlp_width, self.mask_tokens, self.init_std) > 0
        require(positive, "predictor: depth, mlp_width, mask_tokens and init_std must be positive")


class Predictor(nn.Module):
    """Context tokens and the places of dropped ones, to a guess of the target encoder's tokens there."""

    def __init__(self, config: PredictorConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.rope = encoder.rope
        self.embed = nn.Linear(encoder.width, config.width)
        self.mask_tokens = nn.Parameter(torch.zeros(config.mask_tokens, config.width))
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_width) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=EPS)
        self.out = nn.Linear(config.width, encoder.width)
        initialise(self, config.init_std)

    def forward(
        self,
        tokens: Float[Tensor, "b k d"],
        keep: Int[Tensor, "b k"],
        drop: Int[Tensor, "b m"],
        grid: Grid,
        mask_token: int = 0,
    ) -> Float[Tensor, "b m d"]:
        """Guesses at `drop`, in its order. Attention with explicit positions needs no sorting of kept and dropped."""
        query = repeat(self.mask_tokens[mask_token], "d -> b m d", b=drop.shape[0], m=drop.shape[1])
        x = self.embed(tokens)
        x = torch.cat([x, query.to(x.dtype)], dim=1)
        by = rotation(torch.cat([keep, drop], dim=1), grid, self.config.width // self.config.heads, self.rope)
        for block in self.blocks:
            x = block(x, by)
        return self.out(self.norm(x[:, tokens.shape[1] :]))
