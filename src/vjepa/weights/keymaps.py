"""The names of tensors in released weights, as data, and how they become ours."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vjepa.weights.files import CheckpointError, State

# Public names to ours; `{}` is a block's number, `#i` the i-th third of a fused matrix.
UPSTREAM_BLOCK = {
    "{}.norm1": "blocks.{}.norm1",
    "{}.attn.qkv": "blocks.{}.attention.qkv",
    "{}.attn.proj": "blocks.{}.attention.out",
    "{}.norm2": "blocks.{}.norm2",
    "{}.mlp.fc1": "blocks.{}.mlp.0",
    "{}.mlp.fc2": "blocks.{}.mlp.2",
}
UPSTREAM_ENCODER = {
    "patch_embed.proj": "embed",
    "norm": "norm",
    **{f"blocks.{theirs}": ours for theirs, ours in UPSTREAM_BLOCK.items()},
}
UPSTREAM_PREDICTOR = {
    "predictor_embed": "embed",
    "mask_tokens.{}": "mask_tokens#{}",
    "predictor_norm": "norm",
    "predictor_proj": "out",
    **{f"predictor_blocks.{theirs}": ours for theirs, ours in UPSTREAM_BLOCK.items()},
}
UPSTREAM_AC_PREDICTOR = {
    "predictor_embed": "embed",
    "action_encoder": "embed_action",
    "state_encoder": "embed_state",
    "extrinsics_encoder": "embed_extrinsics",
    "predictor_norm": "norm",
    "predictor_proj": "out",
    **{f"predictor_blocks.{theirs}": ours for theirs, ours in UPSTREAM_BLOCK.items()},
}
UPSTREAM_PROBE = {
    "pooler.query_tokens": "pool.query",
    "pooler.cross_attention_block.norm1": "pool.norm1",
    "pooler.cross_attention_block.xattn.q": "pool.attention.q",
    "pooler.cross_attention_block.xattn.kv": "pool.attention.kv",
    "pooler.cross_attention_block.norm2": "pool.norm2",
    "pooler.cross_attention_block.mlp.fc1": "pool.mlp.0",
    "pooler.cross_attention_block.mlp.fc2": "pool.mlp.2",
    "linear": "head",
    **{f"pooler.blocks.{theirs}": f"pool.{ours}" for theirs, ours in UPSTREAM_BLOCK.items()},
}
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
    **{f"layer.{theirs}": ours for theirs, ours in HF_BLOCK.items()},
}
HF_PREDICTOR = {
    "embeddings.predictor_embeddings": "embed",
    "embeddings.mask_tokens": "mask_tokens",
    "layernorm": "norm",
    "proj": "out",
    **{f"layer.{theirs}": ours for theirs, ours in HF_BLOCK.items()},
}
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
    **{f"pooler.self_attention_layers.{theirs}": f"pool.{ours}" for theirs, ours in HF_POOLER_BLOCK.items()},
}


def translate(state: State, prefix: str, table: Mapping[str, str], source: Path) -> State:
    """The tensors under `prefix`, renamed by `table` and brought to our shapes. An unknown key raises."""
    patterns = [
        (re.compile(re.escape(theirs).replace(r"\{\}", r"(\d+)")), ours) for theirs, ours in table.items()
    ]
    renamed = {}
    for key, value in state.items():
        if key.startswith(prefix):
            ours = rename(key.removeprefix(prefix), patterns, source)
            renamed[ours] = our_shape(ours, value)
    return join_thirds(renamed)


def rename(key: str, patterns: list[tuple[re.Pattern, str]], source: Path) -> str:
    module, _, kind = key.rpartition(".")
    if kind not in ("weight", "bias"):
        module, kind = key, ""
    for pattern, ours in patterns:
        if match := pattern.fullmatch(module):
            return ".".join(filter(None, [ours.format(*match.groups()), kind]))
    raise CheckpointError(
        f"{source} holds '{key}', which no V-JEPA 2 network of ours has (V-JEPA 2.1 is not supported yet)"
    )


def our_shape(key: str, value: Tensor) -> Tensor:
    """Our patch embedding is a matrix where theirs is a 3-D convolution; our learned tokens are rows."""
    if key == "embed.weight" and value.ndim == 5:
        return value.flatten(1)
    return value.flatten(0, -2) if "mask_tokens" in key or key == "pool.query" else value


def join_thirds(state: State) -> State:
    """Concatenate `name#0.weight`, `name#1.weight`, ... into `name.weight`."""
    pieces: dict[str, dict[int, Tensor]] = {}
    for key, value in state.items():
        number = re.search(r"#(\d+)", key)
        pieces.setdefault(re.sub(r"#\d+", "", key), {})[int(number[1]) if number else 0] = value
    return {key: torch.cat([values[i] for i in sorted(values)]) for key, values in pieces.items()}


def block_count(state: State) -> int:
    return 1 + max(int(match[1]) for key in state if (match := re.match(r"blocks\.(\d+)\.", key)))
