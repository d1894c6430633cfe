"""Huggingface."""

import json
from pathlib import Path

from safetensors.torch import load_file

from vjepa.models.encoder import EncoderConfig
from vjepa.models.predictor import PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.weights.files import CheckpointError, State, strictly
from vjepa.weights.keymaps import HF_PROBE, translate


def read_hf(folder: Path) -> tuple[dict, State]:
    """config.json and the tensors of a Hugging Face VJEPA2 directory, sharded or not; needs no transformers."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json, so it is not a Hugging Face model directory")
    config = json.loads((folder / "config.json").read_text())
    if config.get("model_type") != "vjepa2":
        raise CheckpointError(
            f"{folder}/config.json says model_type={config.get('model_type')!r}, expected 'vjepa2'"
        )
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} holds no model*.safetensors")
    state = {key.removeprefix("vjepa2."): value for file in files for key, value in load_file(file).items()}
    return config, state


def hf_encoder_config(config: dict) -> EncoderConfig:
    return EncoderConfig(
        width=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_width=int(config["hidden_size"] * config["mlp_ratio"]),
        patch=config["patch_size"],
        tubelet=config["tubelet_size"],
    )


def hf_predictor_config(config: dict) -> PredictorConfig:
    return PredictorConfig(
        width=config["pred_hidden_size"],
        depth=config["pred_num_hidden_layers"],
        heads=config["pred_num_attention_heads"],
        mlp_width=int(config["pred_hidden_size"] * config["pred_mlp_ratio"]),
        mask_tokens=config["pred_num_mask_tokens"],
    )


def hf_probe(folder: Path) -> AttentiveProbe:
    config, state = read_hf(folder)
    state = {key: value for key, value in state.items() if key.startswith(("pooler.", "classifier."))}
    if not state:
        raise CheckpointError(
            f"{folder} holds no classifier; expected the directory of a VJEPA2ForVideoClassification"
        )
    translated = translate(state, "", HF_PROBE, folder)
    classes, width = translated["head.weight"].shape
    depth = 1 + len({key.split(".")[2] for key in translated if key.startswith("pool.blocks.")})
    return strictly(
        AttentiveProbe(ProbeConfig(depth, config["num_attention_heads"]), width, classes), translated, folder
    )
