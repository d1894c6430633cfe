"""Writes networks as a directory that transformers loads: `VJEPA2Model`, or `VJEPA2ForVideoClassification`.

    write_hf(folder, parts, clip, info, text)

Nothing of transformers is needed for it. The directory holds config.json, the tensors, the settings of a
video processor, and README.md.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vjepa.models.encoder import EncoderConfig
from vjepa.models.layers import EPS
from vjepa.models.predictor import PredictorConfig
from vjepa.models.probe import ProbeConfig
from vjepa.weights.facts import ClipFacts
from vjepa.weights.keymaps import HF_ENCODER, HF_PREDICTOR, HF_PROBE
from vjepa.weights.meta import OWN
from vjepa.weights.out.foreign_names import foreign
from vjepa.weights.out.open_parts import PLACEHOLDER, OpenPart
from vjepa.weights.out.portable import MEAN, STD
from vjepa.weights.out.stored import StoredState, write_tensors
from vjepa.weights.probe_schema import TARGETS
from vjepa.weights.settings import settings

LARGEST_FILE = 5 * 10**9
"""Bytes of a file of tensors. A larger model has several."""
PROCESSOR = "VideoLlavaVideoProcessor"
"""Resizes the shorter side to the size of the clip and takes the middle, as our evaluation does.
VJEPA2VideoProcessor always makes it larger by 256/224, and so cuts off an eighth of the picture."""
BILINEAR = 2
"""PIL's number of the filter."""
FORBIDDEN = ("image_tokenizer", "modality", "rope_grid")
"""Settings of V-JEPA 2.1's encoder that transformers' has not, and that its tokens depend on."""


def why_not_encoder(config: EncoderConfig) -> str | None:
    """Why transformers' VJEPA2 cannot compute what such an encoder does; None if it can."""
    turned = (
        "transformers' VJEPA2 turns queries and keys by the layout `released`, as Meta's weights of V-JEPA 2"
    )
    new = [key for key in FORBIDDEN if getattr(config, key)]
    if new:
        return f"{turned}, and has no {', '.join(new)}; give --to meta"
    if config.rope != "released":
        return f"{turned}, and this encoder by the layout {config.rope}; give --to meta"
    return None


def why_not_predictor(config: PredictorConfig, encoder: EncoderConfig) -> str | None:
    """The same of a predictor that reads this encoder."""
    if config.dense or config.target_width:
        return "transformers' has one output and no teacher"
    several = len(encoder.levels) > 1
    return "it predicts the tokens of several levels, and transformers' of one" if several else None


def why_not_probe(description: Mapping[str, Any], encoder: EncoderConfig) -> str | None:
    """The same of a probe that reads this encoder."""
    config = settings(ProbeConfig, description["config"])
    layers = set(description.get("schema", {}).get("layers", ())) - {-1, encoder.depth - 1}
    if layers:
        return "it reads other layers than the last, which is what transformers' reads"
    if not config.depth:
        return "it is linear, and transformers' pooler attends"
    if config.heads != encoder.heads:
        return f"it has {config.heads} heads, and transformers' as many as the encoder, {encoder.heads}"
    return None


def write_hf(
    folder: Path, parts: Mapping[str, OpenPart], clip: ClipFacts, info: Mapping[str, Any], text: str
) -> None:
    """Write the directory.

    Args:
        folder: Is made here.
        parts: `ema`, the encoder, and `predictor` and `probe` if there are any.
        clip: Frames and size, from which transformers takes the token grid.
        info: What an export says besides; it is kept in config.json.
        text: README.md.
    """
    folder.mkdir()
    config = hf_config(parts, clip)
    descriptions = {name: part.description for name, part in parts.items()}
    config[OWN] = {"parts": descriptions, "info": dict(info)}
    write_json(folder / "config.json", config)
    write_json(folder / "video_preprocessor_config.json", processor_config(clip.size))
    write_model(folder, hf_tensors(parts))
    (folder / "README.md").write_text(text, encoding="utf-8")


