"""A small input for every reader of files that others wrote, and the call that reads it."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.videos import even_times, write_video
from tests.weights.meta_files import meta_ac_predictor, meta_encoder, meta_predictor, meta_probe
from vjepa.benchmarks.action_files import read_actions
from vjepa.benchmarks.epic_kitchens import EPIC_COLUMNS
from vjepa.benchmarks.question_files import read_questions
from vjepa.data.class_map import read_class_map
from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import read_manifest
from vjepa.evaluation.report import read_scores
from vjepa.features.clip_features import read_clip
from vjepa.features.files import read_features
from vjepa.features.probe_answers import read_probe_schema
from vjepa.language.alignment_file import read_alignment
from vjepa.language.conversation_files import read_captions
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
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.models.projector import Projector, ProjectorConfig
from vjepa.planning.load import load_world_model
from vjepa.planning.recorded_landscape import read_trajectory
from vjepa.robots.readers.lerobot import load_lerobot
from vjepa.robots.schema import END_EFFECTOR, vector_schema
from vjepa.training.run_inputs import RunInputs, read_recipe
from vjepa.training.stage_parser import keys_of
from vjepa.training.starting_point import check_same_model
from vjepa.training.sweep import read_curves, read_sweep
from vjepa.training.warm_start import read_networks, start_from
from vjepa.weights.card import read_card
from vjepa.weights.checkpoints import newest_checkpoint
from vjepa.weights.export import (
    Part,
    ac_predictor_part,
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
from vjepa.weights.part_files import encoder_of, part_files

CONF = Path(__file__).parents[1] / "conf"
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
    acting = ActingFacts(asdict(END_EFFECTOR), size=8, fps=4.0, scales=(1, 2))
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


def features(folder: Path) -> dict[str, Reader]:
    """A folder of features, of today's form and of the old one."""
    (folder / "new").mkdir(parents=True)
    (folder / "old").mkdir()
    columns = {"row": [0, 1], "path": ["a", "b"], "label": [0, -1], "start": [None, 1.5]}
    table = columns | {"shape": [[2], [2]], "features": [[0.5, 1.0], [2.0, 3.0]]}
    pa.parquet.write_table(pa.table(table), folder / "new/000000.parquet")
    (folder / "new/features.json").write_text(json.dumps({"format": "parquet", "shards": 1, "encoder": "x"}))
    (folder / "old/features.json").write_text(json.dumps({"format": "safetensors", "shards": 1}))
    save_file(
        {"features": torch.ones(2, 2)}, folder / "old/000000.safetensors", {"columns": json.dumps(columns)}
    )
    return {
        "features": Reader(
            folder / "new",
            {"features.json": "json", "000000.parquet": "parquet"},
            lambda copy: read_features(copy),
        ),
        "features, old form": Reader(
            folder / "old",
            {"features.json": "json", "000000.safetensors": "safetensors"},
            lambda copy: read_features(copy),
        ),
    }


def recipes(folder: Path) -> dict[str, Reader]:
    """Recipes of stages, sweeps, and what a run recorded of itself."""
    folder.mkdir(parents=True)
    shutil.copy(CONF / "pretrain.yaml", folder / "config.yaml")
    sweep = {"stage": "pretrain", "configs": ["conf/pretrain.yaml"], "runs": {"one": {"model.seed": 1}}}
    (folder / "sweep.yaml").write_text(json.dumps(sweep | {"seeds": [0, 1], "curves": ["loss"]}))
    data = {"train.0": {"source": "x", "count": 3, "unit": "videos", "rows": "0", "files": "1"}}
    record = {"stage": "pretrain", "weights": {"init_from": "0c7a"}, "data": data}
    (folder / "inputs.json").write_text(json.dumps(record))
    return {
        "recipe": Reader(
            folder,
            {"config.yaml": "yaml"},
            lambda copy: (keys_of(str(copy / "config.yaml")), read_recipe(copy / "config.yaml")),
        ),
        "sweep": Reader(folder, {"sweep.yaml": "yaml"}, lambda copy: read_sweep(copy / "sweep.yaml"), 0.5),
        "inputs.json": Reader(folder, {"inputs.json": "json"}, lambda copy: RunInputs(copy).record),
    }


