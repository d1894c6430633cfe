"""Hugging Face VJEPA2 directories: their config and tensors. Reading them does not need transformers."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vjepa.errors import announce, require
from vjepa.models.encoder import EncoderConfig
from vjepa.models.predictor import PredictorConfig
from vjepa.weights.checksums import check_numbers
from vjepa.weights.family import READABLE, Family
from vjepa.weights.file_kind import check_kind
from vjepa.weights.files import CheckpointError, State
from vjepa.weights.pickles import read_pickle
from vjepa.weights.settings import settings, values

HF_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "mlp_ratio")
HF_PARTS = {"encoder.": "ema", "predictor.": "predictor", "pooler.": "probe", "classifier.": "probe"}
"""First words of tensors' names -> the part of an export that they are."""
ENDINGS = (".pt", ".pth", ".pth.tar", ".safetensors")
V21_SETTINGS = ("use_modality_embeddings", "interpolate_rope", "img_temporal_dim_size", "teacher_embed_dim")
"""Settings in config.json that only V-JEPA 2.1 has."""
COMPUTED = {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "qkv_bias": True, "in_chans": 3}
"""Settings of what these networks compute, of which nothing else is known here; defaults of transformers'."""
MOST_BYTES = 2**26
"""Bytes of a file of JSON. The index of a network of ten thousand tensors takes 1 million of them."""


