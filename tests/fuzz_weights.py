"""A small source of weights of every kind, and the call that loads it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.weights.meta_files import meta_ac_predictor, meta_encoder, meta_predictor, meta_probe
from vjepa.features.probe_answers import read_probe_schema
from vjepa.language.alignment_file import read_alignment
from vjepa.language.language_model import (
    LanguageConfig,
    load_language,
    load_tokenizer,
    new_language,
    new_tokenizer,
    save_language,
)
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.anticipation import AnticipationProbe
from vjepa.models.cloned_policy import ClonedPolicy, ClonedPolicyConfig
from vjepa.models.decoder import Decoder, DecoderConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.models.projector import Projector, ProjectorConfig
from vjepa.planning.load import load_world_model
from vjepa.robots.schema import END_EFFECTOR
from vjepa.training.starting_point import check_same_model
from vjepa.training.warm_start import read_networks, start_from
from vjepa.weights.card import read_card
from vjepa.weights.checkpoints import newest_checkpoint
from vjepa.weights.export import (
    Part,
    ac_predictor_part,
    decoder_part,
    encoder_part,
    export,
    policy_part,
    predictor_part,
    probe_part,
)
from vjepa.weights.facts import ActingFacts
from vjepa.weights.load import (
    load_ac_predictor,
    load_anticipation,
    load_encoder,
    load_policy,
    load_predictor,
    load_probe,
)
from vjepa.weights.load_decoder import load_decoder
from vjepa.weights.part_files import encoder_of, part_files

SMALL = EncoderConfig(width=12, depth=1, heads=2, mlp_width=12, patch=4)
NARROW = PredictorConfig(width=12, depth=1, heads=2, mlp_width=12)
ACTING = ACPredictorConfig(width=12, depth=1, heads=2, mlp_width=12)
PROBE = ProbeConfig(depth=1, heads=2)
CLIP = {"frames": 2, "fps": 5.0, "size": 8}


@dataclass(frozen=True)
class Reader:
    """What is read, and how.

    folder  holds the whole input, of one file or several
    files   those that may be damaged -> their kind, as `mutations` names it
    read    called with the folder's copy
    share   inputs that it gets, for each of another reader
    """

    folder: Path
    files: dict[str, str]
    read: Callable[[Path], object]
    share: float = 1.0


def exports(folder: Path) -> dict[str, Reader]:
    """Our exports of all parts."""
    clip = {"layers": [], "clip": CLIP, "targets": "classes", "names": ["left", "right"]}
    use = {"all": 1.5, "x": None}
    acting = ActingFacts(asdict(END_EFFECTOR), size=8, fps=4.0, scales=(1, 2), action_use=use)
    schema = {"verbs": ["a", "b"], "nouns": ["c"], "actions": [["a", "c"], ["b", "c"]]}
    probe = probe_part(AttentiveProbe(PROBE, 12, 2))
    projector = Projector(ProjectorConfig(), 12, 8)
    aligned = {
        "config": asdict(projector.config),
        "width": 12,
        "words": 8,
        "clip": {"frames": 2, "size": 8},
        "context": 64,
        "encoder": {"source": "encoder", "weights": "ema", "digest": "0" * 12},
        "language": {"source": "language", "first": "language", "dtype": "float32", "trained": False},
    }
    policy = ClonedPolicyConfig(tokens=4, token_width=12, narrow=2, width=8)
    parts = {
        "encoder": {
            "ema": encoder_part(Encoder(SMALL)),
            "student": encoder_part(Encoder(SMALL)),
            "predictor": predictor_part(Predictor(NARROW, SMALL), SMALL),
        },
        "predictor": {"predictor": predictor_part(Predictor(NARROW, SMALL), SMALL)},
        "probe": {"probe": Part(probe.module, probe.description | {"schema": clip})},
        "ac": {
            "ema": encoder_part(Encoder(SMALL)),
            "ac_predictor": ac_predictor_part(ACPredictor(ACTING, SMALL), SMALL, acting),
        },
        "policy": {"policy": policy_part(ClonedPolicy(policy), acting)},
        "decoder": {"decoder": decoder_part(Decoder(DecoderConfig(4, 1, 2), SMALL), SMALL, acting)},
        "anticipation": {
            "anticipation": Part(
                AnticipationProbe(PROBE, 12, (2, 1, 2)),
                {"config": asdict(PROBE), "width": 12, "schema": schema},
            )
        },
        "alignment": {"projector": Part(projector, aligned)},
    }
    calls = {
        "encoder": lambda file: [encoded(load_encoder(file)), str(read_card(file)), read_networks(file)[1]],
        "predictor": load_predictor,
        "probe": lambda file: (load_probe(file), read_probe_schema(file), encoder_of(part_files(file))),
        "ac": lambda file: (load_ac_predictor(file), load_world_model(file, file)),
        "policy": lambda file: (load_policy(file), str(read_card(file))),
        "decoder": load_decoder,
        "anticipation": load_anticipation,
        "alignment": lambda file: projected(*read_alignment(file)),
    }
    info = {"stage": "pretrain", "seed": 0, "steps": 3, "clip": CLIP, "scores": {"ours": 0.5}, "notes": ["x"]}
    readers = {}
    for name, content in parts.items():
        export(folder / name / "model.safetensors", content, info)
        readers[f"export: {name}"] = Reader(
            folder / name,
            {"model.safetensors": "safetensors"},
            lambda copy, call=calls[name]: call(copy / "model.safetensors"),
        )
    return readers


def encoded(encoder: Encoder) -> Encoder:
    """The encoder, which must give tokens of a small clip if it was loaded without an error."""
    side = encoder.config.patch
    encoder(torch.zeros(1, 3, encoder.config.tubelet, side, side))
    return encoder


def projected(alignment, state) -> Projector:
    return alignment.projector(state)


def started(file: Path) -> object:
    """Networks that start from a checkpoint, and the checkpoint itself if a run can go on from it."""
    networks = {"encoder": Encoder(SMALL), "target": Encoder(SMALL), "predictor": Predictor(NARROW, SMALL)}
    start_from(file, networks)
    check_same_model(file, {"encoder": asdict(SMALL)}, ())
    return networks, newest_checkpoint(file.parent)


def torch_files(folder: Path) -> dict[str, Reader]:
    """Files as Meta and Lightning write them."""
    state = meta_encoder(Encoder(SMALL))
    released = {
        "encoder": state,
        "target_encoder": {key: value.clone() for key, value in state.items()},
        "predictor": meta_predictor(Predictor(NARROW, SMALL)),
        "epoch": 3,
        "opt": {"param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}]},
    }
    networks = torch.nn.ModuleDict({"encoder": Encoder(SMALL), "target": Encoder(SMALL)})
    networks["predictor"] = Predictor(NARROW, SMALL)
    lightning = {
        "pytorch-lightning_version": "2.6",
        "global_step": 3,
        "epoch": 0,
        "state_dict": networks.state_dict(),
        "networks": {"encoder": asdict(SMALL), "predictor": asdict(NARROW)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]}],
        "callbacks": {"x": {"best": 0.5}},
        **{"lr_schedulers": [], "loops": {"fit_loop": {"epoch_progress": {"total": {"ready": 1}}}}},
        "model_settings": {"encoder": asdict(SMALL), "seed": 0},
    }
    contents = {
        "vjepa2-small.pt": released,
        "vjepa2-ac-small.pt": {"predictor": meta_ac_predictor(ACPredictor(ACTING, SMALL))},
        "vjepa2-probe.pt": {"classifiers": [meta_probe(AttentiveProbe(PROBE, 12, 2))]},
        "step=3.ckpt": lightning,
    }
    calls = {
        "vjepa2-small.pt": lambda file: (
            encoded(load_encoder(file, heads=2)),
            load_predictor(file, heads=2),
            str(read_card(file)),
        ),
        "vjepa2-ac-small.pt": lambda file: load_ac_predictor(file, heads=2),
        "vjepa2-probe.pt": lambda file: load_probe(file, heads=2),
        "step=3.ckpt": started,
    }
    readers = {}
    for name, content in contents.items():
        (folder / Path(name).stem).mkdir(parents=True)
        torch.save(content, folder / Path(name).stem / name)
        readers[f"torch: {name}"] = Reader(
            folder / Path(name).stem, {name: "torch"}, lambda copy, n=name: calls[n](copy / n), 1.5
        )
    return readers


def hugging_face(folder: Path) -> dict[str, Reader]:
    """A directory of Hugging Face's, whole and in two files."""
    from vjepa.weights.keymaps import HF_ENCODER

    config = {"model_type": "vjepa2", "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
    config |= {"mlp_ratio": 1.0, "patch_size": 4, "tubelet_size": 2, "frames_per_clip": 2, "crop_size": 8}
    config |= {"id2label": {"0": "left", "1": "right"}}
    state = {}
    for key, value in Encoder(SMALL).state_dict().items():
        module, _, kind = key.rpartition(".")
        if module == "embed" and kind == "weight":
            value = value.reshape(12, 3, 2, 4, 4)
        for foreign, ours in HF_ENCODER.items():
            name, _, piece = ours.format(0).partition("#")
            if name == module:
                part = value.chunk(3)[int(piece)] if piece else value
                state[f"encoder.{foreign.format(0)}.{kind}"] = part.clone()
    whole = folder / "whole"
    split = folder / "split"
    for place in (whole, split):
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps(config))
    save_file(state, whole / "model.safetensors")
    names = sorted(state)
    halves = {"model-00001-of-00002.safetensors": names[:7], "model-00002-of-00002.safetensors": names[7:]}
    for file, keys in halves.items():
        save_file({key: state[key] for key in keys}, split / file)
    index = {"metadata": {}, "weight_map": {key: file for file, keys in halves.items() for key in keys}}
    (split / "model.safetensors.index.json").write_text(json.dumps(index))

    def read(copy: Path) -> object:
        return encoded(load_encoder(copy)), str(read_card(copy))

    files = {"config.json": "json", "model.safetensors.index.json": "json"} | dict.fromkeys(
        halves, "safetensors"
    )
    return {
        "Hugging Face": Reader(whole, {"config.json": "json", "model.safetensors": "safetensors"}, read, 2.0),
        "Hugging Face, in parts": Reader(split, files, read),
    }


def language_model(folder: Path) -> dict[str, Reader]:
    """A folder of a language model with its tokenizer."""
    tokenizer = new_tokenizer(["What happens here? Nothing."], 300)
    save_language(new_language(len(tokenizer), 8, 1, 2), tokenizer, folder / "language")
    files = {"config.json": "json", "model.safetensors": "safetensors", "generation_config.json": "json"}
    words = {"tokenizer.json": "json", "tokenizer_config.json": "json"}
    return {
        "language model": Reader(
            folder / "language", files, lambda copy: load_language(LanguageConfig(str(copy))), 0.4
        ),
        "tokenizer": Reader(folder / "language", words, lambda copy: len(load_tokenizer(str(copy))), 0.3),
    }
