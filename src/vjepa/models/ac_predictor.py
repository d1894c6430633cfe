"""The action-conditioned predictor: from frames, actions and states to the next frame's tokens (B.1).

Time runs in steps. The sequence of a step is its action, its state, the extrinsics of its camera if there are
any, then the tokens of its frame. A token sees all of its own step and of earlier ones (`step_cache`). The
outputs at the places of frame k predict frame k + 1.

    predictor = load_ac_predictor("ac.safetensors")
    next_frames = predictor(frame_tokens, actions, states)      # b (T n) d, b T a, b T s -> b (T n) d
    future = predictor.rollout(first_frame, actions, states)    # b n d, b T a, b T s -> b (T n) d
"""

from dataclasses import dataclass
from functools import partial
from math import isqrt

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vjepa.errors import UserError, require
from vjepa.models.encoder import EncoderConfig
from vjepa.models.grid import merge_squares, split_squares
from vjepa.models.layers import EPS, Block, check_heads, initialise, plain_norm
from vjepa.models.rope import Rotation, rotation_of
from vjepa.models.step_cache import (
    Cache,
    attend_with_past,
    block_causal_mask,
    cached_tokens,
    first_tokens,
    step_index,
)

LEAST_DEVIATION = 0.01
"""In metres, radians or closedness. A number that varies less is scaled as if it varied by this much."""


@dataclass(frozen=True)
class ACPredictorConfig:
    """Sizes of the predictor. Its input width, output width and rotary layout are the encoder's."""

    width: int = 1024
    """Width of a token inside the predictor."""
    depth: int = 24
    """Number of transformer blocks."""
    heads: int = 16
    """Attention heads per block."""
    mlp_width: int = 4096
    """Hidden width of the blocks' two-layer perceptron."""
    action_dim: int = 7
    """Numbers of an action."""
    state_dim: int = 7
    """Numbers of a state."""
    extrinsics_dim: int = 0
    """Numbers of the camera's pose, which becomes one more token per step; 0 for none, as in the paper."""
    normalise: bool = True
    """Layer-norm the predicted tokens as the targets are, like the released code; the paper does not say."""
    merge: int = 1
    """Side of the squares of tokens that pass the network as one. 1 in the paper; 2 costs a quarter."""
    residual: bool = False
    """Predict the change of the tokens. The paper predicts them anew, and narrow networks cannot copy
    them."""
    init_std: float = 0.02
    """Standard deviation of the initial matrices. Narrow networks want about 1 over the root of the width."""

    def __post_init__(self) -> None:
        check_heads("ac_predictor", self.width, self.heads)
        sizes = (self.depth, self.mlp_width, self.action_dim, self.state_dim, self.merge, self.init_std)
        require(
            min(sizes) > 0 and self.extrinsics_dim >= 0,
            "ac_predictor: depth, mlp_width, action_dim, state_dim, merge and init_std must be positive, "
            "extrinsics_dim 0 or more",
        )


