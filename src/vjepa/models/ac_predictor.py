"""The action-conditioned predictor: the next frame's tokens from past frames, actions and states (V-JEPA 2, section 3, B.1).

Time runs in steps. A step's sequence is its action, its state (and its camera's extrinsics, if any), then the tokens of its
frame; a token sees all of its own step and of earlier ones. What the network reads off at the frame's places of step k is
the frame of step k + 1. Because no step sees a later one, keys and values of past steps never change: they are kept, and
a rollout of T steps costs T passes over one step each.
"""

from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from vjepa.errors import UserError, require
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.layers import EPS, Block, check_heads, initialise, plain_norm
from vjepa.models.rope import Rotation, rotate, rotation

DEVIATION = 0.01
"""Metres, radians, closedness: what varies less than this does not vary."""


@dataclass(frozen=True)
class ACPredictorConfig:
    """Its input width, output width and rotary layout are the encoder's."""

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
    """Layer-norm the predicted tokens without affine, as the targets are. The released code does; the paper does not say."""
    merge: int = 1
    """Side of the squares of tokens that pass through the network as one. 1 as in the paper; 2 makes it four times cheaper."""
    residual: bool = False
    """Predict the change of a frame's tokens. The paper predicts the tokens, which narrow networks cannot even copy."""
    init_std: float = 0.02
    """Standard deviation of the initial matrices. Narrow networks want more: about 1 over the square root of the width."""

    def __post_init__(self) -> None:
        check_heads("ac_predictor", self.width, self.heads)
        sizes = (self.depth, self.mlp_width, self.action_dim, self.state_dim, self.merge, self.init_std)
        positive = min(sizes) > 0 and self.extrinsics_dim >= 0
        require(
            positive,
            "ac_predictor: depth, mlp_width, action_dim, state_dim, merge and init_std must be positive",
        )


class KeysValues(NamedTuple):
    """What one block keeps of all past tokens, keys already turned by their positions."""

    keys: Float[Tensor, "b g k e"]
    values: Float[Tensor, "b g k e"]


Cache = tuple[KeysValues, ...]  # one per block; empty before the first step


