"""Writes networks in the layout of Meta's `.pt` files, with our settings beside them under the name `vjepa`.

    write_meta(Path("vitl.pt"), parts, info)

Meta's programs take the networks by name and pass over the rest.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import safe_open

from vjepa.models.ac_predictor import ACPredictorConfig
from vjepa.models.encoder import EncoderConfig
from vjepa.weights.files import State
from vjepa.weights.heads import AC_PREDICTOR_HEADS, PREDICTOR_HEADS, PROBE_HEADS
from vjepa.weights.meta import OWN, ROPE_PIXELS, predicted_encoder
from vjepa.weights.out.foreign_names import foreign
from vjepa.weights.out.open_parts import ENCODERS, META_MAPS, OpenPart
from vjepa.weights.out.part_settings import settings_of
from vjepa.weights.out.stored import StoredState, write_tensors
from vjepa.weights.released import HEADS, LEVELS
from vjepa.weights.settings import settings

NAMES = {
    "ema": "target_encoder",
    "student": "encoder",
    "predictor": "predictor",
    "ac_predictor": "predictor",
    "probe": "classifiers",
}
"""Part -> the network's name in the file."""
DISTILLED = "ema_encoder"
"""The averaged encoder's in files of distilled networks."""
PREFIXES = {"ac_predictor": "module.", "probe": "module."}
"""What the public programs put before the names of tensors."""
PREFIX = "module.backbone."
"""The same of all other networks."""
USUAL_HEADS = {"predictor": PREDICTOR_HEADS, "ac_predictor": AC_PREDICTOR_HEADS, "probe": PROBE_HEADS}
"""Part -> heads that readers take, by width, where nobody says any."""


def write_meta(path: Path, parts: Mapping[str, OpenPart], info: Mapping[str, Any]) -> None:
    """Write the file.

    Args:
        path: Is made here.
        parts: Any of NAMES, with one predictor at most.
        info: What an export says besides; it is kept beside our settings.
    """
    descriptions = {name: part.description for name, part in parts.items()}
    # Through JSON, so that nothing but plain values is there.
    own = json.loads(json.dumps({"parts": descriptions, "info": dict(info)}))
    networks = meta_tensors(parts)
    # Torch writes what it holds. So the numbers are first written one by one, and then mapped into memory.
    with TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as folder:
        file = Path(folder) / "numbers"
        write_tensors(
            file, {f"{name}/{key}": stored for name in networks for key, stored in networks[name].items()}, {}
        )
        torch.save(mapped_networks(file) | {OWN: own}, path)


def mapped_networks(file: Path) -> dict[str, State | list[State]]:
    """The networks in a file of ours whose tensors' names begin with theirs; classifiers are a list."""
    networks: dict[str, State] = {}
    with safe_open(file, framework="pt") as opened:
        for key in opened.keys():  # noqa: SIM118
            name, _, rest = key.partition("/")
            networks.setdefault(name, {})[rest] = opened.get_tensor(key)
    return {name: [state] if name == NAMES["probe"] else state for name, state in networks.items()}


def meta_tensors(parts: Mapping[str, OpenPart]) -> dict[str, StoredState]:
    """The tensors by network, under Meta's names."""
    networks = {}
    for name, part in parts.items():
        encoder = settings(EncoderConfig, part.description) if name in ENCODERS else None
        state = foreign(part.tensors, META_MAPS[name], PREFIXES.get(name, PREFIX), encoder)
        networks[network_name(name, parts)] = state
    return networks


def network_name(name: str, parts: Mapping[str, OpenPart]) -> str:
    """The name of a part's network in the file."""
    known = parts["predictor"].description["config"] if "predictor" in parts else {}
    return DISTILLED if name == "ema" and known.get("target_width") else NAMES[name]


def untold(parts: Mapping[str, OpenPart]) -> list[str]:
    """What other readers must be told of the networks, since nothing in the file shows it: `ema heads=3`."""
    told = []
    for name, part in parts.items():
        known = settings_of(name, part.description)
        usual = usual_encoder(part) if name in ENCODERS else usual_settings(name, known)
        own = {key: known.get(key, usual[key]) for key in usual}
        said = [f"{short_name(key)}={own[key]}" for key in usual if own[key] != usual[key]]
        told += [f"{name} {', '.join(said)}"] if said else []
    return told


def usual_encoder(part: OpenPart) -> dict[str, Any]:
    """The settings that leave no trace in an encoder's file, as readers take them of its sizes."""
    config = settings(EncoderConfig, part.description)
    usual: dict[str, Any] = {"heads": HEADS.get(config.width)}
    if not config.levels:
        plain = {"rope": "released", "rope_grid": None, "image_tokenizer": False, "modality": False}
        return usual | plain
    published = LEVELS.get(config.depth, ())
    every = tuple(range(config.depth))
    levels = every if len(config.levels) == config.depth else published
    return usual | {"rope": "interleaved", "rope_grid": ROPE_PIXELS // config.patch, "levels": levels}


def short_name(key: str) -> str:
    """A setting without the name of its group, except for `encoder.`, whose tokens a predictor reads."""
    return key.removeprefix("config.").removeprefix("schema.")


def usual_settings(name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a predictor or a probe. known: Its settings, by dotted names."""
    width = known["width" if name == "probe" else "config.width"]
    usual: dict[str, Any] = {"config.heads": USUAL_HEADS[name].get(width)}
    if name == "probe":
        return usual | {"schema.layers": ()}
    # Of an encoder whose tokens have a modality, readers take that it is of V-JEPA 2.1.
    is_new = name == "predictor" and known["encoder.modality"]
    encoder = predicted_encoder(known["encoder.width"], 1, is_new)
    usual |= {"encoder.rope": encoder.rope, "encoder.rope_grid": encoder.rope_grid}
    if name == "ac_predictor":
        default = ACPredictorConfig()
        usual |= {f"config.{key}": getattr(default, key) for key in ("normalise", "merge", "residual")}
    return usual