def lists(folder: Path) -> dict[str, Reader]:
    """Lists of videos in every format."""
    folder.mkdir(parents=True)
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(b"0")
    rows = [("path", "label", "start", "end"), ("a.mp4", "0", "0", "1.5"), ("b.mp4", "1", "", "")]
    for ending, separator in (("csv", ","), ("tsv", "\t")):
        with (folder / f"list.{ending}").open("w", newline="") as file:
            csv.writer(file, delimiter=separator).writerows(rows)
    (folder / "list.txt").write_text("a.mp4 0\nb.mp4 1\n")
    table = {"path": ["a.mp4", "b.mp4"], "label": [0, 1], "start": [0.0, None], "end": [1.5, None]}
    pa.parquet.write_table(pa.table(table), folder / "list.parquet")
    (folder / "classes.json").write_text(json.dumps({"left": 0, "right": 1}))
    (folder / "classes.txt").write_text("0 left\n1 right\n")
    kinds = {"csv": "table", "tsv": "table", "txt": "table", "parquet": "parquet"}
    readers = {
        f"list: {ending}": Reader(
            folder,
            {f"list.{ending}": kind},
            lambda copy, ending=ending: read_manifest(copy / f"list.{ending}"),
        )
        for ending, kind in kinds.items()
    }
    for ending, kind in (("json", "json"), ("txt", "table")):
        readers[f"classes: {ending}"] = Reader(
            folder,
            {f"classes.{ending}": kind},
            lambda copy, ending=ending: read_class_map(copy / f"classes.{ending}"),
            0.5,
        )
    return readers


def annotations(folder: Path) -> dict[str, Reader]:
    """Conversations, questions of benchmarks, actions and scores."""
    folder.mkdir(parents=True)
    turns = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "That."}]
    talks = [{"video": "a.mp4", "conversations": turns}] * 2
    (folder / "talks.json").write_text(json.dumps(talks))
    (folder / "talks.jsonl").write_text("\n".join(map(json.dumps, talks)))
    table = {"video": ["a.mp4"] * 2, "conversations": [json.dumps(turns)] * 2}
    pa.parquet.write_table(pa.table(table), folder / "talks.parquet")
    question = {"question": "Which?", "options": ["a", "b", "c"], "answer_id": 1, "area": "x"}
    (folder / "perceptiontest.json").write_text(json.dumps({"v": {"mc_question": [question]}}))
    pair = {
        "video_id": "x_0",
        "video_path": "x.mp4",
        "question": "?",
        "candidates": ["a", "b"],
        "answer": "a",
    }
    (folder / "mvp.json").write_text(json.dumps([pair]))
    moving = {"question": "?", "options": ["a", "b"], "answer": 0, "demonstration_type": "x", "key": "k"}
    (folder / "tomato.json").write_text(json.dumps({"0": moving | {"motion_type": "m"}}))
    row = ("P01", "P01_01", "00:00:01.5", "00:00:02.5", "3", "114", "take", "pan")
    (folder / "epic.csv").write_text("\n".join(map(",".join, [EPIC_COLUMNS, row, row])) + "\n")
    cube = {"name": "cube", "colour": "red", "shape": "cube"}
    events = [{"event": "grasped", "time": 0.5, "object": cube}, {"event": "end", "time": 1.0}]
    camera = {"extrinsics": np.float32([0, 0, 1, 0, 0, 0]), "states": np.full((8, 7), 2, np.float32)}
    np.savez(folder / "0.npz", intrinsics=np.float32([[9, 0, 4], [0, 9, 4], [0, 0, 1]]), **camera)
    (folder / "events.jsonl").write_text(json.dumps({"path": "0.mp4", "events": events}) + "\n")
    scores = [{"name": "encoder", "value": 0.5, "clips": 10, "measure": "accuracy"}]
    (folder / "scores.json").write_text(json.dumps(scores))
    kinds = {"json": "json", "jsonl": "lines", "parquet": "parquet"}
    readers = {
        f"conversations: {ending}": Reader(
            folder, {f"talks.{ending}": kind}, lambda copy, e=ending: read_captions(copy / f"talks.{e}")
        )
        for ending, kind in kinds.items()
    }
    readers |= {
        f"questions: {name}": Reader(
            folder, {f"{name}.json": "json"}, lambda copy, n=name: read_questions(copy / f"{n}.json", n), 0.5
        )
        for name in ("perceptiontest", "mvp", "tomato")
    }
    return readers | {
        "EPIC table": Reader(
            folder, {"epic.csv": "table"}, lambda copy: read_actions(copy / "epic.csv", copy)
        ),
        "events.jsonl": Reader(
            folder,
            {"events.jsonl": "lines", "0.npz": "npz"},
            lambda copy: read_actions(copy / "events.jsonl", None, "place"),
        ),
        "scores.json": Reader(
            folder, {"scores.json": "json"}, lambda copy: read_scores(copy / "scores.json")
        ),
    }


