"""The file that a finished stage hands over: writing it, and reading its parts.

An export is one safetensors file. It holds weights by part (`ema`, `student`, `predictor`, `probe`,
`ac_predictor` and others), and in its metadata a description of each part as JSON: all that its constructor
takes. So the next stage rebuilds the networks from the file, and an architecture is never written twice.

    export(out / "model.safetensors", {"ema": encoder_part(encoder)}, {"stage": "pretrain"})
    description, state = read_export(out / "model.safetensors", "ema")
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from vjepa.models.ac_predictor import ACPredictor
from vjepa.models.cloned_policy import ClonedPolicy
from vjepa.models.decoder import Decoder
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor
from vjepa.models.probe import AttentiveProbe
from vjepa.models.state_reader import StateReader
from vjepa.weights.facts import ActingFacts
from vjepa.weights.family import READABLE, REMEDIES, family_of
from vjepa.weights.file_kind import check_kind
from vjepa.weights.files import CheckpointError, State, as_checkpoint_error, check_exists
from vjepa.weights.own_facts import checked_facts
from vjepa.weights.settings import values


@dataclass(frozen=True)
class Part:
    """What an export holds of a network: its weights, and its constructor's arguments as JSON values."""

    module: nn.Module
    description: dict


def encoder_part(encoder: Encoder) -> Part:
    """What an export holds of an encoder."""
    return Part(encoder, asdict(encoder.config))


def predictor_part(predictor: Predictor, encoder: EncoderConfig) -> Part:
    """What an export holds of a pretraining predictor.

    encoder: Config of the encoder whose tokens it reads.
    """
    return Part(predictor, {"config": asdict(predictor.config), "encoder": asdict(encoder)})


def probe_part(probe: AttentiveProbe) -> Part:
    """What an export holds of a probe."""
    description = {
        "config": asdict(probe.config),
        "width": probe.head.in_features,
        "classes": probe.head.out_features,
    }
    return Part(probe, description)


def ac_predictor_part(predictor: ACPredictor, encoder: EncoderConfig, acting: ActingFacts) -> Part:
    """What an export holds of an action-conditioned predictor.

    Args:
        predictor: Its weights and config.
        encoder: Config of the encoder whose tokens it reads.
        acting: What it was trained for.
    """
    config = {"config": asdict(predictor.config), "encoder": asdict(encoder)}
    return Part(predictor, config | asdict(acting))


def policy_part(policy: ClonedPolicy, acting: ActingFacts) -> Part:
    """What an export holds of a cloned policy. acting: What it was trained for."""
    return Part(policy, {"config": asdict(policy.config)} | asdict(acting))


def decoder_part(decoder: Decoder, encoder: EncoderConfig, acting: ActingFacts) -> Part:
    """What an export holds of a decoder.

    Args:
        decoder: Its weights and config.
        encoder: Config of the encoder whose tokens it reads.
        acting: Which encoder that is, and the images that it saw; a decoder knows no states or actions.
    """
    config = {"config": asdict(decoder.config), "encoder": asdict(encoder)}
    return Part(decoder, config | asdict(acting))


def state_reader_part(reader: StateReader, view: Mapping[str, object], acting: ActingFacts) -> Part:
    """What an export holds of a reader of the arm's state.

    Args:
        reader: Its weights and config.
        view: The square around the hand that it reads, as plain JSON values.
        acting: What it was trained for.
    """
    description = {"config": asdict(reader.config), "width": reader.token_width, "view": dict(view)}
    return Part(reader, description | asdict(acting))


def whole_state(module: nn.Module, keep: bool) -> State:
    """The weights of a module; empty for a process that does not keep them.

    Where processes share the weights out among them, all call this, and take part in gathering each tensor.
    """
    own = module.state_dict(keep_vars=True)
    # Tied weights have several names. Each is gathered once, and stays tied.
    whole = {}
    for value in own.values():
        if id(value) not in whole:
            tensor = value.detach().full_tensor().cpu() if hasattr(value, "full_tensor") else value.detach()
            whole[id(value)] = tensor if keep else None
    return {key: whole[id(value)] for key, value in own.items()} if keep else {}


