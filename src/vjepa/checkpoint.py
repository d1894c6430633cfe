"""Hand-over between stages, and bridges from the released weights.

A finished stage writes one safetensors file: weights by part (`ema`, `student`, `predictor`, `probe`, `ac_predictor`), each
part's config as JSON in the metadata. It is written under another name, then renamed: the file's existence means that the
stage is done. The next stage rebuilds the networks from it, so an architecture is never written twice. Lightning's `.ckpt`
files serve resuming, and a cooldown that wants the optimiser state too.

Loading is strict everywhere: a missing, surplus or misshaped tensor is an error that lists them all.
"""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from vjepa.keymaps import (
    HF_ENCODER,
    HF_PREDICTOR,
    HF_PROBE,
    UPSTREAM_AC_PREDICTOR,
    UPSTREAM_ENCODER,
    UPSTREAM_PREDICTOR,
    UPSTREAM_PROBE,
    CheckpointError,
    State,
    block_count,
    translate,
)
from vjepa.models import (
    ACPredictor,
    ACPredictorConfig,
    AttentiveProbe,
    Encoder,
    EncoderConfig,
    GoalPolicy,
    GoalPolicyConfig,
    Predictor,
    PredictorConfig,
    ProbeConfig,
)
from vjepa.models.anticipation import AnticipationProbe

M = TypeVar("M", bound=nn.Module)
Weights = Literal["ema", "student"]

# Upstream files do not say how many heads their weights have; these are the published networks, by width.
RELEASED_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26}


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
    description = {"config": asdict(probe.config), "width": probe.head.in_features, "classes": probe.head.out_features}
    return Part(probe, description)


def ac_predictor_part(
    predictor: ACPredictor, encoder: EncoderConfig, schema: Mapping[str, object], size: int | None = None
) -> Part:
    """schema: what the numbers of states and actions mean, as plain JSON values; it travels with the weights.
    size: height and width, pixels, of the frames that it learned from."""
    config = {"config": asdict(predictor.config), "encoder": asdict(encoder)}
    return Part(predictor, config | {"schema": dict(schema), "size": size})


def policy_part(policy: GoalPolicy, schema: Mapping[str, object]) -> Part:
    """schema: as in `ac_predictor_part`."""
    return Part(policy, {"config": asdict(policy.config), "schema": dict(schema)})


def export(path: Path, parts: Mapping[str, Part], info: Mapping[str, object]) -> None:
    """Write the parts' weights and descriptions, and `info` (plain values) beside them; atomic."""
    weights = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.module.state_dict().items()}
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
        raise CheckpointError(f"{path} was not written by a stage of this project; give a stage's model.safetensors")
    return json.loads(metadata["vjepa"])


def load_encoder(source: str | Path, weights: Weights = "ema", heads: int | None = None) -> Encoder:
    """The encoder in `source`: our export, an upstream `.pt` file, or a Hugging Face directory.

    weights: the averaged target encoder (`ema`, which the papers evaluate) or the trained one (`student`).
    heads: only for an upstream file of unpublished width, which does not say.
    Raises CheckpointError for a source that is missing, of an unknown kind, or does not fit to the last tensor.
    """
    source = existing(source)
    if source.is_dir():
        config, state = read_hf(source)
        return strictly(Encoder(hf_encoder_config(config)), translate(state, "encoder.", HF_ENCODER, source), source)
    if source.suffix == ".safetensors":
        description, state = read_export(source, weights)
        return strictly(Encoder(EncoderConfig(**description)), state, source)
    state = read_upstream(source, "target_encoder" if weights == "ema" else "encoder")
    config = upstream_encoder_config(state, heads, source)
    return strictly(Encoder(config), translate(state, "", UPSTREAM_ENCODER, source), source)


def load_predictor(source: str | Path, heads: int | None = None) -> Predictor:
    """The pretraining predictor in `source`, of the kinds and with the errors of `load_encoder`.

    heads: of an upstream predictor that is not the published 384 x 12 one."""
    source = existing(source)
    if source.is_dir():
        config, state = read_hf(source)
        predictor = Predictor(hf_predictor_config(config), hf_encoder_config(config))
        return strictly(predictor, translate(state, "predictor.", HF_PREDICTOR, source), source)
    if source.suffix == ".safetensors":
        description, state = read_export(source, "predictor")
        encoder = EncoderConfig(**description["encoder"])
        return strictly(Predictor(PredictorConfig(**description["config"]), encoder), state, source)
    state = read_upstream(source, "predictor")
    translated = translate(state, "", UPSTREAM_PREDICTOR, source)
    return strictly(upstream_predictor(translated, heads or 12), translated, source)


