"""The names of tensors in Meta's files and in Hugging Face directories, as data, and how they become ours.

Maps go from a foreign module's name to ours. `{}` is a block's number. `#i` marks the i-th piece of a tensor
that we hold in one: queries, keys and values of a fused matrix, or single mask tokens.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from vjepa.weights.files import CheckpointError, State

# Meta's encoders, predictors and probes have one kind of block.
META_BLOCK = {
    "{}.norm1": "blocks.{}.norm1",
    "{}.attn.qkv": "blocks.{}.attention.qkv",
    "{}.attn.proj": "blocks.{}.attention.out",
    "{}.norm2": "blocks.{}.norm2",
    "{}.mlp.fc1": "blocks.{}.mlp.0",
    "{}.mlp.fc2": "blocks.{}.mlp.2",
}
# What V-JEPA 2.1 adds to both: vectors that tell images from videos.
META_MODALITY = {"img_mod_embed": "modality.image", "video_mod_embed": "modality.video"}
META_ENCODER = {
    "patch_embed.proj": "embed",
    "patch_embed_img.proj": "embed_image",
    **META_MODALITY,
    "norm": "norm",
    "norms_block.{}": "norms.{}",
    **{f"blocks.{name}": ours for name, ours in META_BLOCK.items()},
}
META_PREDICTOR = {
    "predictor_embed": "embed",
    "predictor_embed.{}": "embed.{}",
    "mask_tokens.{}": "mask_tokens#{}",
    **META_MODALITY,
    "predictor_norm": "norm",
    "predictor_proj": "out",
    "predictor_proj_context": "out_kept",
    **{f"predictor_blocks.{name}": ours for name, ours in META_BLOCK.items()},
}
# Public AC files also hold the map of the extrinsics, which training never used (`load_ac_predictor`).
META_AC_PREDICTOR = {
    "predictor_embed": "embed",
    "action_encoder": "embed_action",
    "state_encoder": "embed_state",
    "extrinsics_encoder": "embed_extrinsics",
    "predictor_norm": "norm",
    "predictor_proj": "out",
    **{f"predictor_blocks.{name}": ours for name, ours in META_BLOCK.items()},
}
META_PROBE = {
    "pooler.query_tokens": "pool.query",
    "pooler.cross_attention_block.norm1": "pool.norm1",
    "pooler.cross_attention_block.xattn.q": "pool.attention.q",
    "pooler.cross_attention_block.xattn.kv": "pool.attention.kv",
    "pooler.cross_attention_block.norm2": "pool.norm2",
    "pooler.cross_attention_block.mlp.fc1": "pool.mlp.0",
    "pooler.cross_attention_block.mlp.fc2": "pool.mlp.2",
    "linear": "head",
    **{f"pooler.blocks.{name}": f"pool.{ours}" for name, ours in META_BLOCK.items()},
}
# Transformers splits the fused matrix of queries, keys and values.
HF_BLOCK = {
    "{}.norm1": "blocks.{}.norm1",
    "{}.attention.query": "blocks.{}.attention.qkv#0",
    "{}.attention.key": "blocks.{}.attention.qkv#1",
    "{}.attention.value": "blocks.{}.attention.qkv#2",
    "{}.attention.proj": "blocks.{}.attention.out",
    "{}.norm2": "blocks.{}.norm2",
    "{}.mlp.fc1": "blocks.{}.mlp.0",
    "{}.mlp.fc2": "blocks.{}.mlp.2",
}
HF_ENCODER = {
    "embeddings.patch_embeddings.proj": "embed",
    "layernorm": "norm",
    **{f"layer.{name}": ours for name, ours in HF_BLOCK.items()},
}
HF_PREDICTOR = {
    "embeddings.predictor_embeddings": "embed",
    "embeddings.mask_tokens": "mask_tokens",
    "layernorm": "norm",
    "proj": "out",
    **{f"layer.{name}": ours for name, ours in HF_BLOCK.items()},
}
# The blocks of a classifier's pooler have names of their own.
HF_POOLER_BLOCK = {
    "{}.layer_norm1": "blocks.{}.norm1",
    "{}.self_attn.q_proj": "blocks.{}.attention.qkv#0",
    "{}.self_attn.k_proj": "blocks.{}.attention.qkv#1",
    "{}.self_attn.v_proj": "blocks.{}.attention.qkv#2",
    "{}.self_attn.out_proj": "blocks.{}.attention.out",
    "{}.layer_norm2": "blocks.{}.norm2",
    "{}.mlp.fc1": "blocks.{}.mlp.0",
    "{}.mlp.fc2": "blocks.{}.mlp.2",
}
HF_PROBE = {
    "pooler.query_tokens": "pool.query",
    "pooler.cross_attention_layer.layer_norm1": "pool.norm1",
    "pooler.cross_attention_layer.cross_attn.q_proj": "pool.attention.q",
    "pooler.cross_attention_layer.cross_attn.k_proj": "pool.attention.kv#0",
    "pooler.cross_attention_layer.cross_attn.v_proj": "pool.attention.kv#1",
    "pooler.cross_attention_layer.layer_norm2": "pool.norm2",
    "pooler.cross_attention_layer.mlp.fc1": "pool.mlp.0",
    "pooler.cross_attention_layer.mlp.fc2": "pool.mlp.2",
    "classifier": "head",
    **{f"pooler.self_attention_layers.{name}": f"pool.{ours}" for name, ours in HF_POOLER_BLOCK.items()},
}


def translate(state: State, prefix: str, keymap: Mapping[str, str], source: Path) -> State:
    """The tensors whose names begin with `prefix`, renamed by `keymap` and brought to our shapes.

    Raises CheckpointError for a name that the map does not know; `source` is named in it.
    """
    patterns = patterns_of(keymap)
    renamed = {}
    for key, value in state.items():
        if key.startswith(prefix):
            ours = rename(key.removeprefix(prefix), patterns, source)
            # On `meta`, torch's device of tensors without numbers, none is read from the file.
            renamed[ours] = our_shape(ours, value.to(torch.get_default_device()))
    return join_pieces(renamed)


def patterns_of(keymap: Mapping[str, str]) -> dict[re.Pattern, str]:
    """The map with patterns in place of foreign names, whose groups are the numbers of blocks."""
    # re.escape has escaped the braces too.
    return {re.compile(re.escape(name).replace(r"\{\}", r"(\d+)")): ours for name, ours in keymap.items()}


def rename(key: str, patterns: Mapping[re.Pattern, str], source: Path) -> str:
    """Our name of a tensor: the module's part is translated, a final `weight` or `bias` stays."""
    module, _, kind = key.rpartition(".")
    # Learned tokens are parameters without a module around them.
    if kind not in ("weight", "bias"):
        module = key
        kind = ""
    for pattern, ours in patterns.items():
        # The whole name has to match, since `norm` also begins `norm1`.
        if match := pattern.fullmatch(module):
            return ".".join(filter(None, [ours.format(*match.groups()), kind]))
    raise CheckpointError(
        f"{source} holds '{key}', which no V-JEPA 2 network of ours has; give the file as it was published"
    )