class ACPredictor(nn.Module):
    """Frames' tokens, actions and states of T steps to the tokens of each step's next frame."""

    def __init__(self, config: ACPredictorConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.rope = encoder.rope
        self.activation_checkpointing = False  # activation checkpointing, for training
        merged = config.merge**2 * encoder.width
        self.embed = nn.Linear(merged, config.width)
        self.embed_action = nn.Linear(config.action_dim, config.width)
        self.embed_state = nn.Linear(config.state_dim, config.width)
        self.embed_extrinsics = (
            nn.Linear(config.extrinsics_dim, config.width) if config.extrinsics_dim else None
        )
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_width) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=EPS)
        self.out = nn.Linear(config.width, merged)
        initialise(self, config.init_std)
        if config.residual:
            nn.init.zeros_(self.out.weight)  # nothing changes, until something is learned

    @torch.no_grad()
    def standardise(self, actions: Float[Tensor, "n a"], states: Float[Tensor, "m s"]) -> None:
        """Begin as if actions and states came with mean 0 and deviation 1, as some examples of them say.

        Metres of an action, radians of a roll and a closedness differ a hundredfold; a short training would see only the
        largest. Only the initial affine maps change.
        """
        for embed, values in ((self.embed_action, actions), (self.embed_state, states)):
            embed.weight /= values.std(dim=0).clamp_min(DEVIATION).to(embed.weight)
            embed.bias.copy_(-embed.weight @ values.mean(dim=0).to(embed.weight))

    def forward(
        self,
        frame_tokens: Float[Tensor, "b n d"],
        actions: Float[Tensor, "b T a"],
        states: Float[Tensor, "b T s"],
        extrinsics: Float[Tensor, "b T x"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """The tokens of frames 2..T+1, from those of frames 1..T in (T H W) order: teacher forcing (equation 2).

        Raises UserError if the tokens do not divide into T square frames, or extrinsics are not given as configured.
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
        """`forward` for T steps that follow those in `cache`, which it returns grown; `()` is the cache of no steps."""
        x = self.steps(frame_tokens, actions, states, extrinsics)
        by, mask = self.places(x, past=cache[0].keys.shape[2] // x.shape[2] if cache else 0)
        x = rearrange(x, "b T k d -> b (T k) d")
        grown, activation_checkpointing = [], self.activation_checkpointing and self.training
        read = partial(checkpoint, read_past, use_reentrant=False) if activation_checkpointing else read_past
        for block, past in zip(self.blocks, cache or [None] * len(self.blocks), strict=True):
            x, seen = read(block, x, by, mask, past)
            grown.append(seen)
        return self.frames(x, frame_tokens, actions.shape[1]), tuple(grown)

    def rollout(
        self,
        frame_tokens: Float[Tensor, "b k d"],
        actions: Float[Tensor, "b T a"],
        states: Float[Tensor, "b T s"],
        extrinsics: Float[Tensor, "b T x"] | None = None,
        cache: Cache = (),
    ) -> Float[Tensor, "b n d"]:
        """The tokens of T further frames from those of one: every guess is the next step's frame (equation 3).

        cache: of the steps before that frame.
        """
        guesses = [frame_tokens[:, :0]]
        for k in range(actions.shape[1]):
            camera = None if extrinsics is None else extrinsics[:, k : k + 1]
            frame_tokens, cache = self.extend(
                cache, frame_tokens, actions[:, k : k + 1], states[:, k : k + 1], camera
            )
            guesses.append(frame_tokens)
        return torch.cat(guesses, dim=1)

    def first_step(self, cache: Cache, frame: int) -> Cache:
        """What a cache keeps of its first step alone, whose frame has `frame` tokens."""
        k = self.conditions + frame // self.config.merge**2
        return tuple(KeysValues(kept.keys[:, :, :k], kept.values[:, :, :k]) for kept in cache)

    def steps(
        self,
        frame_tokens: Float[Tensor, "b n d"],
        actions: Float[Tensor, "b T a"],
        states: Float[Tensor, "b T s"],
        extrinsics: Float[Tensor, "b T x"] | None,
    ) -> Float[Tensor, "b T k w"]:
        """The embedded sequence: action, state and extrinsics of every step before its frame."""
        T = actions.shape[1]
        self.check_fit(frame_tokens.shape[1], T, extrinsics)
        conditions = [self.embed_action(actions), self.embed_state(states)]
        if self.embed_extrinsics is not None:
            conditions.append(self.embed_extrinsics(extrinsics))
        frames = self.embed(merge(frame_tokens, T, self.config.merge))
        return torch.cat([rearrange(conditions, "r b T d -> b T r d"), frames], dim=2)

    def check_fit(self, tokens: int, steps: int, extrinsics: Tensor | None) -> None:
        side = isqrt(tokens // steps)
        if tokens % steps or side**2 != tokens // steps:
            raise UserError(
                f"{tokens} tokens are not {steps} square frames, one per action; crop the frames to squares"
            )
        if side % self.config.merge:
            raise UserError(
                f"ac_predictor.merge={self.config.merge} does not divide a frame of {side}x{side} tokens"
            )
        wanted = self.embed_extrinsics is not None
        given = "given to a predictor without" if extrinsics is not None else "missing for a predictor with"
        require(wanted == (extrinsics is not None), f"extrinsics are {given} extrinsics_dim")

    def places(
        self, x: Float[Tensor, "b T k w"], past: int
    ) -> tuple[Rotation, Bool[Tensor, "q k_all"] | None]:
        """Rotary tables of the sequence's tokens, and what each may see of the past and of the sequence.

        Action, state and extrinsics take the frame's first row and column: an angle of zero turns nothing, so only time
        turns them, as in the released code.
        """
        T, tokens = x.shape[1:3]
        side = isqrt(tokens - self.conditions)
        place = torch.arange(-self.conditions, side**2, device=x.device).clamp_min(0)
        time = torch.arange(past, past + T, device=x.device)
        index = rearrange(time[:, None] * side**2 + place, "T k -> 1 (T k)")
        by = rotation(index, (past + T, side, side), self.config.width // self.config.heads, self.rope)
        return by, None if T == 1 else block_causal(T, past, tokens, x.device)

    @property
    def conditions(self) -> int:
        """Tokens of a step before its frame."""
        return 2 if self.embed_extrinsics is None else 3

    def frames(
        self, x: Float[Tensor, "b k w"], frame_tokens: Float[Tensor, "b n d"], T: int
    ) -> Float[Tensor, "b n d"]:
        """The guesses at the frames' places."""
        x = rearrange(x, "b (T k) w -> b T k w", T=T)[:, :, self.conditions :]
        guess = split(self.out(self.norm(x)), self.config.merge)
        guess = frame_tokens + guess if self.config.residual else guess
        return plain_norm(guess) if self.config.normalise else guess


def read_past(
    block: Block,
    x: Float[Tensor, "b n d"],
    by: Rotation,
    mask: Bool[Tensor, "n k"] | None,
    past: KeysValues | None,
) -> tuple[Float[Tensor, "b n d"], KeysValues]:
    """One block's pass whose tokens also see `past`; returns the keys and values of both."""
    q, k, v = rearrange(
        block.attention.qkv(block.norm1(x)), "b n (r g e) -> r b g n e", r=3, g=block.attention.heads
    )
    q, k = rotate(q, by).to(v.dtype), rotate(k, by).to(v.dtype)
    if past is not None:
        k, v = torch.cat([past.keys, k], dim=2), torch.cat([past.values, v], dim=2)
    seen = rearrange(scaled_dot_product_attention(q, k, v, attn_mask=mask), "b g n e -> b n (g e)")
    x = x + block.attention.out(seen)
    return x + block.mlp(block.norm2(x)), KeysValues(k, v)


def merge(frame_tokens: Float[Tensor, "b n d"], T: int, side: int) -> Float[Tensor, "b T m k"]:
    """The tokens of T square frames, those of every square of `side` x `side` one after the other in one."""
    H = isqrt(frame_tokens.shape[1] // T) // side
    return rearrange(frame_tokens, "b (T H p W q) d -> b T (H W) (p q d)", T=T, H=H, W=H, p=side)


def split(merged: Float[Tensor, "b T m k"], side: int) -> Float[Tensor, "b n d"]:
    """The inverse of `merge`."""
    H = isqrt(merged.shape[2])
    return rearrange(merged, "b T (H W) (p q d) -> b (T H p W q) d", H=H, p=side, q=side)


def block_causal(steps: int, past: int, tokens: int, device: torch.device) -> Bool[Tensor, "q k"]:
    """Whether a token of `steps` new steps sees one of `past + steps`, all of `tokens` tokens: those not later than its own."""
    step = repeat(torch.arange(past + steps, device=device), "T -> (T k)", k=tokens)
    return step[past * tokens :, None] >= step


def encode_frames(encoder: Encoder, clip: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
    """Tokens of a clip in (T H W) order, each frame encoded alone: repeated to one tubelet, then layer-normed (B.1)."""
    tokens = encoder(rearrange(clip, "b c t h w -> (b t) c 1 h w"))
    return plain_norm(rearrange(tokens, "(b t) n d -> b (t n) d", t=clip.shape[2]))