def load_probe(source: str | Path, heads: int = 16) -> AttentiveProbe:
    """The attentive probe in the export of a probe stage, the first classifier of an upstream evaluation's `.pt`, or that of
    a Hugging Face directory.

    heads: of an upstream probe, which does not say."""
    if existing(source).is_dir():
        return hf_probe(Path(source))
    if Path(source).suffix == ".pt":
        return upstream_probe(existing(source), heads)
    description, state = read_export(existing(source), "probe")
    probe = AttentiveProbe(ProbeConfig(**description["config"]), description["width"], description["classes"])
    return strictly(probe, state, Path(source))


def load_anticipation(source: str | Path) -> AnticipationProbe:
    """The probe of coming actions in the export of an anticipation stage, whose schema names its classes."""
    description, state = read_export(existing(source), "anticipation")
    sizes = tuple(len(description["schema"][kind]) for kind in ("verbs", "nouns", "actions"))
    return strictly(AnticipationProbe(ProbeConfig(**description["config"]), description["width"], sizes), state, Path(source))


def load_ac_predictor(source: str | Path, heads: int = 16, extrinsics: bool = False) -> ACPredictor:
    """The action-conditioned predictor in the export of an AC stage, or in an upstream `.pt`.

    heads, extrinsics: of an upstream predictor, which does not say. Released files hold a map for the camera's extrinsics
    that training never used; it is left out unless asked for."""
    source = existing(source)
    if source.suffix == ".pt":
        state = read_upstream(source, "predictor")
        used = {key: value for key, value in state.items() if extrinsics or not key.startswith("extrinsics_encoder.")}
        translated = translate(used, "", UPSTREAM_AC_PREDICTOR, source)
        return strictly(upstream_ac_predictor(translated, heads), translated, source)
    description, state = read_export(source, "ac_predictor")
    encoder = EncoderConfig(**description["encoder"])
    return strictly(ACPredictor(ACPredictorConfig(**description["config"]), encoder), state, source)


def load_policy(source: str | Path) -> GoalPolicy:
    """The cloned policy in the export of a clone stage."""
    description, state = read_export(existing(source), "policy")
    return strictly(GoalPolicy(GoalPolicyConfig(**description["config"])), state, Path(source))


def read_schema(source: str | Path, part: str = "ac_predictor") -> dict:
    """What states and actions mean to the action-conditioned predictor, or another part, in one of our exports."""
    parts = read_description(existing(source))["parts"]
    if part not in parts:
        raise CheckpointError(f"{source} holds {', '.join(parts)} but no {part}, so no schema; give an AC stage's export")
    return parts[part]["schema"]


def read_frame_size(source: str | Path) -> int | None:
    """Pixels of the frames that the action-conditioned predictor in one of our exports learned from, if the export says."""
    return read_description(existing(source))["parts"]["ac_predictor"].get("size")


def existing(source: str | Path) -> Path:
    path = Path(source)
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; give a stage's model.safetensors, an upstream .pt or a HF directory")
    return path


def strictly(module: M, state: State, source: Path) -> M:
    """`module` with all of `state` and nothing else loaded."""
    wanted = module.state_dict()
    problems = [f"missing {key}" for key in wanted if key not in state]
    problems += [f"surplus {key}" for key in state if key not in wanted]
    problems += [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    if problems:
        more = f"; and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise CheckpointError(f"{source} does not fit a {type(module).__name__}: {'; '.join(problems[:6])}{more}")
    module.load_state_dict(state, strict=True)
    return module


def read_export(path: Path, part: str) -> tuple[dict, State]:
    """Description and weights of one part of our export."""
    parts = read_description(path)["parts"]
    if part not in parts:
        raise CheckpointError(f"{path} holds {', '.join(parts)} but no part named {part}")
    prefix = part + "."
    return parts[part], {key.removeprefix(prefix): value for key, value in load_file(path).items() if key.startswith(prefix)}


def read_upstream(path: Path, name: str) -> State:
    """One network of a checkpoint of the public trainer, without the wrappers' prefixes."""
    checkpoint = read_pickle(path)
    if name not in checkpoint:
        found = ", ".join(map(str, checkpoint))
        raise CheckpointError(f"{path} holds no '{name}' but {found}; expected a checkpoint of the public V-JEPA 2 trainer")
    return {key.removeprefix("module.").removeprefix("backbone."): value for key, value in checkpoint[name].items()}


def digest(path: Path) -> str:
    """The first twelve hexadecimal digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def read_pickle(path: Path) -> dict:
    """A torch file of plain values and tensors: Lightning's `.ckpt` or an upstream `.pt`; never executes code."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch raises whatever a broken pickle or archive provokes
        raise CheckpointError(f"{path} cannot be read as a checkpoint of tensors: {error}") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} holds a {type(checkpoint).__name__}, expected a dictionary of networks")
    return checkpoint