def robots(folder: Path) -> dict[str, Reader]:
    """A LeRobot dataset of two episodes without videos, and a recorded trajectory."""
    states = np.random.default_rng(0).uniform(-1, 1, (12, 2)).astype(np.float32)
    frame = np.tile(np.arange(6), 2)
    state = pa.FixedSizeListArray.from_arrays(pa.array(states.ravel()), 2)
    rows = {"observation.state": state, "action": state, "timestamp": (frame / 5).astype(np.float32)}
    rows |= {"frame_index": frame, "episode_index": np.repeat([0, 1], 6)}
    zeros = np.zeros(2, int)
    episodes = {"episode_index": np.arange(2), "length": np.array([6, 6]), "tasks": pa.array([["x"]] * 2)}
    episodes |= {"data/chunk_index": zeros, "data/file_index": zeros}
    camera = "observation.images.front"
    episodes |= {f"videos/{camera}/chunk_index": zeros, f"videos/{camera}/file_index": zeros}
    episodes |= {f"videos/{camera}/from_timestamp": np.array([0.0, 1.2])}
    episodes |= {f"videos/{camera}/to_timestamp": np.array([1.2, 2.4])}
    feature = {"dtype": "float32", "shape": [2], "names": None}
    info = {"codebase_version": "v3.0", "fps": 5}
    info["features"] = {name: feature for name in rows} | {camera: {"dtype": "video", "shape": [32, 32, 3]}}
    info["data_path"] = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    info["video_path"] = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    lerobot = folder / "lerobot"
    places = {
        "data/chunk-000/file-000.parquet": rows,
        "meta/episodes/chunk-000/file-000.parquet": episodes,
    }
    for place, table in places.items():
        (lerobot / place).parent.mkdir(parents=True, exist_ok=True)
        pa.parquet.write_table(pa.table(table), lerobot / place)
    (lerobot / "meta/info.json").write_text(json.dumps(info))
    film = lerobot / f"videos/{camera}/chunk-000/file-000.mp4"
    film.parent.mkdir(parents=True)
    write_video(film, even_times(12, 5), size=(32, 32))

    (folder / "npz").mkdir()
    frames = np.zeros((1, 3, 8, 8, 3), np.uint8)
    np.savez_compressed(folder / "npz/arm.npz", observations=frames, states=np.zeros((1, 3, 7)))
    files = {"meta/info.json": "json"} | dict.fromkeys(places, "parquet")
    joints = vector_schema(("a", "b"), "rad", 0.5)
    return {
        "LeRobot": Reader(lerobot, files, lambda copy: load_lerobot(copy, joints), 2.0),
        "trajectory.npz": Reader(
            folder / "npz", {"arm.npz": "npz"}, lambda copy: read_trajectory(copy / "arm.npz")
        ),
    }


def pictures(folder: Path) -> dict[str, Reader]:
    """A video, an image, and a log of TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    folder.mkdir(parents=True)
    write_video(folder / "clip.mp4", even_times(8, 5), size=(32, 32))
    image = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)).save(image, "png")
    (folder / "image.png").write_bytes(image.getvalue())
    (folder / "log").mkdir()
    with SummaryWriter(folder / "log") as writer:
        for step in range(5):
            writer.add_scalar("loss", 1 / (step + 1), step)
    events = next((folder / "log").iterdir()).name
    clip = ClipConfig(**CLIP, short="hold")
    return {
        "video": Reader(folder, {"clip.mp4": "bytes"}, lambda copy: read_clip(copy / "clip.mp4", clip)),
        "image": Reader(folder, {"image.png": "png"}, lambda copy: read_clip(copy / "image.png", clip)),
        "event log": Reader(folder / "log", {events: "events"}, lambda copy: read_curves(copy, ["loss"])),
    }


def readers(folder: Path) -> dict[str, Reader]:
    """Every reader by its name, with its input below the folder."""
    torch.manual_seed(0)
    found: dict[str, Reader] = {}
    for inputs in (exports, torch_files, hugging_face, language_model, features, recipes, lists, annotations):
        found |= inputs(folder / inputs.__name__)
    return found | robots(folder / "robots") | pictures(folder / "pictures")