def export(
    path: Path,
    parts: Mapping[str, Part],
    info: Mapping[str, object],
    dtype: Literal["float32", "float16"] = "float32",
    writes: bool = True,
) -> None:
    """Write the parts' weights and descriptions, and `info` (plain values) beside them.

    The file appears complete or not at all, so its existence means that the stage is done. With dtype
    `float16` it is half as large; networks that are loaded from it compute in float32 nevertheless.
    Processes that share the weights out among them all call this, and one of them `writes`.
    """
    weights = {}
    for name, part in parts.items():
        for key, value in whole_state(part.module, writes).items():
            kept = value.half() if dtype == "float16" and value.is_floating_point() else value
            # Safetensors refuses tensors that share memory.
            weights[f"{name}.{key}"] = kept.detach().cpu().contiguous().clone()
    if not writes:
        return
    metadata = {"parts": {name: part.description for name, part in parts.items()}, "info": dict(info)}

    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because only within one file system is replacing a file a single step.
    unfinished = path.with_name(path.name + ".unfinished")
    save_file(weights, unfinished, metadata={"vjepa": json.dumps(metadata)})
    unfinished.chmod(0o644)  # safetensors lets only the owner read, but an encoder is there to be shared
    os.replace(unfinished, path)


@as_checkpoint_error
def read_description(path: Path) -> dict:
    """The `parts` and `info` of an export. Raises CheckpointError if the file is not an export of ours."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder and no export; give a file, a stage's model.safetensors")
    if check_kind(path) != "safetensors":
        raise CheckpointError(
            f"{path} is a file of torch, which says nothing of its networks; give a stage's model.safetensors"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        reason = str(error)[:200]  # which may hold all of a header
        raise CheckpointError(
            f"{path} cannot be read as a safetensors file, it is cut off or damaged ({reason}); "
            "copy or download it again"
        ) from error
    if "vjepa" not in metadata:
        raise CheckpointError(f"{path} {not_ours(path)}")
    return checked_description(path, metadata["vjepa"])


def not_ours(path: Path) -> str:
    """What a safetensors file of somebody else is, and what to do."""
    if (path.parent / "config.json").is_file():
        return f"is one file of a Hugging Face model; give its folder, {path.parent}"
    found = family_of(load_file(path), path.name)
    return f"was not written by a stage of this project; it holds {found}; {REMEDIES.get(found, READABLE)}"


def checked_description(path: Path, text: str) -> dict:
    """The description in a file's metadata. Raises CheckpointError if it is not as `export` writes it."""
    try:
        description = values(text)
    except ValueError as error:
        raise CheckpointError(f"{path}: its description is damaged ({error}); give another file") from error
    if not (isinstance(description, dict) and "parts" in description):
        raise CheckpointError(f"{path}: its description lacks what a stage writes; give another file")
    return checked_facts(path, description)


@as_checkpoint_error
def read_schema(source: str | Path, part: str = "ac_predictor") -> dict:
    """The schema of an export's part, such as what the states and actions of an AC predictor mean.

    Raises CheckpointError if the file is not an export of ours, or has no such part.
    """
    return part_description(source, part)["schema"]


@as_checkpoint_error
def read_acting(source: str | Path, part: str = "ac_predictor") -> ActingFacts:
    """What an export's predictor or policy was trained for. Raises CheckpointError as `read_schema`."""
    return ActingFacts.of(part_description(source, part))


def part_description(source: str | Path, part: str) -> dict:
    """What an export says of one of its parts. Raises CheckpointError if it has no such part."""
    parts = read_description(check_exists(source))["parts"]
    if part not in parts:
        raise CheckpointError(
            f"{source} holds {', '.join(parts)} but no part named {part}; give another stage's export"
        )
    return parts[part]


def read_export(path: Path, part: str) -> tuple[dict, State]:
    """Description and weights of one part of our export. Raises CheckpointError if there is no such part."""
    description = part_description(path, part)
    # Names in the file begin with the part's, so the parts of one file cannot collide.
    prefix = f"{part}."
    weights = load_file(path).items()
    state = {key.removeprefix(prefix): value for key, value in weights if key.startswith(prefix)}
    return description, state
