"""A small input for every reader of files that others wrote, and the call that reads it."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.fuzz_weights import CLIP, Reader, exports, hugging_face, language_model, torch_files
from tests.videos import even_times, write_video
from vjepa.benchmarks.action_files import read_actions
from vjepa.benchmarks.epic_kitchens import EPIC_COLUMNS
from vjepa.benchmarks.question_files import read_questions
from vjepa.data.class_map import read_class_map
from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import read_manifest
from vjepa.evaluation.report import read_scores
from vjepa.features.clip_features import read_clip
from vjepa.features.files import read_features
from vjepa.language.conversation_files import read_captions
from vjepa.planning.recorded_landscape import read_trajectory
from vjepa.robots.readers.lerobot import load_lerobot
from vjepa.robots.schema import vector_schema
from vjepa.training.run_inputs import RunInputs, read_recipe
from vjepa.training.stage_parser import keys_of
from vjepa.training.sweep import read_curves, read_sweep

CONF = Path(__file__).parents[1] / "conf"


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
