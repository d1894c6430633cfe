"""The pretraining predictor: a narrow transformer that fills dropped tokens from kept ones (section 2.1)."""

from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from vjepa.errors import require
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.grid import Grid
from vjepa.models.layers import EPS, Block, Modality, check_heads, initialise
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
    dense: bool = False
    """Whether the tokens at kept places are predicted too, by an output of their own (V-JEPA 2.1)."""
    target_width: int | None = None
    """Distillation: width of the teacher's tokens. They are predicted from the encoder's last level alone."""
    init_std: float = 0.02
    """Standard deviation of the initial matrices."""

    def __post_init__(self) -> None:
        check_heads("predictor", self.width, self.heads)
        positive = min(self.depth, self.mlp_width, self.mask_tokens, self.init_std) > 0
        require(positive, "predictor: depth, mlp_width, mask_tokens and init_std must be positive")
        width = self.target_width
        require(width is None or width > 0, f"predictor.target_width={width} must be positive")


class Predictor(nn.Module):
    """Predicts the target encoder's tokens at dropped places from the kept tokens and the places of both."""

    def __init__(self, config: PredictorConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.rope = encoder.rope
        self.rope_grid = encoder.rope_grid
        # A teacher's tokens are predicted from the last level alone, whatever the encoder's levels.
        self.levels = 1 if config.target_width else max(1, len(encoder.levels))
        self.embed: nn.Module = nn.Linear(encoder.width, config.width)
        if self.levels > 1:
            # First from all levels to the width of one.
            self.embed = nn.Sequential(
                nn.Linear(self.levels * encoder.width, encoder.width), nn.GELU(), self.embed
            )
        # Queries start at zero, as released: at first only their positions tell them apart.
        self.mask_tokens = nn.Parameter(torch.zeros(config.mask_tokens, config.width))
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_width) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=EPS)
        answer = self.levels * (config.target_width or encoder.width)
        self.out = nn.Linear(config.width, answer)
        if config.dense:
            self.out_kept = nn.Linear(config.width, answer)
        self.modality = Modality(config.width) if encoder.modality else None
        initialise(self, config.init_std)

    def forward(
        self,
        tokens: Float[Tensor, "b k d"],
        keep: Int[Tensor, "b k"],
        drop: Int[Tensor, "b m"],
        grid: Grid,
        mask_token: int = 0,
        is_image: bool = False,
    ) -> Float[Tensor, "b m d_out"]:
        """Predictions at the places `drop`, in its order.

        tokens: The encoder's output at the places `keep`, all levels joined.
        grid: Token grid of the whole clip; it turns `keep` and `drop` into positions.
        mask_token: Which of the learned queries stands at the dropped places.
        """
        x = self.read(tokens, keep, drop, grid, mask_token, is_image)
        # Only the outputs at the queries are predictions.
        return self.out(self.norm(x[:, tokens.shape[1] :]))

    def dense(
        self,
        tokens: Float[Tensor, "b k d"],
        keep: Int[Tensor, "b k"],
        drop: Int[Tensor, "b m"],
        grid: Grid,
        mask_token: int = 0,
        is_image: bool = False,
    ) -> tuple[Float[Tensor, "b m d_out"], Float[Tensor, "b k d_out"]]:
        """Predictions at the places `drop`, and at the places `keep` (V-JEPA 2.1, the dense loss)."""
        x = self.norm(self.read(tokens, keep, drop, grid, mask_token, is_image))
        kept = tokens.shape[1]
        return self.out(x[:, kept:]), self.out_kept(x[:, :kept])

    def context(
        self, encoder: Encoder, clip: Float[Tensor, "b c t h w"], keep: Int[Tensor, "b k"] | None = None
    ) -> Float[Tensor, "b k d"]:
        """What it reads of an encoder: the tokens of its levels, joined end to end."""
        levels = encoder.all_levels(clip, keep)[:, :, -self.levels :]
        return rearrange(levels, "b k l d -> b k (l d)")

    def last_level(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n e"]:
        """The last of the levels that are joined in each token."""
        return tokens.chunk(self.levels, dim=-1)[-1]

    def read(
        self, tokens: Tensor, keep: Tensor, drop: Tensor, grid: Grid, mask_token: int, is_image: bool
    ) -> Float[Tensor, "b n d"]:
        """The tokens after all blocks, those at kept places first."""
        x = self.embed(tokens)
        b, m = drop.shape
        queries = repeat(self.mask_tokens[mask_token], "d -> b m d", b=b, m=m)
        # Under autocast `x` is bfloat16, but parameters stay float32.
        x = torch.cat([x, queries.to(x.dtype)], dim=1)
        x = self.modality(x, is_image) if self.modality else x

        # Attention with explicit positions does not depend on the order of tokens, so nothing is sorted here.
        # The released code sorts and unsorts them, which costs time and gives the same.
        index = torch.cat([keep, drop], dim=1)
        head_width = self.config.width // self.config.heads
        rotation = rotation_of(index, grid, head_width, self.rope, self.rope_grid)
        for block in self.blocks:
            x = block(x, rotation)
        return x
