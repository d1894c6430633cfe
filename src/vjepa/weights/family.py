"""Whose weights they are, from evidence in the file: which networks it holds, their tensors, and its name.

    family_of(read_pickle(path), path.name)     # "V-JEPA 2"

V-JEPA 1 and V-JEPA 2 share the names and shapes of all tensors that are trained. V-JEPA 1 adds fixed
positions, which its files hold as `pos_embed`. V-JEPA 2 rotates queries and keys instead, but some of its
files hold these positions too, unused. Read as the other, the same tensors give other features silently.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from torch import Tensor

from vjepa.errors import require
from vjepa.weights.files import State


class Family(StrEnum):
    """Who wrote a source of weights, and for which networks."""

    EXPORT = "vjepa"
    LIGHTNING = "a Lightning checkpoint"
    HUGGING_FACE = "Hugging Face"
    V2 = "V-JEPA 2"
    V1_OR_V2 = "V-JEPA 1 or V-JEPA 2"
    PROBE = "a probe of V-JEPA 2"
    V21 = "V-JEPA 2.1"
    V1 = "V-JEPA 1"
    V1_PROBE = "a probe of V-JEPA 1"
    ANTICIPATION = "a probe of V-JEPA 2 that anticipates actions"
    I_JEPA = "I-JEPA"
    IMAGES = "an image model, such as one of timm, MAE or DINO"
    VIDEO_MAE = "VideoMAE"
    FACE_TENSORS = "tensors of a Hugging Face model without its config.json"
    BARE = "tensors of one network, without the networks' names that Meta's files hold"
    UNKNOWN = "no network that is known here"


READABLE = "give V-JEPA 2's vitl.pt, vith.pt, vitg.pt or vitg-384.pt, or its Hugging Face folder"
REMEDIES = {
    Family.V1: f"its positions are added to the tokens, which these networks do not do; {READABLE}",
    Family.V1_PROBE: "it reads tokens of V-JEPA 1; give a probe of V-JEPA 2, as ssv2-vitl-16x2x3.pt",
    Family.ANTICIPATION: "it is not read here; train one on your encoder with `vjepa fit anticipate`",
    Family.I_JEPA: f"it sees single images; {READABLE}",
    Family.IMAGES: READABLE,
    Family.VIDEO_MAE: READABLE,
    Family.FACE_TENSORS: "give the folder that holds both",
    Family.BARE: "if it is an encoder of V-JEPA 2, save it as {'target_encoder': tensors}",
    Family.UNKNOWN: READABLE,
}
"""Families that no network here can take -> what to do."""

V21_MARKS = ("patch_embed_img.", "img_mod_embed", "video_mod_embed", "norms_block.", "predictor_proj_context")
POSITIONS = ("pos_embed", "predictor_pos_embed")
"""Fixed positions, which V-JEPA 2 does not use. They alone may be left over."""
WRAPPERS = re.compile(r"^((module|backbone|_orig_mod|model|encoder|predictor)\.)+")
"""What distributed training, masking, compilation and other trainers put before a tensor's name."""
INSERTED = re.compile(r"\b_(fsdp_wrapped_module|checkpoint_wrapped_module|orig_mod)\.")
"""What sharded training, activation checkpointing and compilation of single blocks put into it."""
GRIDS = {1568: Family.V1, 4608: Family.V1, 2048: Family.V2, 8192: Family.V2, 18432: Family.V2}
"""Places of the published clips: 16 frames of 224 or 384 px; 16 or 64 frames of 256 px, 64 of 384 px."""
NAMES = {
    r"vit[lh]16(-384)?\.pth(\.tar)?": Family.V1,
    r"vit[lhg](-384)?\.pt": Family.V2,
    r".*v-?jepa-?2[-_.]?1(?!\d).*": Family.V21,
}
"""Names of the published files."""
GIANT = 1408
"""Width of V-JEPA 2's ViT-g. V-JEPA 1 has none."""


