"""Features of single clips in Python, from a frozen encoder.

One vector for a video:

    from vjepa import ClipConfig, clip_features, load_encoder, read_clip

    encoder = load_encoder("vitl16.pt")
    clip = read_clip("video.mp4", ClipConfig(frames=64, fps=4.0, size=256))
    vector = clip_features(encoder, clip, pool="mean")

The answer of a finished probe stage's probe (for regression, `answer` is the tensor of logits itself):

    from vjepa import load_probe
    from vjepa.weights.export import read_schema

    probe = load_probe("probe.safetensors")
    schema = read_schema("probe.safetensors", "probe")
    clip = read_clip("video.mp4", ClipConfig(**schema["clip"]))
    tokens = clip_features(encoder, clip, pool="none", layers=tuple(schema["layers"]))
    logits = probe(tokens.reshape(1, -1, tokens.shape[-1]))
    answer = schema["names"][int(logits.argmax())]

Tokens are bidirectional in time: each has attended to the whole clip, also to later frames. So a token of the
first half knows something of the second half, and overlapping windows give different tokens for the same
moment. If features must not depend on the future, use windows that end at the present.
"""

from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import Row
from vjepa.data.transforms import centre_box, crop, normalise
from vjepa.data.views import load_segments
from vjepa.errors import require
from vjepa.models.encoder import Encoder
from vjepa.models.probe import AttentivePool

Pool = Literal["none", "mean", "frame", "attentive"]


def read_clip(path: str | Path, config: ClipConfig) -> UInt8[Tensor, "t c h w"]:
    """The centred square of the clip in the middle of a video, or of an image. Raises DecodeError."""
    row = Row(Path(path), label=None, start=None, end=None)
    # One segment is the clip in the middle of the video.
    (frames,) = load_segments(row, config, 1)
    # As evaluation crops: the whole shorter side, and no mirroring.
    return crop(frames, centre_box(*frames.shape[-2:], 1.0), config.size, False)


@torch.no_grad()
def clip_features(
    encoder: Encoder,
    clip: UInt8[Tensor, "*b t c h w"],
    pool: Pool = "mean",
    layers: tuple[int, ...] = (),
    pooler: AttentivePool | None = None,
) -> Float[Tensor, "*shape"]:
    """Features of one clip, or of a batch of clips (which adds an axis b in front).

    The shape depends on `pool`: none n d (every token), mean d, frame T d (one vector for each time step of
    the grid), attentive d (by `pooler`, the `pool` of a trained probe). With `layers` (blocks counted from 0,
    -1 the last) there is an axis for the layers before these. Raises UserError if tubelets do not divide the
    clip.
    """
    batch = clip if clip.ndim == 5 else clip[None]
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
    return features if clip.ndim == 5 else features[0]


def pool_tokens(
    tokens: Float[Tensor, "b l n d"], pool: Pool, time_steps: int, pooler: AttentivePool | None
) -> Float[Tensor, "b l *rest"]:
    """Pool the tokens of every clip and layer. Raises UserError for attentive pooling without a pooler."""
    if pool == "mean":
        return tokens.mean(dim=2)
    if pool == "frame":
        return rearrange(tokens, "b l (T n) d -> b l T n d", T=time_steps).mean(dim=3)
    if pool == "attentive":
        require(pooler is not None, "attentive pooling needs a trained probe's pooler; give `pooler`")
        # A pooler knows no layers, so each layer counts as a clip.
        vectors = pooler(rearrange(tokens, "b l n d -> (b l) n d"))
        return rearrange(vectors, "(b l) d -> b l d", b=len(tokens))
    return tokens
