"""What a trained probe answers about clips, by the names of its classes.

    schema = read_probe_schema(source)
    clip = read_clip("video.mp4", probe_clip(schema))
    answers = probe_shares(encoder, probe, schema, clip[None])      # one dictionary for each clip

A schema says which clips and which layers the probe reads, and what its outputs mean.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor

from vjepa.data.clips import ClipConfig
from vjepa.errors import UserError, require
from vjepa.features.clip_features import clip_features
from vjepa.models.encoder import Encoder
from vjepa.models.probe import AttentiveProbe
from vjepa.weights.card import read_card
from vjepa.weights.facts import clip_facts
from vjepa.weights.files import as_checkpoint_error
from vjepa.weights.probe_schema import known_schema
from vjepa.weights.settings import settings


@as_checkpoint_error
def read_probe_schema(source: str | Path) -> dict[str, Any]:
    """The schema of a probe, with the clips that it reads.

    Raises CheckpointError if there is no probe, and UserError for a file of Meta's, which names no classes.
    """
    schema = known_schema(source)
    if "names" not in schema:
        raise UserError(f"{source} does not say what its classes are called; load_probe gives its logits")
    card = read_card(source).clip
    clip = vars(card) | {"short": "hold"} if card else {}
    schema = {"targets": "classes", "layers": [], "clip": clip} | schema
    probe_clip(schema)
    return schema


def probe_clip(schema: Mapping[str, Any]) -> ClipConfig:
    """The clips that a probe reads. The last frame of a shorter video is held, as for features.

    Raises UserError for settings that no clip has.
    """
    numbers = schema["clip"]
    clip_facts({key: numbers[key] for key in ("frames", "fps", "size") if key in numbers})
    return settings(ClipConfig, {**numbers, "short": "hold"})


@torch.no_grad()
def probe_shares(
    encoder: Encoder, probe: AttentiveProbe, schema: Mapping[str, Any], clips: UInt8[Tensor, "b t c h w"]
) -> list[dict[str, float]]:
    """For each clip the share of every class, the largest first.

    For a probe of several labels the share of each, and for regression the numbers, in the schema's order.
    """
    layers = tuple(schema["layers"])
    outputs = probe.head.out_features
    require(
        outputs == len(schema["names"]),
        f"the probe has {outputs} outputs and {len(schema['names'])} names; its file is damaged",
    )
    tokens = clip_features(encoder, clips, pool="none", layers=layers)
    # Layers stand side by side along the tokens, as in training.
    logits = probe(rearrange(tokens, "b l n d -> b (l n) d") if layers else tokens)
    if schema["targets"] == "classes":
        shares = logits.softmax(dim=-1)
    else:
        shares = logits.sigmoid() if schema["targets"] == "multilabel" else logits
    rows = [dict(zip(schema["names"], row, strict=True)) for row in shares.tolist()]
    if schema["targets"] != "classes":
        return rows
    return [dict(sorted(row.items(), key=lambda pair: -pair[1])) for row in rows]
