"""The law of the objective: a step is the same, however its samples are cut into processes and micro-batches.

Every stage takes 20 steps of eight samples: whole, in micro-batches, in two processes, and in both.
"""

import json
import os
import pickle
import socket
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

os.environ["HF_HUB_OFFLINE"] = "1"
pytest.importorskip("transformers", reason="language models need the vlm extra")

from vjepa import torchvision_ops  # noqa: F401  before lightning imports torchvision, in a process of its own

# isort: split
from lightning.pytorch.loggers import Logger

from stages.ac import ActionConditioned
from stages.anticipate import Anticipate
from stages.clone import Clone
from stages.cooldown import Cooldown
from stages.decode import Decode
from stages.pretrain import Pretrain
from stages.probe import Probe
from stages.vlm import VLM
from tests.conftest import moving_square
from tests.robots.test_trajectories import LENGTHS, rows_of, write_lerobot
from tests.stage_runs import fit
from tests.videos import even_times, write_video
from vjepa.benchmarks.anticipation_clips import Ahead
from vjepa.benchmarks.anticipation_data import AnticipationData
from vjepa.data.clip_data import ClipData, Source
from vjepa.data.clips import ClipConfig
from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.language.caption_data import CaptionData, CaptionSource
from vjepa.language.language_model import LanguageConfig, new_language, new_tokenizer, save_language
from vjepa.language.media import FrameConfig
from vjepa.models.ac_predictor import ACPredictorConfig
from vjepa.models.cloned_policy import ClonedPolicyConfig
from vjepa.models.decoder import DecoderConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import ProbeConfig
from vjepa.models.projector import ProjectorConfig
from vjepa.objectives.masks import BlockConfig, MaskConfig
from vjepa.robots.trajectory_data import RobotSource, TrajectoryData
from vjepa.robots.windows import TrajectoryConfig
from vjepa.training.grid_optim import GridConfig
from vjepa.training.monitors import DataHealth, OptimizerMonitor, SpeedMonitor
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.training.pretraining_monitors import LossByDistance
from vjepa.weights.export import encoder_part, export, predictor_part

STEPS = 20
TOLERANT = {"workers": 0, "max_bad_share": 0.5}
TINY = EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=8)
NARROW = PredictorConfig(width=24, depth=1, heads=2, mlp_width=48)
CLIP = ClipConfig(frames=4, fps=8.0, size=32, flip=0.0)
OPTIM = OptimConfig(lr=Schedule(1e-3))
SIDES = ("to the left", "to the right")
TALKS = 60
"""Conversations. Their answers have 3 to 60 words."""
LONG = (7, 8, 9, 10, 37, 38)
"""Those with too many videos for the context. Neighbours are alike in length, so they come together."""
BAD_TALK = {
    "video": "bad.mp4",
    "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}],
}


class Cut(NamedTuple):
    """How the eight samples of a step are cut."""

    processes: int
    batch: int
    accumulate: int


WHOLE = Cut(1, 8, 1)
IN_ONE = (Cut(1, 4, 2), Cut(1, 2, 4))
IN_TWO = (Cut(2, 4, 1), Cut(2, 2, 2))


def write_world(folder: Path) -> Path:
    """Videos, manifests, actions, conversations, robot episodes, an encoder and a language model."""
    torch.manual_seed(1)
    predictor = Predictor(NARROW, TINY)
    for weight in predictor.parameters():
        # Its own first weights predict the same at all places, so that a probe's queries learn nothing.
        torch.nn.init.normal_(weight, std=0.7)
    parts = {"ema": encoder_part(Encoder(TINY)), "predictor": predictor_part(predictor, TINY)}
    export(folder / "encoder.safetensors", parts, {})
    (folder / "bad.mp4").write_bytes(b"no video")
    for split, count in (("train", 16), ("several", 3), ("alone", 1), ("test", 2)):
        write_clips(folder, split, count, bad=split == "train")
    write_talks(folder)
    rows = rows_of(LENGTHS)
    rows["observation.state"][:, 0] /= len(rows["observation.state"])
    write_lerobot(folder / "robot", rows)
    stage, _ = pretrain(folder, 8)
    export(folder / "pretrained.safetensors", stage.parts(), {})
    return folder