def newest_checkpoint(folder: Path) -> Path | None:
    """The readable `step=N.ckpt` of the highest N in a folder; a file cut off by a kill is passed over."""
    numbered = {path: re.fullmatch(r"step=(\d+)", path.stem) for path in folder.glob("step=*.ckpt")}
    by_step = sorted((path for path, match in numbered.items() if match), key=lambda path: -int(numbered[path][1]))
    whole = next(filter(is_whole, by_step), None)
    if by_step and whole is None:
        raise CheckpointError(f"none of the checkpoints in {folder} can be read; remove them to start anew")
    return whole


def is_whole(archive: Path) -> bool:
    """Whether a zip file is complete and its checksums hold."""
    if not zipfile.is_zipfile(archive):
        return False
    with zipfile.ZipFile(archive) as members:
        return members.testzip() is None


def checkpoint_in(source: Path) -> Path:
    """The newest checkpoint in a folder of them; any other source, a Hugging Face directory too, is returned as it is."""
    source = existing(source)
    if not source.is_dir() or (source / "config.json").is_file():
        return source
    newest = newest_checkpoint(source)
    if newest is None:
        raise CheckpointError(f"{source} holds no readable step=N.ckpt; run the stage that writes it first")
    return newest


def read_hf(folder: Path) -> tuple[dict, State]:
    """config.json and the tensors of a Hugging Face VJEPA2 directory, sharded or not; needs no transformers."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json, so it is not a Hugging Face model directory")
    config = json.loads((folder / "config.json").read_text())
    if config.get("model_type") != "vjepa2":
        raise CheckpointError(f"{folder}/config.json says model_type={config.get('model_type')!r}, expected 'vjepa2'")
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


def upstream_encoder_config(state: State, heads: int | None, source: Path) -> EncoderConfig:
    """The config that the tensors' shapes imply."""
    width, _, tubelet, patch, _ = state["patch_embed.proj.weight"].shape
    heads = heads or RELEASED_HEADS.get(width)
    if heads is None:
        raise CheckpointError(f"{source}: width {width} is not a published network's, so its heads are unknown; pass heads=")
    mlp_width, depth = state["blocks.0.mlp.fc1.weight"].shape[0], block_count(state)
    return EncoderConfig(width=width, depth=depth, heads=heads, mlp_width=mlp_width, patch=patch, tubelet=tubelet)


def upstream_predictor(translated: State, heads: int) -> Predictor:
    width, encoder_width = translated["embed.weight"].shape
    config = PredictorConfig(
        width=width,
        depth=block_count(translated),
        heads=heads,
        mlp_width=translated["blocks.0.mlp.0.weight"].shape[0],
        mask_tokens=translated["mask_tokens"].shape[0],
    )
    return Predictor(config, EncoderConfig(width=encoder_width, heads=1))


def upstream_ac_predictor(translated: State, heads: int) -> ACPredictor:
    width, encoder_width = translated["embed.weight"].shape
    extrinsics = translated.get("embed_extrinsics.weight")
    config = ACPredictorConfig(
        width=width,
        depth=block_count(translated),
        heads=heads,
        mlp_width=translated["blocks.0.mlp.0.weight"].shape[0],
        action_dim=translated["embed_action.weight"].shape[1],
        state_dim=translated["embed_state.weight"].shape[1],
        extrinsics_dim=0 if extrinsics is None else extrinsics.shape[1],
    )
    return ACPredictor(config, EncoderConfig(width=encoder_width, heads=1))


def upstream_probe(source: Path, heads: int) -> AttentiveProbe:
    networks = read_pickle(source).get("classifiers")
    if not networks:
        raise CheckpointError(f"{source} holds no 'classifiers'; expected a checkpoint of the public evaluation code")
    state = {key.removeprefix("module."): value for key, value in networks[0].items()}
    translated = translate(state, "", UPSTREAM_PROBE, source)
    classes, width = translated["head.weight"].shape
    depth = 1 + len({key.split(".")[2] for key in translated if key.startswith("pool.blocks.")})
    return strictly(AttentiveProbe(ProbeConfig(depth, heads), width, classes), translated, source)


def hf_probe(folder: Path) -> AttentiveProbe:
    config, state = read_hf(folder)
    state = {key: value for key, value in state.items() if key.startswith(("pooler.", "classifier."))}
    if not state:
        raise CheckpointError(f"{folder} holds no classifier; expected the directory of a VJEPA2ForVideoClassification")
    translated = translate(state, "", HF_PROBE, folder)
    classes, width = translated["head.weight"].shape
    depth = 1 + len({key.split(".")[2] for key in translated if key.startswith("pool.blocks.")})
    return strictly(AttentiveProbe(ProbeConfig(depth, config["num_attention_heads"]), width, classes), translated, folder)