def hf_config(parts: Mapping[str, OpenPart], clip: ClipFacts) -> dict[str, Any]:
    """The content of config.json, without what is ours."""
    encoder = settings(EncoderConfig, parts["ema"].description)
    kind = "VJEPA2ForVideoClassification" if "probe" in parts else "VJEPA2Model"
    config = {"architectures": [kind], "model_type": "vjepa2", "dtype": "float32"}
    config |= {"crop_size": clip.size, "frames_per_clip": clip.frames, "in_chans": 3}
    config |= {"patch_size": encoder.patch, "tubelet_size": encoder.tubelet}
    config |= sizes(encoder) | {"initializer_range": encoder.init_std}
    config |= {"layer_norm_eps": EPS, "qkv_bias": True, "hidden_act": "gelu", "drop_path_rate": 0.0}
    config |= {"attention_dropout": 0.0, "attention_probs_dropout_prob": 0.0}
    if "predictor" in parts:
        predictor = settings(PredictorConfig, parts["predictor"].description["config"])
        config |= {f"pred_{key}": value for key, value in sizes(predictor).items()}
        config["pred_num_mask_tokens"] = predictor.mask_tokens
    return config | (probe_config(parts["probe"].description) if "probe" in parts else {})


def sizes(config: EncoderConfig | PredictorConfig) -> dict[str, Any]:
    """The sizes of an encoder or a predictor under transformers' names."""
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "mlp_ratio": ratio(config.width, config.mlp_width),
    }


def ratio(width: int, hidden: int) -> float:
    """The number that makes `hidden` of `width`, where the product is cut off to a whole number."""
    exact = hidden / width
    return exact if int(width * exact) == hidden else math.nextafter(exact, math.inf)


def probe_config(description: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says of a classifier. Classes without names are called as transformers does."""
    schema = description.get("schema", {})
    numbers = range(description["classes"])
    names = list(schema.get("names") or [f"{PLACEHOLDER}{number}" for number in numbers])
    kinds = {ours: theirs for theirs, ours in TARGETS.items()}
    # The last block, which reads with a query, is not counted there.
    return {
        "num_pooler_layers": settings(ProbeConfig, description["config"]).depth - 1,
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": kinds.get(schema.get("targets"), "single_label_classification"),
    }


def processor_config(size: int) -> dict[str, Any]:
    """The content of video_preprocessor_config.json: our evaluation's square, mean and deviation."""
    return {
        "video_processor_type": PROCESSOR,
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": BILINEAR,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
        "do_sample_frames": False,
    }


def hf_tensors(parts: Mapping[str, OpenPart]) -> StoredState:
    """All tensors under transformers' names."""
    # A classifier holds the encoder as a module of its own.
    before = "vjepa2." if "probe" in parts else ""
    encoder = settings(EncoderConfig, parts["ema"].description)
    tensors = foreign(parts["ema"].tensors, HF_ENCODER, f"{before}encoder.", encoder)
    if "predictor" in parts:
        tensors |= foreign(parts["predictor"].tensors, HF_PREDICTOR, f"{before}predictor.", None)
    if "probe" in parts:
        tensors |= foreign(parts["probe"].tensors, HF_PROBE, "", None)
    return tensors


def write_model(folder: Path, tensors: StoredState) -> None:
    """Write the tensors: one file, or several and an index of them."""
    files = files_of(tensors)
    if len(files) == 1:
        write_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
        return
    places = {}
    for number, state in enumerate(files, start=1):
        name = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        write_tensors(folder / name, state, {"format": "pt"})
        places |= dict.fromkeys(state, name)
    total = sum(stored.size for stored in tensors.values())
    write_json(
        folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places}
    )


def files_of(tensors: StoredState) -> list[StoredState]:
    """The tensors by the file that takes them."""
    files: list[StoredState] = [{}]
    size = 0
    for key, stored in tensors.items():
        if size + stored.size > LARGEST_FILE and files[-1]:
            files.append({})
            size = 0
        files[-1][key] = stored
        size += stored.size
    return files


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values as a readable text of JSON."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
