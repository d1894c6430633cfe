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
from vjepa.errors import UserError
from vjepa.features.clip_features import clip_features
from vjepa.models.encoder import Encoder
from vjepa.models.probe import AttentiveProbe
from vjepa.weights.card import read_card
from vjepa.weights.export import read_schema
from vjepa.weights.files import check_exists
from vjepa.weights.huggingface import read_hf_config


def read_probe_schema(source: str | Path) -> dict[str, Any]:
    """The schema in a probe stage's export, or that of a Hugging Face classifier.

    Raises CheckpointError if there is no probe, and UserError for a file of Meta's, which names no classes.
    """
    path = check_exists(source)
    if path.suffix == ".pt":
        raise UserError(f"{path} does not say what its classes are called; load_probe gives its logits")
    if not path.is_dir():
        return read_schema(path, "probe")
    names = read_hf_config(path).get("id2label", {})
    clip = read_card(source).clip
    settings = vars(clip) | {"short": "hold"} if clip else {}
    ordered = [names[key] for key in sorted(names, key=int)]
    return {"layers": [], "targets": "classes", "names": ordered, "clip": settings}


def probe_clip(schema: Mapping[str, Any]) -> ClipConfig:
    """The clips that a probe reads."""
    return ClipConfig(**schema["clip"])


@torch.no_grad()
def probe_shares(
    encoder: Encoder, probe: AttentiveProbe, schema: Mapping[str, Any], clips: UInt8[Tensor, "b t c h w"]
) -> list[dict[str, float]]:
    """For each clip the share of every class, the largest first.

    For a probe of several labels the share of each, and for regression the numbers, in the schema's order.
    """
    layers = tuple(schema["layers"])
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