def our_shape(key: str, value: Tensor) -> Tensor:
    """A tensor under our name, in our shape."""
    if key in ("embed.weight", "embed_image.weight") and value.ndim == 5:
        # Tubelets are embedded by a 3-D convolution there; here the same weights are a matrix. The
        # `embed.weight` of a predictor is a matrix in both.
        return rearrange(value, "d c t h w -> d (c t h w)")
    if "mask_tokens" in key or key == "pool.query":
        # Learned tokens have a batch axis there; here they are rows.
        return rearrange(value, "... d -> (...) d")
    if key.startswith("modality."):
        return rearrange(value, "... d -> (... d)")
    return value


def join_pieces(state: State) -> State:
    """Concatenate `name#0.weight`, `name#1.weight`, ... into `name.weight`."""
    pieces: dict[str, dict[int, Tensor]] = {}
    for key, value in state.items():
        number = re.search(r"#(\d+)", key)
        name = re.sub(r"#\d+", "", key)
        pieces.setdefault(name, {})[int(number[1]) if number else 0] = value
    # In the order of the numbers, since a file may hold 10 before 2.
    return {name: torch.cat([values[i] for i in sorted(values)]) for name, values in pieces.items()}


def block_count(state: State, prefix: str) -> int:
    """Number of blocks that have tensors under `prefix`: one more than the highest number."""
    numbers = [int(match[1]) for key in state if (match := re.match(rf"{re.escape(prefix)}(\d+)\.", key))]
    return 1 + max(numbers, default=-1)