class ACPredictor(nn.Module):
    """Frames' tokens, actions and states of T steps, to the tokens of each step's next frame."""

    def __init__(self, config: ACPredictorConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.schema: dict | None = None  # what its states and actions mean, if its file says
        self.rope = encoder.rope
        self.activation_checkpointing = False  # set by stages that train on many frames
        merged_width = config.merge**2 * encoder.width

        self.embed = nn.Linear(merged_width, config.width)
        self.embed_action = nn.Linear(config.action_dim, config.width)
        self.embed_state = nn.Linear(config.state_dim, config.width)
        self.embed_extrinsics = (
            nn.Linear(config.extrinsics_dim, config.width) if config.extrinsics_dim else None
        )
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_width) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=EPS)
        self.out = nn.Linear(config.width, merged_width)

        initialise(self, config.init_std)
        if config.residual:
            # An untrained network then predicts that nothing changes.
            nn.init.zeros_(self.out.weight)

    @torch.no_grad()
    def standardise(self, actions: Float[Tensor, "n a"], states: Float[Tensor, "m s"]) -> None:
        """Set the initial maps so that they read these actions and states with mean 0 and deviation 1.

        The metres of an action, the radians of a roll and a closedness differ a hundredfold in size, and a
        short training would see only the largest.
        """
        # W (x - mean) / deviation is again an affine map of x. Its bias needs the scaled W, so it is second.
        for embed, values in ((self.embed_action, actions), (self.embed_state, states)):
            embed.weight /= values.std(dim=0).clamp_min(LEAST_DEVIATION).to(embed.weight)
            embed.bias.copy_(-embed.weight @ values.mean(dim=0).to(embed.weight))

    def forward(
        self,
        frame_tokens: Float[Tensor, "b n d"],
        actions: Float[Tensor, "b T a"],
        states: Float[Tensor, "b T s"],
        extrinsics: Float[Tensor, "b T x"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """The tokens of frames 2..T+1 from those of 1..T, in (T H W) order: teacher forcing (equation 2).

        Raises UserError if tokens are not T square frames, or extrinsics are not given as configured.
        """
        return self.extend((), frame_tokens, actions, states, extrinsics)[0]

    def extend(
        self,
        cache: Cache,
        frame_tokens: Float[Tensor, "b n d"],
        actions: Float[Tensor, "b T a"],
        states: Float[Tensor, "b T s"],
        extrinsics: Float[Tensor, "b T x"] | None = None,
    ) -> tuple[Float[Tensor, "b n d"], Cache]:
        """`forward` for T steps that follow those in `cache`, and the cache that holds them too.

        cache: Keys and values of the steps before; `()` if there are none.
        """
        sequence = self.embed_steps(frame_tokens, actions, states, extrinsics)
        past_steps = cached_tokens(cache) // sequence.shape[2]  # all steps are equally long
        rotation, mask = self.rotation_and_mask(sequence, past_steps)

        attend = attend_with_past
        # Only training keeps activations, for its gradients.
        if self.activation_checkpointing and self.training:
            attend = partial(checkpoint, attend_with_past, use_reentrant=False)
        x = rearrange(sequence, "b T k w -> b (T k) w")
        extended = []
        for block, past in zip(self.blocks, cache or [None] * len(self.blocks), strict=True):
            x, keys_values = attend(block, x, rotation, mask, past)
            extended.append(keys_values)
        return self.predictions(x, frame_tokens, actions.shape[1]), tuple(extended)

    def rollout(
        self,
        frame_tokens: Float[Tensor, "b k d"],
        actions: Float[Tensor, "b T a"],
        states: Float[Tensor, "b T s"],
        extrinsics: Float[Tensor, "b T x"] | None = None,
        cache: Cache = (),
    ) -> Float[Tensor, "b n d"]:
        """The tokens of T further frames from those of one, each from the prediction before (equation 3).

        cache: Keys and values of the steps before that frame.
        """
        predictions = [frame_tokens[:, :0]]  # of no frames, for T = 0
        for k in range(actions.shape[1]):
            step = slice(k, k + 1)
            camera = None if extrinsics is None else extrinsics[:, step]
            frame_tokens, cache = self.extend(cache, frame_tokens, actions[:, step], states[:, step], camera)
            predictions.append(frame_tokens)
        return torch.cat(predictions, dim=1)

    def first_step(self, cache: Cache, frame: int) -> Cache:
        """The cache as it was after its first step, whose frame has `frame` tokens."""
        return first_tokens(cache, self.conditions + frame // self.config.merge**2)

    @property
    def conditions(self) -> int:
        """Tokens of a step before its frame."""
        return 2 if self.embed_extrinsics is None else 3

    def embed_steps(
        self,
        frame_tokens: Float[Tensor, "b n d"],
        actions: Float[Tensor, "b T a"],
        states: Float[Tensor, "b T s"],
        extrinsics: Float[Tensor, "b T x"] | None,
    ) -> Float[Tensor, "b T k w"]:
        """The embedded sequence: action, state and extrinsics of every step before its frame."""
        T = actions.shape[1]
        self.check_frames(frame_tokens.shape[1], T)
        required = self.embed_extrinsics is not None
        given = "given to a predictor without" if extrinsics is not None else "missing for a predictor with"
        require(required == (extrinsics is not None), f"extrinsics are {given} extrinsics_dim")

        # Each is one token, in the order of the released code.
        conditions = [self.embed_action(actions), self.embed_state(states)]
        if self.embed_extrinsics is not None:
            conditions.append(self.embed_extrinsics(extrinsics))
        frames = self.embed(merge_squares(frame_tokens, T, self.config.merge))
        return torch.cat([rearrange(conditions, "r b T w -> b T r w"), frames], dim=2)

    def check_frames(self, tokens: int, steps: int) -> None:
        """Raise UserError unless `tokens` tokens are `steps` square frames whose sides `merge` divides."""
        side = isqrt(tokens // steps)
        if side**2 * steps != tokens:
            raise UserError(
                f"{tokens} tokens are not {steps} square frames, one per action; crop the frames to squares"
            )
        if side % self.config.merge:
            raise UserError(
                f"ac_predictor.merge={self.config.merge} does not divide a frame of {side}x{side} tokens; "
                "choose a divisor of the side"
            )

    def rotation_and_mask(
        self, sequence: Float[Tensor, "b T k w"], past: int
    ) -> tuple[Rotation, Bool[Tensor, "q k_all"] | None]:
        """The rotation of each token, and which tokens it sees of `past` earlier steps and its own."""
        T, tokens = sequence.shape[1:3]
        side = isqrt(tokens - self.conditions)  # in merged tokens
        # Times go on after the past steps, whose cached keys are turned by their own times.
        index = step_index(T, past, side, self.conditions, sequence.device)
        head_width = self.config.width // self.config.heads
        rotation = rotation_of(index, (past + T, side, side), head_width, self.rope)
        # One new step sees everything; without a mask, attention takes its fastest kernel.
        return rotation, None if T == 1 else block_causal_mask(T, past, tokens, sequence.device)

    def predictions(
        self, x: Float[Tensor, "b k w"], frame_tokens: Float[Tensor, "b n d"], T: int
    ) -> Float[Tensor, "b n d"]:
        """The next frames, read off at the places of the frames."""
        at_frames = rearrange(x, "b (T k) w -> b T k w", T=T)[:, :, self.conditions :]
        predicted = split_squares(self.out(self.norm(at_frames)), self.config.merge)
        if self.config.residual:
            # The outputs at frame k are about frame k + 1, so this is the change between the two.
            predicted = frame_tokens + predicted
        # A rollout reads predictions as frames, and true frames are layer-normed.
        return plain_norm(predicted) if self.config.normalise else predicted