def write_clips(folder: Path, split: str, count: int, bad: bool) -> None:
    """Clips of a square that moves, with their manifest and the log of its actions; perhaps a bad file."""
    rows = ["path,label"]
    log = []
    for i in range(count):
        name = f"{split}{i}.mp4"
        write_video(folder / name, even_times(30), pictures=moving_square(i % 2, i), size=(32, 32))
        rows.append(f"{name},{i % 2}")
        thing = {"name": "square", "colour": ("red", "blue")[i % 2]}
        happened = ((0.9, ("lifted", "dropped")[i % 2]), (1.0, "end"))
        events = [{"time": time, "object": thing, "event": event} for time, event in happened]
        log.append(json.dumps({"path": str(folder / name), "events": events}))
    if bad:
        rows.append("bad.mp4,0")
        log.append(json.dumps(json.loads(log[0]) | {"path": str(folder / "bad.mp4")}))
    (folder / f"{split}.csv").write_text("\n".join(rows) + "\n")
    (folder / f"{split}.jsonl").write_text("\n".join(log) + "\n")


def write_talks(folder: Path) -> None:
    """Conversations whose answers differ in length, some without a video, some that do not fit."""
    talks = []
    for i in range(TALKS):
        answer = " ".join([SIDES[i % 2]] * (1 + i // 3))
        video = {} if i % 5 == 0 else {"video": [f"train{i % 16}.mp4"] * (12 if i in LONG else 1)}
        turns = [{"from": "human", "value": "Which way?"}, {"from": "gpt", "value": answer}]
        options = {"options": SIDES, "kind": ("side", "word")[i % 2]} if answer in SIDES else {}
        talks.append(video | {"conversations": turns} | options)
    for name, rows in (("several", talks[:3]), ("alone", talks[:1]), ("talks", [*talks, BAD_TALK])):
        (folder / f"{name}_talks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tokenizer = new_tokenizer(["Which way?", *SIDES] * 3, 300)
    torch.manual_seed(0)
    save_language(new_language(len(tokenizer), 32, 2, 2), tokenizer, folder / "language")


def pretrain(world: Path, batch: int, val: str = "several", kind: type = Pretrain, **settings):
    torch.manual_seed(0)
    masks = MaskConfig(kinds=(BlockConfig(2, 0.2), BlockConfig(1, 0.5)), group=8)
    stage = kind(TINY, NARROW, masks, OPTIM, Schedule(0.9), **settings)
    return stage, ClipData([Source(f"{world}/train.csv")], f"{world}/{val}.csv", CLIP, batch, **TOLERANT)


def cooldown(world: Path, batch: int, val: str = "several"):
    return pretrain(world, batch, val, Cooldown, init_from=f"{world}/pretrained.safetensors")


def probe(world: Path, batch: int, val: str = "several"):
    splits = ([Source(f"{world}/train.csv")], f"{world}/{val}.csv", f"{world}/test.csv")
    grid = GridConfig(lr=(1e-3, 1e-4))
    stage = Probe(f"{world}/encoder.safetensors", 2, ProbeConfig(1, 2), optim=OPTIM, grid=grid)
    return stage, LabelledClipData(*splits, CLIP, batch, **TOLERANT)


def anticipate(world: Path, batch: int, val: str = "several"):
    splits = [f"{world}/{split}.jsonl" for split in ("train", val, "test")]
    ahead = Ahead(tau=(0.2, 0.4), evaluation_tau=0.3)
    data = AnticipationData(*splits, clip=CLIP, ahead=ahead, noun="colour", batch_size=batch, **TOLERANT)
    return Anticipate(f"{world}/encoder.safetensors", ProbeConfig(1, 2), optim=OPTIM, top=1), data


def robot(world: Path, batch: int, val: str) -> TrajectoryData:
    source = RobotSource(f"{world}/robot")
    # Windows of ten frames fit into one of the episodes alone, those of three frames into all four.
    frames = {"several": 3, "alone": 10}[val]
    window = TrajectoryConfig(frames=3, fps=4.0, size=32, aspect=(1.5, 1.5), evaluation_frames=frames)
    return TrajectoryData([source], source, window=window, batch_size=batch, workers=0)


def act(world: Path, batch: int, val: str = "several"):
    predictor = ACPredictorConfig(width=24, depth=1, heads=2, mlp_width=48, init_std=0.1)
    stage = ActionConditioned(f"{world}/encoder.safetensors", predictor, optim=OPTIM, standardise=True)
    return stage, robot(world, batch, val)


def clone(world: Path, batch: int, val: str = "several"):
    policy = ClonedPolicyConfig(tokens=16, token_width=24, narrow=8, width=32)
    return Clone(f"{world}/encoder.safetensors", policy, optim=OPTIM), robot(world, batch, val)


def decode(world: Path, batch: int, val: str = "several"):
    decoder = DecoderConfig(width=16, depth=1, narrow=4)
    return Decode(f"{world}/encoder.safetensors", None, decoder, optim=OPTIM), robot(world, batch, val)


def align(world: Path, batch: int, val: str = "several", **settings):
    torch.manual_seed(0)
    language = LanguageConfig(f"{world}/language")
    projector = ProjectorConfig((1, 2, 2))
    stage = VLM(f"{world}/encoder.safetensors", language, projector, OPTIM, context=100, **settings)
    train = [CaptionSource(f"{world}/talks_talks.jsonl")]
    held_out = f"{world}/{val}_talks.jsonl"
    clip = FrameConfig(frames=4, size=32)
    return stage, CaptionData(train, held_out, clip, batch, like_lengths=2, **TOLERANT)


def vlm(world: Path, batch: int, val: str = "several"):
    return align(world, batch, val, language_lr=Schedule(1e-3))


STAGES = {
    "pretrain": pretrain,
    "cooldown": cooldown,
    "probe": probe,
    "anticipate": anticipate,
    "ac": act,
    "clone": clone,
    "decode": decode,
    "align": align,
    "vlm": vlm,
}
"""Each makes a stage and its data: so many samples per batch, and which held-out samples."""
CLIPPED = ("pretrain", "ac", "vlm")
"""Stages that are trained with a limit of the gradient's norm, which every step exceeds."""


class Kept(Logger):
    """Keeps what is logged in every process, not in the first one alone."""

    name = "kept"
    version = ""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[tuple[str, int], float] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.values |= {(name, step): float(value) for name, value in metrics.items()}

    def log_hyperparams(self, *given: object) -> None:
        pass


class Result(NamedTuple):
    weights: dict[str, Tensor]
    logged: dict[tuple[str, int], float]
    """By name and step."""
    metrics: dict[str, float]
    """By which checkpoints may be chosen."""
    counts: tuple
    """What a checkpoint says of bad files, and of conversations that do not fit."""


def train(name: str, world: Path, cut: Cut, steps: int = STEPS, val: str = "several") -> Result:
    """Train a stage. In two processes each of them calls this."""
    stage, data = STAGES[name](world, cut.batch, val)
    logger = Kept()
    health = DataHealth(world / "run")
    callbacks = [OptimizerMonitor(), SpeedMonitor(), health]
    callbacks += [LossByDistance()] if isinstance(stage, Pretrain) else []
    settings = {
        "strategy": "auto" if cut.processes == 1 else "ddp",
        "devices": cut.processes,
        "accumulate_grad_batches": cut.accumulate,
        "gradient_clip_val": 1e-2 if name in CLIPPED else None,
        "val_check_interval": steps * cut.accumulate,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    trainer = fit(stage, data, world / "run", steps, logger=logger, callbacks=callbacks, **settings)
    trained = {key: value.detach().clone() for key, value in stage.named_parameters() if value.requires_grad}
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    counts = stage.counts.state() if isinstance(stage, VLM) else ()
    return Result(trained, logger.values, metrics, (health.state_dict(), counts))


def worker(rank: int, world: Path, names: tuple[str, ...]) -> None:
    """One of two processes: all stages in turn, so that libraries are imported once."""
    torch.set_num_threads(1)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": (world / "port").read_text()}
    os.environ |= place | {"WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    results = {(name, cut): train(name, world, cut) for name in names for cut in IN_TWO}
    results |= {(name, "alone"): train(name, world, IN_TWO[0], 1, "alone") for name in names}
    (world / f"results{rank}.pkl").write_bytes(pickle.dumps(results))


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def without_key_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """All weights but the biases of the keys that a probe's queries read, which change no output.

    A softmax drops what is the same for all keys. So their gradient is 0 but for rounding, which AdamW
    enlarges to steps of the size of the learning rate.
    """
    name = "attention.kv.bias"
    return {k: v[..., v.shape[-1] // 2 :] if k.endswith(name) else v for k, v in weights.items()}


def difference(one: Result, other: Result) -> float:
    """The largest difference of any weight."""
    first, second = (without_key_biases(result.weights) for result in (one, other))
    assert first.keys() == second.keys()
    return max(float((value - second[key]).abs().max()) for key, value in first.items())


def comparable(logged: dict) -> dict:
    """What is logged, without times, and without what compares the samples of one batch with each other."""
    named = {key: key if isinstance(key, str) else key[0] for key in logged}
    return {key: value for key, value in logged.items() if not named[key].startswith(OF_A_BATCH)}


OF_A_BATCH = (
    *("speed/", "collapse/", "data/padding_share", "val/loss_over_mean"),
    *("val/shuffled", "val/action_use"),
)


TOLERANCE = {"anticipate": 2e-5}
"""Of weights, where it is not 1e-6. Keys of the row `predictor` have gradients near 0, since it reads tokens
that are much alike. AdamW divides by the size of a gradient, which enlarges its rounding."""


def check_equal(name: str, one: Result, other: Result) -> None:
    assert difference(one, other) < TOLERANCE.get(name, 1e-6), name
    assert comparable(other.logged) == pytest.approx(comparable(one.logged), rel=1e-4, abs=1e-5), name
    assert comparable(other.metrics) == pytest.approx(comparable(one.metrics), rel=1e-4, abs=1e-5), name
    assert one.counts == other.counts, name


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def whole(world) -> dict[str, Result]:
    """Every stage in one process, with whole batches."""
    return {name: train(name, world, WHOLE) for name in STAGES}


@pytest.mark.parametrize("name", ["pretrain", "anticipate", "vlm"])
def test_accumulated_batches_take_the_step_of_one(world, name):
    """Two steps of the stages that differ most; the slow tests take 20 steps of all stages."""
    steps = 2
    check_equal(name, train(name, world, WHOLE, steps), train(name, world, Cut(1, 2, 4), steps))


@pytest.mark.slow
@pytest.mark.parametrize("cut", IN_ONE, ids=str)
def test_accumulated_batches_train_every_stage_as_one_batch_does(world, whole, cut):
    for name, result in whole.items():
        check_equal(name, result, train(name, world, cut))


@pytest.mark.slow
def test_two_processes_train_every_stage_as_one_does(world, whole):
    """With and without accumulated batches. Both processes hold the same weights, and log the same."""
    (world / "port").write_text(str(free_port()))
    torch.multiprocessing.spawn(worker, (world, tuple(STAGES)), nprocs=2)
    first, second = (pickle.loads((world / f"results{rank}.pkl").read_bytes()) for rank in range(2))
    for name, result in whole.items():
        for cut in IN_TWO:
            check_equal(name, result, first[name, cut])
            assert second[name, cut].metrics == first[name, cut].metrics, name
            assert difference(first[name, cut], second[name, cut]) == 0, name
        # A single held-out sample, of which one process has none: neither waits for the other without end.
        alone = first[name, "alone"].metrics
        assert any(key.startswith("val/") for key in alone) and alone == second[name, "alone"].metrics, name