def family_of(checkpoint: Mapping[Any, Any], name: str) -> Family:
    """The family of a file's content, as torch loads it; `name` is the file's."""
    tensors = tensors_of(checkpoint)
    named = next((family for pattern, family in NAMES.items() if re.fullmatch(pattern, name, re.I)), None)
    if "state_dict" in checkpoint and ("pytorch-lightning_version" in checkpoint or "networks" in checkpoint):
        return Family.LIGHTNING
    if "classifiers" in checkpoint:
        return Family.ANTICIPATION if holds(tensors, "verb_classifier") else Family.PROBE
    if "ema_encoder" in checkpoint or holds(tensors, *V21_MARKS):
        return Family.V21
    networks = {key: plain(value) for key, value in checkpoint.items() if isinstance(value, Mapping)}
    if not networks.keys() & {"target_encoder", "encoder", "predictor"}:
        return Family.V1_PROBE if "classifier" in networks else family_of_tensors(tensors)
    encoder = networks.get("target_encoder") or networks.get("encoder", {})
    if is_of_images(encoder):
        return Family.I_JEPA
    return Family.V21 if named is Family.V21 else v_jepa(encoder, networks.get("predictor", {}), named)


def v_jepa(encoder: State, predictor: State, named: Family | None) -> Family:
    """V-JEPA 1 or 2, by the networks of one file and its name; V1_OR_V2 if they contradict or say nothing."""
    positions = encoder.get("pos_embed", predictor.get("predictor_pos_embed"))
    if positions is None or "action_encoder.weight" in predictor:
        return Family.V2  # V-JEPA 1 cannot do without positions, and predicts no actions
    mask_tokens = sum(key.startswith("mask_tokens.") for key in predictor)
    if mask_tokens == 10 or encoder.get("pos_embed", positions).shape[-1] == GIANT:
        return Family.V2
    trained = Family.V1 if mask_tokens == 2 else None
    # Positions that are added are never all zero.
    unused = None if positions.any() else Family.V2
    evidence = {named, trained, unused, GRIDS.get(positions.shape[1])} - {None}
    return evidence.pop() if len(evidence) == 1 else Family.V1_OR_V2


def family_of_tensors(tensors: State) -> Family:
    """The family of tensors that stand without the names of networks, by the names of their own."""
    if holds(tensors, ".q_bias", "encoder_to_decoder"):
        return Family.VIDEO_MAE
    if holds(tensors, "embeddings.patch_embeddings", "encoder.layer."):
        return Family.FACE_TENSORS
    if is_of_images(tensors) or holds(tensors, "cls_token", "decoder_embed"):
        return Family.IMAGES
    one = holds(tensors, "blocks.0.attn.qkv.weight", "predictor_blocks.", "pooler.query_tokens")
    return Family.BARE if one else Family.UNKNOWN


def is_of_images(tensors: State) -> bool:
    """Whether patches are embedded by a 2-D convolution."""
    return any(key.endswith("patch_embed.proj.weight") and value.ndim == 4 for key, value in tensors.items())


def holds(tensors: State, *marks: str) -> bool:
    """Whether a tensor's name contains one of the marks."""
    return any(mark in key for key in tensors for mark in marks)


def plain(network: Mapping[Any, Any]) -> State:
    """The tensors of a network, by their names without the prefixes of wrappers.

    Raises UserError if it is none, or if two of its tensors have one name then.
    """
    require(isinstance(network, Mapping), f"a network in it is a {type(network).__name__}; give another file")
    tensors = {str(key): value for key, value in network.items() if isinstance(value, Tensor)}
    named = {WRAPPERS.sub("", INSERTED.sub("", key)): value for key, value in tensors.items()}
    require(len(named) == len(tensors), "a network in it holds tensors of one name twice; give another file")
    return named


def tensors_of(content: Any, name: str = "", seen: set[int] | None = None) -> State:
    """All tensors in dictionaries and lists within each other, by the names on the way, with dots.

    What is reached by several ways is named by the first of them.
    """
    if isinstance(content, Tensor):
        return {name: content}
    seen = set() if seen is None else seen
    if id(content) in seen or not isinstance(content, Mapping | list | tuple):
        return {}
    seen.add(id(content))
    parts = content.items() if isinstance(content, Mapping) else enumerate(content)
    return {k: v for key, part in parts for k, v in tensors_of(part, f"{name}.{key}", seen).items()}
