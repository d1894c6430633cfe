"""Hugging Face VJEPA2 directories: their config and tensors. Reading them does not need transformers."""

import json
from pathlib import Path

from safetensors.torch import load_file

from vjepa.models.encoder import EncoderConfig
from vjepa.models.predictor import PredictorConfig
from vjepa.weights.files import CheckpointError, State
from vjepa.weights.keymaps import HF_PROBE, translate


def read_hf_config(folder: Path) -> dict:
    """The content of config.json. Raises CheckpointError if the folder is not a VJEPA2 model."""
    if not (folder / "config.json").is_file():
        exports = [*folder.glob("model.safetensors"), *folder.glob("*/model.safetensors")]
        best = min(exports, key=lambda file: file.parent.name != "cooldown", default=None)
        instead = f"; give a file, such as {best}" if best else ""
        raise CheckpointError(
            f"{folder} has no config.json, so it is not a Hugging Face model directory{instead}"
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{folder}/config.json is cut off or no JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder}/config.json holds a {type(config).__name__}; expected settings")
    if config.get("model_type") != "vjepa2":
        raise CheckpointError(
            f"{folder}/config.json says model_type={config.get('model_type')!r}, expected 'vjepa2'"
        )
    return config


def read_hf(folder: Path) -> tuple[dict, State]:
    """The content of config.json and all tensors, which may be in several files.

    Raises CheckpointError if the folder is not a VJEPA2 model.
    """
    config = read_hf_config(folder)
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} holds no model*.safetensors")
    # A classifier's directory holds the encoder under a further prefix.
    state = {key.removeprefix("vjepa2."): value for file in files for key, value in load_file(file).items()}
    return config, state


def hf_encoder_config(config: dict) -> EncoderConfig:
    """Our config of the encoder, from the content of config.json."""
    # `rope` stays `released`, the layout with which all these weights were trained.
    return EncoderConfig(
        width=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        # Ratios such as 48/11 give a whole width only up to rounding.
        mlp_width=int(config["hidden_size"] * config["mlp_ratio"]),
        patch=config["patch_size"],
        tubelet=config["tubelet_size"],
    )


def hf_predictor_config(config: dict) -> PredictorConfig:
    """Our config of the predictor, from the content of config.json."""
    return PredictorConfig(
        width=config["pred_hidden_size"],
        depth=config["pred_num_hidden_layers"],
        heads=config["pred_num_attention_heads"],
        mlp_width=int(config["pred_hidden_size"] * config["pred_mlp_ratio"]),
        mask_tokens=config["pred_num_mask_tokens"],
    )


def read_hf_probe(folder: Path) -> tuple[State, int]:
    """The tensors of a classifier under our names, and how many heads it has.

    Raises CheckpointError if the folder holds no classifier.
    """
    config, state = read_hf(folder)
    # The encoder of the same directory is read by `load_encoder`.
    state = {key: value for key, value in state.items() if key.startswith(("pooler.", "classifier."))}
    if not state:
        raise CheckpointError(
            f"{folder} holds no classifier; expected the directory of a VJEPA2ForVideoClassification"
        )
    return translate(state, "", HF_PROBE, folder), config["num_attention_heads"]
