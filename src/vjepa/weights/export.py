"""Export."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from vjepa.models.ac_predictor import ACPredictor
from vjepa.models.cloned_policy import ClonedPolicy
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor
from vjepa.models.probe import AttentiveProbe
from vjepa.weights.files import CheckpointError, State, existing


@dataclass(frozen=True)
class Part:
    """What an export holds of one network: its weights and what its constructor takes."""

    module: nn.Module
    description: dict


def encoder_part(encoder: Encoder) -> Part:
    return Part(encoder, asdict(encoder.config))


def predictor_part(predictor: Predictor, encoder: EncoderConfig) -> Part:
    return Part(predictor, {"config": asdict(predictor.config), "encoder": asdict(encoder)})


def probe_part(probe: AttentiveProbe) -> Part:
    description = {
        "config": asdict(probe.config),
        "width": probe.head.in_features,
        "classes": probe.head.out_features,
    }
    return Part(probe, description)


def ac_predictor_part(
    predictor: ACPredictor, encoder: EncoderConfig, schema: Mapping[str, object], size: int | None = None
) -> Part:
    """schema: what the numbers of states and actions mean, as plain JSON values; it travels with the weights.
    size: height and width, pixels, of the frames that it learned from."""
    config = {"config": asdict(predictor.config), "encoder": asdict(encoder)}
    return Part(predictor, config | {"schema": dict(schema), "size": size})


def policy_part(policy: ClonedPolicy, schema: Mapping[str, object]) -> Part:
    """schema: as in `ac_predictor_part`."""
    return Part(policy, {"config": asdict(policy.config), "schema": dict(schema)})


def export(path: Path, parts: Mapping[str, Part], info: Mapping[str, object]) -> None:
    """Write the parts' weights and descriptions, and `info` (plain values) beside them; atomic."""
    weights = {
        f"{name}.{key}": value
        for name, part in parts.items()
        for key, value in part.module.state_dict().items()
    }
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in weights.items()}
    described = {"parts": {name: part.description for name, part in parts.items()}, "info": dict(info)}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    save_file(weights, unfinished, metadata={"vjepa": json.dumps(described)})
    unfinished.chmod(0o644)  # safetensors writes for the owner alone, but an encoder is there to be shared
    os.replace(unfinished, path)


def read_description(path: Path) -> dict:
    """The `parts` and `info` of an export. Raises CheckpointError if the file is none of ours."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as a safetensors file: {error}") from error
    if "vjepa" not in metadata:
        raise CheckpointError(
            f"{path} was not written by a stage of this project; give a stage's model.safetensors"
        )
    return json.loads(metadata["vjepa"])


def read_schema(source: str | Path, part: str = "ac_predictor") -> dict:
    """What states and actions mean to the action-conditioned predictor, or another part, in one of our exports."""
    parts = read_description(existing(source))["parts"]
    if part not in parts:
        raise CheckpointError(
            f"{source} holds {', '.join(parts)} but no {part}, so no schema; give an AC stage's export"
        )
    return parts[part]["schema"]


def read_frame_size(source: str | Path) -> int | None:
    """Pixels of the frames that the action-conditioned predictor in one of our exports learned from, if the export says."""
    return read_description(existing(source))["parts"]["ac_predictor"].get("size")


def read_export(path: Path, part: str) -> tuple[dict, State]:
    """Description and weights of one part of our export."""
    parts = read_description(path)["parts"]
    if part not in parts:
        raise CheckpointError(f"{path} holds {', '.join(parts)} but no part named {part}")
    prefix = part + "."
    return parts[part], {
        key.removeprefix(prefix): value for key, value in load_file(path).items() if key.startswith(prefix)
    }
