"""Clip features."""

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
    """The clip in the middle of a video or of a picture, its centred square. Raises DecodeError."""
    (frames,) = load_segments(Row(Path(path), None, None, None), config, 1)
    return crop(frames, centre_box(*frames.shape[-2:], 1.0), config.size, False)


@torch.no_grad()
def clip_features(
    encoder: Encoder,
    clip: UInt8[Tensor, "*b t c h w"],
    pool: Pool = "mean",
    layers: tuple[int, ...] = (),
    pooler: AttentivePool | None = None,
) -> Float[Tensor, "*shape"]:
    """Of one clip, or of a batch of them (one more axis in front): with `pool` none l n d, mean l d, frame l T d, attentive
    l d, where l counts the layers and falls away if none are named. Raises UserError if tubelets do not divide the clip."""
    batch = clip if clip.ndim == 5 else clip[None]
    device = next(encoder.parameters()).device
    floats, mode = normalise(batch.to(device)), encoder.training
    encoder.eval()
    tokens = encoder.layers(floats, layers) if layers else encoder(floats)[:, None]
    encoder.train(mode)
    found = pooled(tokens, pool, tokens.shape[2] // steps_of(encoder, floats), pooler)
    found = found if layers else found[:, 0]
    return found if clip.ndim == 5 else found[0]


def steps_of(encoder: Encoder, clip: Float[Tensor, "b c t h w"]) -> int:
    """Time steps of the grid; a single frame fills one."""
    return max(clip.shape[2] // encoder.config.tubelet, 1)


def pooled(
    tokens: Float[Tensor, "b l n d"], pool: Pool, per_step: int, pooler: AttentivePool | None
) -> Float[Tensor, "b l *rest"]:
    if pool == "mean":
        return tokens.mean(dim=2)
    if pool == "frame":
        return rearrange(tokens, "b l (T s) d -> b l T s d", s=per_step).mean(dim=3)
    if pool == "attentive":
        require(pooler is not None, "attentive pooling reads a trained probe; give its pooler")
        return rearrange(pooler(rearrange(tokens, "b l n d -> (b l) n d")), "(b l) d -> b l d", b=len(tokens))
    return tokens