def read_hf_config(folder: Path) -> dict:
    """The content of config.json. Raises CheckpointError if the folder is not a VJEPA2 model."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder} has no config.json, so it is not a Hugging Face model directory{instead_of(folder)}"
        )
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder}/config.json holds a {type(config).__name__}; expected settings")
    if config.get("model_type") != "vjepa2":
        raise CheckpointError(
            f"{folder}/config.json says model_type={repr(config.get('model_type'))[:80]}, expected 'vjepa2'; "
            f"{READABLE}"
        )
    if any(config.get(key) for key in V21_SETTINGS):
        raise CheckpointError(
            f"{folder} holds {Family.V21} in a form that is not known here; give Meta's file of it, such as "
            "vjepa2_1_vitl_dist_vitG_384.pt"
        )
    check_computed(folder, config)
    if config.get("auto_map"):
        announce(f"{folder}/config.json names code of the model's own (auto_map), which is not run")
    return config


def check_computed(folder: Path, config: dict) -> None:
    """Raise CheckpointError for settings of a computation that these networks do not do."""
    quantised = {"quantization_config": None} if config.get("quantization_config") else {}
    for key, value in (COMPUTED | quantised).items():
        given = config.get(key, value)
        if given != value:
            raise CheckpointError(
                f"{folder}/config.json says {key}={repr(given)[:80]}, and these networks compute with "
                f"{value} alone; give the folder as it was published"
            )


def read_json(path: Path) -> Any:
    """The values in a file of JSON. Raises CheckpointError if it is none."""
    check_json(path)
    try:
        return values(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is cut off or no JSON ({error}); download it again") from error


def check_json(path: Path) -> None:
    """Raise CheckpointError for what cannot be a file of JSON, and would fill the memory."""
    if not os.path.exists(path):  # also where the system refuses to look, which reading it tells
        return
    if not path.is_file():
        raise CheckpointError(f"{path} is a folder, a device or a pipe; download the file again")
    size = path.stat().st_size
    if size > MOST_BYTES:
        reason = f"has {size:,} bytes, more than the {MOST_BYTES:,} that such a file takes"
        raise CheckpointError(f"{path} {reason}; download it again")


def instead_of(folder: Path) -> str:
    """What to give instead of a folder without config.json, as the end of a sentence."""
    exports = [*folder.glob("model.safetensors"), *folder.glob("*/model.safetensors")]
    checkpoint = next(folder.glob("*.ckpt"), None)
    if checkpoint:  # beside the folder of a run's checkpoints lies its export
        exports += folder.parent.glob("model.safetensors")
    others = [file for ending in ENDINGS for file in sorted(folder.glob(f"*{ending}"))]
    best = min(exports, key=lambda file: file.parent.name != "cooldown", default=None)
    if best or others:
        return f"; give a file, such as {best or others[0]}"
    if checkpoint:
        return " but a run's checkpoints; give the model.safetensors that its stage writes at the end"
    if cached := next(folder.glob("snapshots/*/config.json"), None):
        return f"; give {cached.parent}"
    if next(folder.glob("*processor_config.json"), None):
        return " but a processor alone; download config.json and model.safetensors too"
    return f"; {READABLE}"


def hf_files(folder: Path) -> list[Path]:
    """The files of tensors in a folder. Raises CheckpointError if one is missing, or is none."""
    for name, ending in (("model*", ".safetensors"), ("pytorch_model*", ".bin")):
        indices = sorted(folder.glob(f"{name}{ending}.index.json"))
        files = sorted(folder.glob(f"*{ending}" if indices else f"{name}{ending}"))
        if files:
            return chosen_files(files, indices)
    raise CheckpointError(f"{folder} holds a config.json but no model.safetensors; download it too")


def chosen_files(files: list[Path], indices: list[Path]) -> list[Path]:
    """Those of a folder's files that make up the model: the ones that an index names, or the whole one.

    Raises CheckpointError as `index_names`.
    """
    if not indices:
        whole = [file for file in files if file.stem in ("model", "pytorch_model")]
        return whole or files
    names = index_names(indices[0], [file.name for file in files if os.path.exists(file)])
    return [file for file in files if file.name in names]


def index_names(index: Path, there: Collection[str]) -> set[str]:
    """The files that an index says hold tensors. there: The names of the files beside it.

    Raises CheckpointError if it names another one, such as a path that leads out of the folder, or one of
    another kind than its own name says.
    """
    known = read_json(index)
    places = known.get("weight_map") if isinstance(known, dict) else None
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{index} does not say which file holds which tensor; download it again")
    names = set(map(str, places.values()))
    ending = Path(index.name.removesuffix(".index.json")).suffix
    others = {name: f"is no {ending}" for name in names if not name.endswith(ending)}
    others |= {name: "is not in its folder" for name in names if "/" in name}
    if others:
        name = min(others)
        raise CheckpointError(
            f"{index} names {name[:80]}, which {others[name]}; such a file is never read, so download the "
            "folder again from where you trust"
        )
    missing = sorted(names - set(there))
    if missing:
        raise CheckpointError(
            f"{index} names {missing[0][:80]}, one of {len(missing)} files that are not there; "
            "download the folder again"
        )
    return names


def read_hf(folder: Path) -> State:
    """All tensors of a model's networks, which may be in several files.

    Raises CheckpointError as `hf_files`, and if no tensor is known.
    """
    tensors = [item for file in hf_files(folder) for item in read_tensors(file).items()]
    # A classifier's directory holds the encoder under a further prefix.
    named = {key.removeprefix("vjepa2."): value for key, value in tensors}
    if len(named) < len(tensors):
        raise CheckpointError(f"{folder} holds tensors of one name in several files; download it anew")
    known = {key: value for key, value in named.items() if key.startswith(tuple(HF_PARTS))}
    if not known:
        others = f" of V-JEPA 2, but {', '.join(list(named)[:2])}" if named else ""
        raise CheckpointError(f"{folder} holds no tensors{others}; download it again")
    return known


def read_tensors(file: Path) -> State:
    """The tensors of one file, of either kind. Raises CheckpointError if it is none, or is cut off."""
    if check_kind(file) == "torch":
        state = {key: value for key, value in read_pickle(file).items() if isinstance(value, Tensor)}
        check_numbers(file, state)
        return state
    try:
        with safe_open(file, framework="pt") as opened:
            if "vjepa" in (opened.metadata() or {}):
                raise CheckpointError(
                    f"{file} is a stage's export, which needs no config.json; give that file"
                )
            return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        reason = str(error)[:200]  # which may hold all of a header
        raise CheckpointError(f"{file} is cut off or damaged ({reason}); download it again") from error


def check_known(config: dict, *keys: str) -> None:
    """Raise UserError that names the settings which config.json lacks, or which are no numbers."""
    missing = [key for key in keys if not isinstance(config.get(key), int | float)]
    require(not missing, f"config.json lacks a number for {', '.join(missing)}; download the folder again")


def hf_encoder_config(config: dict) -> EncoderConfig:
    """Our config of the encoder, from the content of config.json. Raises UserError for one that is cut."""
    check_known(config, *HF_SIZES, "patch_size", "tubelet_size")
    # `rope` stays `released`, the layout with which all these weights were trained.
    sizes = {
        "width": config["hidden_size"],
        "depth": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        # Ratios such as 48/11 give a whole width only up to rounding.
        "mlp_width": int(config["hidden_size"] * config["mlp_ratio"]),
        "patch": config["patch_size"],
        "tubelet": config["tubelet_size"],
    }
    return settings(EncoderConfig, sizes)


def hf_predictor_config(config: dict) -> PredictorConfig:
    """Our config of the predictor, from the content of config.json. Raises UserError for one that is cut."""
    check_known(config, *(f"pred_{key}" for key in HF_SIZES), "pred_num_mask_tokens")
    sizes = {
        "width": config["pred_hidden_size"],
        "depth": config["pred_num_hidden_layers"],
        "heads": config["pred_num_attention_heads"],
        "mlp_width": int(config["pred_hidden_size"] * config["pred_mlp_ratio"]),
        "mask_tokens": config["pred_num_mask_tokens"],
    }
    return settings(PredictorConfig, sizes)


def read_hf_part(folder: Path, part: str) -> State:
    """The tensors of one network, under transformers' names. Raises CheckpointError if there are none."""
    before = tuple(prefix for prefix, name in HF_PARTS.items() if name == part)
    state = {key: value for key, value in read_hf(folder).items() if key.startswith(before)}
    if not state:
        raise CheckpointError(
            f"{folder} holds no {part}; give the weights that it was written from, or a folder with one"
        )
    return state
