"""Features of single clips in Python, from a frozen encoder.

One vector for a video:

    from vjepa import clip_features, clip_of, load_encoder, read_clip

    encoder = load_encoder("encoder.safetensors")
    clip = read_clip("video.mp4", clip_of("encoder.safetensors"))
    vector = clip_features(encoder, clip, pool="mean")

The answer of a finished probe stage's probe:

    from vjepa import load_probe
    from vjepa.features.probe_answers import probe_clip, probe_shares, read_probe_schema

    probe = load_probe("probe.safetensors")
    schema = read_probe_schema("probe.safetensors")
    clip = read_clip("video.mp4", probe_clip(schema))
    (shares,) = probe_shares(encoder, probe, schema, clip[None])
    answer, *others = shares

Tokens are bidirectional in time: each has attended to the whole clip, also to later frames. So a token of the
first half knows something of the second half, and overlapping windows give different tokens for the same
moment. If features must not depend on the future, use windows that end at the present.
"""

from pathlib import Path
from typing import Literal, get_args

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import Row
from vjepa.data.transforms import normalise
from vjepa.data.views import Views, load_views
from vjepa.errors import UserError, require
from vjepa.features.layout import channels_first
from vjepa.models.encoder import Encoder
from vjepa.models.probe import AttentivePool
from vjepa.weights.card import read_card
from vjepa.weights.facts import ClipFacts, announce

Pool = Literal["none", "mean", "frame", "attentive"]


def read_clip(path: str | Path, config: ClipConfig) -> UInt8[Tensor, "t c h w"]:
    """The centred square of the clip in the middle of a video, or of an image. Raises DecodeError."""
    row = Row(Path(path), label=None, start=None, end=None)
    (clip,) = load_views(row, config, Views())
    return clip


def clip_of(
    source: str | Path, frames: int | None = None, fps: float | None = None, size: int | None = None
) -> ClipConfig:
    """The clip that an encoder was trained for, as its weights say, with the numbers that are given.

    A line on stderr says if the given numbers differ from the weights', and if the weights do not say theirs;
    then those of the paper's pretraining are taken. Videos that are shorter than the clip hold their last
    frame, as in the released loader. Raises CheckpointError if the source cannot be read.
    """
    known = read_card(source).clip
    trained = known or ClipFacts(ClipConfig.frames, ClipConfig.fps, ClipConfig.size)
    taken = ClipFacts(
        trained.frames if frames is None else frames,
        trained.fps if fps is None else fps,
        trained.size if size is None else size,
    )
    if known is None and None in (frames, fps, size):
        announce(f"{source} does not say which clips it was trained on; taken are {taken}")
    if known is not None and taken != known:
        announce(f"{source}: clips of {taken}; the weights were trained on {known}")
    return ClipConfig(frames=taken.frames, fps=taken.fps, size=taken.size, short="hold")


@torch.no_grad()
def clip_features(
    encoder: Encoder,
    clip: UInt8[Tensor, "*b t c h w"] | UInt8[Tensor, "*b t h w c"],
    pool: Pool = "mean",
    layers: tuple[int, ...] = (),
    pooler: AttentivePool | None = None,
) -> Float[Tensor, "*shape"]:
    """Features of one clip, or of a batch of clips (which adds an axis b in front).

    Both layouts are taken, `t c h w` as `read_clip` and `t h w c` as `decode_frames` give them.

    The shape depends on `pool`: none n d (every token), mean d, frame T d (one vector for each time step of
    the grid), attentive d (by `pooler`, the `pool` of a trained probe). With `layers` (blocks counted from 0,
    -1 the last) there is an axis for the layers before these. Raises UserError for
    another layout or type, and if tubelets do not divide the clip.
    """
    frames = channels_first(clip)
    batch = frames if frames.ndim == 5 else frames[None]
    floats = normalise(batch.to(next(encoder.parameters()).device))

    # The encoder may be in the middle of its training.
    was_training = encoder.training
    encoder.eval()
    # Without `layers` the output counts as one layer, whose axis is removed again below.
    tokens = encoder.layers(floats, layers) if layers else encoder(floats)[:, None]
    encoder.train(was_training)

    time_steps = encoder.grid(floats)[0]
    features = pool_tokens(tokens, pool, time_steps, pooler)
    features = features if layers else features[:, 0]
    return features if frames.ndim == 5 else features[0]


def pool_tokens(
    tokens: Float[Tensor, "b l n d"], pool: Pool, time_steps: int, pooler: AttentivePool | None
) -> Float[Tensor, "b l *rest"]:
    """Pool the tokens of every clip and layer. Raises UserError for attentive pooling without a pooler."""
    pools = get_args(Pool)
    require(pool in pools, f"pool={pool!r}: give one of {', '.join(pools)}")
    if pool == "mean":
        return tokens.mean(dim=2)
    if pool == "frame":
        return rearrange(tokens, "b l (T n) d -> b l T n d", T=time_steps).mean(dim=3)
    if pool == "attentive":
        if pooler is None:
            raise UserError("attentive pooling needs a trained probe's pooler; give `pooler`")
        # A pooler knows no layers, so each layer counts as a clip.
        vectors = pooler(rearrange(tokens, "b l n d -> (b l) n d"))
        return rearrange(vectors, "(b l) d -> b l d", b=len(tokens))
    return tokens
