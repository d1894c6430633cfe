"""Our networks under the names that Meta's files give them, for files that a test makes."""

import torch
from torch import Tensor

from vjepa.models.ac_predictor import ACPredictor
from vjepa.models.encoder import Encoder
from vjepa.models.predictor import Predictor
from vjepa.models.probe import AttentiveProbe

BLOCK = {"attention.qkv": "attn.qkv", "attention.out": "attn.proj", "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}


def meta_encoder(encoder: Encoder, prefix: str = "module.backbone.") -> dict[str, Tensor]:
    """An encoder's tensors as the public trainer writes them."""
    config = encoder.config
    state = with_modality({meta_name(key): value for key, value in encoder.state_dict().items()})
    names = {"embed": ("patch_embed", config.tubelet), "embed_image": ("patch_embed_img", 1)}
    for ours, (public, frames) in names.items():
        if f"{ours}.bias" in state:
            kernel = (config.width, 3, frames, config.patch, config.patch)
            state[f"{public}.proj.bias"] = state.pop(f"{ours}.bias")
            state[f"{public}.proj.weight"] = state.pop(f"{ours}.weight").reshape(kernel)
    return {f"{prefix}{key.replace('norms.', 'norms_block.')}": value for key, value in state.items()}


def meta_predictor(predictor: Predictor, prefix: str = "module.backbone.") -> dict[str, Tensor]:
    """A predictor's tensors, likewise."""
    names = {
        "blocks.": "predictor_blocks.",
        "out.": "predictor_proj.",
        "out_kept.": "predictor_proj_context.",
    }
    own = with_modality(predictor.state_dict())
    state = {key: own.pop(key) for key in ("img_mod_embed", "video_mod_embed") if key in own}
    for key, value in own.items():
        name = next(
            (names[start] for start in names if key.startswith(start)), f"predictor_{key.partition('.')[0]}."
        )
        state[f"{name}{meta_name(key).partition('.')[2]}"] = value
    tokens = state.pop("predictor_mask_tokens.")
    state |= {f"mask_tokens.{i}": token.reshape(1, 1, -1) for i, token in enumerate(tokens)}
    return {f"{prefix}{key}": value for key, value in state.items()}


def with_modality(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The vectors that tell images from videos, under their public names and in their shape."""
    public = {"modality.image": "img_mod_embed", "modality.video": "video_mod_embed"}
    return {
        public.get(key, key): value.reshape(1, 1, -1) if key in public else value
        for key, value in state.items()
    }


def meta_ac_predictor(predictor: ACPredictor, prefix: str = "module.") -> dict[str, Tensor]:
    """An action-conditioned predictor's tensors, likewise."""
    names = {"embed_action": "action_encoder", "embed_state": "state_encoder", "blocks": "predictor_blocks"}
    names |= {"embed": "predictor_embed", "norm": "predictor_norm", "out": "predictor_proj"}
    return {
        f"{prefix}{names[first]}.{meta_name(rest)}": value
        for key, value in predictor.state_dict().items()
        for first, _, rest in [key.partition(".")]
    }


def meta_probe(probe: AttentiveProbe, prefix: str = "module.") -> dict[str, Tensor]:
    """A probe's tensors as the public evaluation writes them."""
    names = {"pool.blocks.": "pooler.blocks.", "pool.query": "pooler.query_tokens", "head.": "linear."}
    names |= {"pool.attention.": "pooler.cross_attention_block.xattn."}
    state = {}
    for key, value in probe.state_dict().items():
        start = next((name for name in names if key.startswith(name)), "pool.")
        name = names.get(start, "pooler.cross_attention_block.") + meta_name(key.removeprefix(start))
        state[f"{prefix}{name}"] = value[None] if "query" in key else value
    return state


def meta_name(key: str) -> str:
    """The public name of a module within a network."""
    for ours, public in BLOCK.items():
        key = key.replace(ours, public)
    return key


def sines(places: int, width: int) -> Tensor:
    """Fixed positions `1 places width`, as V-JEPA 1 adds them."""
    angles = torch.arange(places)[:, None] / 10000 ** torch.linspace(0, 1, width // 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)[None]
