"""The pretraining predictor: a narrow transformer that fills dropped tokens from kept ones (section 2.1)."""

from dataclasses import dataclass

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from vjepa.errors import require
from vjepa.models.encoder import EncoderConfig
from vjepa.models.grid import Grid
from vjepa.models.layers import EPS, Block, check_heads, initialise
from vjepa.models.rope import rotation_of


@dataclass(frozen=True)
class PredictorConfig:
    """Sizes of the predictor. Its input width, output width and rotary layout are the encoder's."""

    width: int = 384
    """Width of a token inside the predictor."""
    depth: int = 12
    """Number of transformer blocks."""
    heads: int = 12
    """Attention heads per block."""
    mlp_width: int = 1536
    """Hidden width of the blocks' two-layer perceptron."""
    mask_tokens: int = 1
    """Number of learned queries. The released weights hold 10, one per clip length they were trained with."""
    init_std: float = 0.02
    """Standard deviation of the initial matrices."""

    def __post_init__(self) -> None:
        check_heads("predictor", self.width, self.heads)
        positive = min(self.depth, self.mlp_width, self.mask_tokens, self.init_std) > 0
        require(positive, "predictor: depth, mlp_width, mask_tokens and init_std must be positive")


class Predictor(nn.Module):
    """Predicts the target encoder's tokens at dropped places from the kept tokens and the places of both."""

    def __init__(self, config: PredictorConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.rope = encoder.rope
        self.embed = nn.Linear(encoder.width, config.width)
        # Queries start at zero, as released: at first only their positions tell them apart.
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
        """Predictions at the places `drop`, in its order.

        tokens: The encoder's output at the places `keep`.
        grid: Token grid of the whole clip; it turns `keep` and `drop` into positions.
        mask_token: Which of the learned queries stands at the dropped places.
        """
        x = self.embed(tokens)
        b, m = drop.shape
        queries = repeat(self.mask_tokens[mask_token], "d -> b m d", b=b, m=m)
        # Under autocast `x` is bfloat16, but parameters stay float32.
        x = torch.cat([x, queries.to(x.dtype)], dim=1)

        # Attention with explicit positions does not depend on the order of tokens, so nothing is sorted here.
        # The released code sorts and unsorts them, which costs time and gives the same.
        index = torch.cat([keep, drop], dim=1)
        rotation = rotation_of(index, grid, self.config.width // self.config.heads, self.rope)
        for block in self.blocks:
            x = block(x, rotation)
        # Only the outputs at the queries are predictions.
        return self.out(self.norm(x[:, tokens.shape[1] :]))
