"""Anticipation: what is read, when clips end, what the metric counts, and that coming events are learned."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassRecall

from stages.anticipate import Anticipate
from tests.stages.test_probe_stage import twin
from tests.stages.test_stages import NARROW, TINY, fit
from tests.videos import even_times, write_video
from vjepa.benchmarks.action_files import image_third, read_actions
from vjepa.benchmarks.actions import Action, vocabulary
from vjepa.benchmarks.anticipation_clips import Ahead, AnticipationClips, frames_before
from vjepa.benchmarks.anticipation_data import AnticipationData
from vjepa.benchmarks.epic_kitchens import parse_timestamp
from vjepa.data.clips import ClipConfig
from vjepa.data.decode_error import DecodeError
from vjepa.data.manifest_files import ManifestError
from vjepa.data.transforms import normalise
from vjepa.errors import DataError, UserError
from vjepa.evaluation.recall import MeanClassRecall, focal_loss
from vjepa.evaluation.report import report
from vjepa.models.anticipation import AnticipationProbe, add_position_embedding, look_ahead, predict_ahead
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import ProbeConfig
from vjepa.training.grid_optim import GridConfig
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.weights.export import encoder_part, export, predictor_part, read_schema
from vjepa.weights.load import load_anticipation, load_encoder, load_predictor

EPIC = """narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,\
start_frame,stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes
P01_01_0,P01,P01_01,00:00:01.089,00:00:00.140,00:00:03.370,8,202,open door,open,3,door,3,['door'],[3]
P01_01_1,P01,P01_01,00:00:02.629,00:01:04.370,00:01:06.170,262,370,turn-on light,turn-on,6,light,114,\
['light'],[114]
"""
CLIP = ClipConfig(frames=4, fps=8.0, size=32, short="hold")


def test_epic_kitchens_annotations(tmp_path):
    (tmp_path / "train.csv").write_text(EPIC)
    first, second = read_actions(tmp_path / "train.csv", Path("ek100"))
    assert first == Action(Path("ek100/P01/videos/P01_01.MP4"), 0.14, 3.37, "3", "3")
    assert (second.start, second.noun) == (pytest.approx(64.37), "114")
    assert vocabulary([first, second]).nouns == ("3", "114")  # as numbers
    assert parse_timestamp("01:00:02.5") == 3602.5
    for wrong, sentence in (
        (EPIC.replace("00:00:03.370", "00:00:00.100"), r"line 2: the action runs from 0\.14 s to 0\.1 s"),
        (EPIC.replace(",114,['l", ",lamp,['l"), r"line 3: .*expected times as HH:MM:SS"),
        (EPIC.replace("verb_class", "verb_klass"), r"no column verb_class"),
        (EPIC.splitlines()[0] + "\n", r"there are no actions"),
        (
            EPIC + "P01_01_2,P01,P01_01,00:00:02.629\n",
            r"wrong\.csv, line 4: not as many values as the header names columns",
        ),
    ):
        (tmp_path / "wrong.csv").write_text(wrong)
        with pytest.raises(ManifestError, match=sentence):
            read_actions(tmp_path / "wrong.csv", Path("ek100"))
    with pytest.raises(ManifestError, match=r"give the folder of its videos as data\.videos"):
        read_actions(tmp_path / "train.csv", None)


def test_the_demo_worlds_log(tmp_path):
    """An action lasts to the next one on its object, or to the end of the skill.

    Of several events at one moment the last counts. Events that are no action of the hand do not count.
    """
    log = (
        (0.0, "start"),
        (2.0, "grasped"),
        (2.25, "hidden"),
        (2.5, "lifted"),
        (4.0, "released"),
        (4.0, "entered tray"),
    )
    thing = {"name": "object0", "shape": "cube", "colour": "red"}
    events = [
        {"time": time, "skill": "lift", "object": thing, "event": event}
        for time, event in (*log, (5.0, "end"))
    ]
    (tmp_path / "events.jsonl").write_text(json.dumps({"path": "0.mp4", "events": events}) + "\n")
    actions = read_actions(tmp_path / "events.jsonl", None, "colour")
    bounds = (2.0, 2.5, "grasped"), (2.5, 4.0, "lifted"), (4.0, 5.0, "entered tray")
    assert actions == [Action(tmp_path / "0.mp4", start, stop, verb, "red") for start, stop, verb in bounds]
    assert vocabulary(actions).labels(actions[1]) == (2, 0, 2)
    assert vocabulary(actions[:1]).labels(actions[1]) == (-1, 0, -1)
    with pytest.raises(ManifestError, match=r"line 1: .*0\.npz is missing, which says where the hand was"):
        read_actions(tmp_path / "events.jsonl", None)
    for wrong, sentence in (
        ("{}", "line 1: .*it lacks 'path'"),
        ("{", r"line 1: its content is damaged.*Expecting.*expected an episode of a demo world's log"),
    ):
        (tmp_path / "events.jsonl").write_text(wrong + "\n")
        with pytest.raises(ManifestError, match=sentence):
            read_actions(tmp_path / "events.jsonl", None)


def test_places_are_thirds_of_the_picture(tmp_path):
    """A camera that stands at the origin and looks along z; its picture's x is the world's."""
    states = np.zeros((5, 7))
    states[:, :3] = [[-0.4, 0, 1], [-0.2, 0, 1], [0, 0, 1], [0.4, 0, 1], [0.8, 0, 2]]
    camera = {"extrinsics": np.zeros(6), "intrinsics": np.array([[32.0, 0, 32], [0, 32, 32], [0, 0, 1]])}
    np.savez(tmp_path / "0.npz", states=states, **camera)
    places = [image_third(tmp_path / "0.mp4", i / 4) for i in range(5)]
    assert places == ["left", "middle", "middle", "right", "right"]


@pytest.mark.parametrize(
    ("ending", "changes", "sentence"),
    [
        ("jsonl", {}, "makes left of right"),
        ("jsonl", {"videos": "v", "noun": "shape"}, r"data\.videos=v is for EPIC-KITCHENS"),
        ("csv", {"noun": "colour"}, r"data\.noun=colour is of the demo world"),
        ("csv", {"clip": ClipConfig(jitter=False)}, r"data\.clip\.jitter=false has no effect"),
    ],
)
def test_settings_without_effect_are_refused(ending, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        AnticipationData(*[f"events.{ending}"] * 3, **{"clip": ClipConfig(flip=0.5)} | changes)


def test_clips_end_tau_before_the_anchor(tmp_path):
    """A video that grows brighter with time tells when its frames were."""
    pictures = [np.full((32, 32, 3), 4 * t, np.uint8) for t in range(60)]
    write_video(tmp_path / "a.mp4", even_times(60), pictures=pictures, size=(32, 32))
    action = Action(tmp_path / "a.mp4", 1.2, 1.8, "v", "n")

    def last(ahead: Ahead, name: str) -> float:
        sample = AnticipationClips([action], vocabulary([action]), CLIP, ahead)[0]
        return float(getattr(sample, name)[-1].float().mean()) / 4 / 30  # seconds

    assert last(Ahead(evaluation_tau=1.0), "clip") == pytest.approx(1.2 - 1.0 - 1 / 8, abs=0.06)
    assert last(Ahead(evaluation_tau=1.0), "shown") == pytest.approx(1.2 - 1 / 8, abs=0.06)
    assert last(Ahead(evaluation_tau=1.0, anchor="end"), "clip") == pytest.approx(1.8 - 1.0 - 1 / 8, abs=0.06)
    (early,) = frames_before(action, [0.2], CLIP)  # before the video begins, its first frame
    assert torch.equal(early[0], early[1])
    drawn = AnticipationClips([action], vocabulary([action]), CLIP, Ahead(tau=(0.25, 1.0)), seed=3)
    assert 0.25 <= drawn[5].tau <= 1.0 and drawn[5].tau == drawn[5].tau != drawn[6].tau
    assert torch.equal(drawn[5].clip, drawn[5].clip)
    with pytest.raises(DecodeError, match=r"a clip begins 0\.30 s before the video; clip\.short=hold"):
        frames_before(action, [0.2], replace(CLIP, short="refuse"))
    wrong = {"tau": (1.0, 0.5)}, {"point": (0.0, 2.0)}, {"evaluation_tau": -1.0}
    for fields, sentence in zip(
        wrong, ("least and the most seconds", "first and the last share", "in seconds"), strict=True
    ):
        with pytest.raises(UserError, match=rf"ahead\.{next(iter(fields))}=.* {sentence}"):
            Ahead(**fields)


@pytest.mark.parametrize(
    ("unseen", "k", "recall", "chance"),
    [
        # Class 2 of training takes a prediction; class 3 is missed.
        ("missed", 1, (0.5 + 0 + 0) / 3, 2 / 3 * 1 / 3),
        ("missed", 2, (1 + 0.5 + 0) / 3, 2 / 3 * 2 / 3),
        ("left_out", 1, (1 + 0.5) / 2, 1 / 2),
    ],
)
def test_mean_class_recall_by_hand(unseen, k, recall, chance):
    """Training shows classes 0 to 2. The split has two clips of class 0, two of class 1, one of class 3."""
    logits = torch.tensor([[3.0, 1, 9], [2, 1, 0], [1, 2, 9], [2, 1, 5], [0, 1, 2]])
    label = torch.tensor([0, 0, 1, 1, 3])
    metric = MeanClassRecall(3, [0, 1, 3], k, unseen)
    metric.update(logits[None, :2], label[:2])
    metric.update(logits[None, 2:], label[2:])
    assert float(metric.compute()) == pytest.approx(recall) and metric.chance == pytest.approx(chance)
    assert int(metric.seen.sum()) == 5 and int(metric.seen[3:].sum()) == 1


def test_mean_class_recall_of_known_classes_is_torchmetrics():
    logits = torch.randn(200, 9)
    label = torch.randint(9, (200,))
    ours = MeanClassRecall(9, list(range(9)), k=5)
    ours.update(logits[None], label)
    reference = MulticlassRecall(9, average="macro", top_k=5)
    assert float(ours.compute()) == pytest.approx(float(reference(logits, label)))


def test_focal_loss_by_hand():
    loss = focal_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    assert float(loss) == pytest.approx((0.25 + 0.75) * 0.25 * np.log(2))
    assert focal_loss(torch.tensor([[-9.0, 9.0]]), torch.tensor([1])) < 1e-6


def test_the_predictor_is_asked_for_its_own_moment_of_each_clip():
    torch.manual_seed(0)
    predictor = Predictor(NARROW, TINY).eval()
    tokens = torch.randn(2, 2 * 16, 48)
    with torch.no_grad():
        torch.nn.init.normal_(predictor.mask_tokens)
        both = predict_ahead(predictor, tokens, (2, 4, 4), torch.tensor([0, 3]))
        alone = predict_ahead(predictor, tokens[1:], (2, 4, 4), torch.tensor([3]))
    assert both.shape == (2, 16, 48)
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)
    logits = AnticipationProbe(ProbeConfig(2, 4), 48, (5, 7, 9))(torch.randn(3, 8, 48))
    assert logits.verb.shape == (3, 5) and logits.noun.shape == (3, 7) and logits.action.shape == (3, 9)


def test_positions_count_from_the_moment_asked_for():
    """Two clips whose moments lie one and three steps ahead: tokens equally far from them have one place."""
    where = add_position_embedding(torch.zeros(2, 4 * 4, 24), (4, 2, 2), torch.tensor([-5, -7]))
    torch.testing.assert_close(where[0, :8], where[1, 8:])
    assert torch.cdist(where[0], where[0]).add(torch.eye(16)).min() > 1e-2  # and no two tokens of a clip are


def log_of(file: Path, clips: Path, numbers: range, odd: str = "") -> str:
    """The log of a square that runs left or right; in the last clip it has the colour `odd`."""
    lines = []
    for i in numbers:
        thing = {"name": "square", "colour": odd if odd and i == numbers[-1] else ("red", "blue")[i % 2]}
        happened = ((0.9, ("lifted", "dropped")[i % 2]), (1.0, "end"))
        events = [{"time": time, "object": thing, "event": event} for time, event in happened]
        lines.append(json.dumps({"path": str(clips / f"{i:02}.mp4"), "events": events}))
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def write_networks(folder: Path, encoder: EncoderConfig = TINY, predictor: PredictorConfig = NARROW) -> None:
    """An encoder and its predictor, for a stage to read."""
    torch.manual_seed(1)
    networks = Encoder(encoder), Predictor(predictor, encoder)
    parts = {"ema": encoder_part(networks[0]), "predictor": predictor_part(networks[1], encoder)}
    export(folder / "encoder.safetensors", parts, {})


@pytest.fixture
def episodes(clips_manifest, tmp_path) -> list[str]:
    """Logs for training, validation and test; in their folder an encoder and its predictor."""
    write_networks(tmp_path)
    folders = {
        "train": clips_manifest.parent,
        "val": twin(clips_manifest).parent,
        "test": twin(clips_manifest, "third").parent,
    }
    return [log_of(tmp_path / f"{split}.jsonl", folder, range(23)) for split, folder in folders.items()]


SEEN = ClipConfig(frames=4, fps=8.0, size=32, flip=0.0, scale=(0.8, 1.0))
AHEAD = Ahead(tau=(0.2, 0.4), evaluation_tau=0.3)


def data_of(logs: list[str]) -> AnticipationData:
    return AnticipationData(*logs, clip=SEEN, ahead=AHEAD, noun="colour", batch_size=8, workers=0)


def stage_of(folder: Path, **changes) -> Anticipate:
    settings = {"optim": OptimConfig(lr=Schedule(3e-3)), "top": 1}
    return Anticipate(str(folder / "encoder.safetensors"), ProbeConfig(1, 4), **settings | changes)


@pytest.mark.parametrize("positions", [False, True])
def test_the_stage_learns_and_writes_its_table(episodes, tmp_path, positions, capsys):
    """What the square will have done is seen before it is done; and the export does what the stage does."""
    data, stage = data_of(episodes), stage_of(tmp_path, positions=positions)
    trainer = fit(stage, data, tmp_path, steps=60)
    trainer.test(stage, data, verbose=False)
    scores = json.loads((tmp_path / "scores.json").read_text())
    rows = {row["name"]: row for row in scores if row["anchor"] == "start"}
    assert rows["both"]["verb"] >= 0.8
    assert rows["chance"]["verb"] == rows["most frequent in training"]["verb"] == 0.5
    assert len(scores) == 12 and {row["anchor"] for row in scores} == {"start", "end"}
    unseen = "never shows the verb of 0 of them, the noun of 0, the pair of 0: counted as missed"
    assert unseen in capsys.readouterr().out
    report([tmp_path / "scores.json"] * 2)
    assert "both, verb, before the start" in capsys.readouterr().out

    file = tmp_path / "anticipation.safetensors"
    export(file, stage.parts(), {})
    schema = read_schema(file, "anticipation")
    assert schema["verbs"] == ["dropped", "lifted"] and schema["top"] == 1
    assert schema["ahead"]["evaluation_tau"] == 0.3

    source = tmp_path / "encoder.safetensors"
    encoder = load_encoder(source)
    batch = next(iter(data.val_dataloader()))
    clip = normalise(batch.clip)
    steps = torch.full((8,), 1)  # 0.3 s are one step of 0.25 s
    both = look_ahead(load_predictor(source), encoder(clip), encoder.grid(clip), steps, schema["positions"])
    exported = load_anticipation(file)(torch.cat(both, dim=1))
    trained = stage.probes["both"](stage.tokens(batch)["both"])
    for logits, heads in zip(exported, trained, strict=True):
        torch.testing.assert_close(logits, heads[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("unseen", "best", "fate"), [("missed", 2 / 3, "counted as missed"), ("left_out", 1.0, "left out of")]
)
def test_a_class_that_training_never_shows_does_not_vanish(episodes, tmp_path, capsys, unseen, best, fate):
    train, val, test = episodes
    clips = Path(json.loads(Path(test).read_text().splitlines()[0])["path"]).parent
    log_of(Path(test), clips, range(9), odd="green")
    data, stage = data_of([train, val, test]), stage_of(tmp_path, unseen=unseen)
    fit(stage, data, tmp_path, steps=1).test(stage, data, verbose=False)
    row = json.loads((tmp_path / "scores.json").read_text())[0]
    assert row["clips"] == 9 and row["noun"] <= best
    assert row["unseen_clips"] == {"verb": 0, "noun": 1, "action": 1}
    assert f"the verb of 0 of them, the noun of 1, the pair of 1: {fate}" in capsys.readouterr().out
    assert data.training_classes.sizes == (2, 2, 2) and data.all_classes.nouns == ("blue", "red", "green")
    assert data.class_counts is data.class_counts and data.class_counts[0].sum() == 23  # counted once


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_a_head_is_chosen_on_validation_actions(episodes, tmp_path, activation_checkpointing):
    """Of four, one for each rate and decay; the export is the chosen one of `both`."""
    data = data_of(episodes)
    grid = GridConfig(lr=(3e-3, 1e-5), weight_decay=(0.1, 0.01))
    stage = stage_of(tmp_path, grid=grid, activation_checkpointing=activation_checkpointing)
    fit(stage, data, tmp_path, steps=20).test(stage, data, verbose=False)
    with (tmp_path / "heads.csv").open() as file:
        heads = [line for line in csv.DictReader(file) if line["row"] == "both"]
    values = [float(line["val"]) for line in heads]
    assert len(heads) == 4 and stage.head == int(np.argmax(values)) and heads[stage.head]["chosen"] == "1"
    row = next(row for row in json.loads((tmp_path / "scores.json").read_text()) if row["name"] == "both")
    assert row["action"] == pytest.approx(float(heads[stage.head]["test"]), abs=1e-4)
    tokens = torch.randn(2, 32, 48)
    exported = stage.parts()["anticipation"].module(tokens)
    for logits, heads in zip(exported, stage.probes["both"](tokens), strict=True):
        torch.testing.assert_close(logits, heads[stage.head], atol=1e-5, rtol=1e-5)


def test_anticipation_is_not_chosen_on_clips_that_cannot_be_decoded(episodes, tmp_path):
    train, val, test = episodes
    log_of(Path(val), tmp_path / "gone", range(4))
    data, stage = data_of([train, val, test]), stage_of(tmp_path)
    trainer = fit(stage, data, tmp_path, steps=1)
    with pytest.raises(DataError, match="no validation clip could be decoded"):
        trainer.test(stage, data, verbose=False)


def test_actions_in_two_splits_are_refused(episodes, tmp_path):
    train, val, _ = episodes
    for logs, pair in (
        ([train, val, train], "train and data.test"),
        ([train, val, val], "val and data.test"),
    ):
        with pytest.raises(ManifestError, match=f"data.{pair} show the same clips of 23 videos"):
            data_of(logs).setup("fit")


def test_epic_kitchens_videos_lie_as_they_are_distributed(tmp_path):
    """P01/videos/P01_01.MP4 is decoded at the annotated seconds."""
    (tmp_path / "train.csv").write_text(EPIC)
    (tmp_path / "P01/videos").mkdir(parents=True)
    video = tmp_path / "P01/videos/P01_01.mp4"
    write_video(
        video,
        even_times(60, 1),
        pictures=[np.full((32, 32, 3), 4 * t, np.uint8) for t in range(60)],
        size=(32, 32),
    )
    video.rename(video.with_suffix(".MP4"))
    actions = read_actions(tmp_path / "train.csv", tmp_path)
    ahead = Ahead(evaluation_tau=20.0)  # 20 s before 64.37 s
    sample = AnticipationClips(actions, vocabulary(actions), CLIP, ahead)[1]
    assert sample.bad == [] and float(sample.clip[-1].float().mean()) / 4 == pytest.approx(44, abs=0.6)


RECIPE = """
seed_everything: 0
model: {encoder: encoder.safetensors, probe: {depth: 1, heads: 4}, top: 1, positions: true}
data:
  train: train.jsonl
  val: val.jsonl
  test: test.jsonl
  clip: {frames: 4, fps: 8.0, size: 32, flip: 0.0}
  ahead: {tau: [0.2, 0.4], evaluation_tau: 0.3}
  noun: colour
  workers: 0
trainer: {max_steps: 3, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false,
  log_every_n_steps: 1}
"""


@pytest.mark.slow
def test_two_processes_count_every_action_once(episodes, tmp_path):
    """23 test actions over two processes, in batches of eight and four: the table of one process."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    program = [sys.executable, "-m", "stages.anticipate", "fit", "--config", "recipe.yaml"]
    spread = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.batch_size", "4", "--out", "two"]
    for arguments in (["--data.batch_size", "8", "--out", "one"], spread):
        done = subprocess.run(
            [*program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("one", "two"))
    assert one == two and {row["clips"] for row in two} == {23}


def test_a_probe_reads_the_last_of_several_levels(episodes, tmp_path):
    write_networks(tmp_path, replace(TINY, levels=(0, 1)), replace(NARROW, dense=True))
    stage = stage_of(tmp_path)
    fit(stage, data_of(episodes), tmp_path, steps=1)
    clip = torch.randn(2, 3, 4, 32, 32)
    seen = stage.predictor.context(stage.encoder, clip)
    assert torch.equal(stage.predictor.last_level(seen), stage.encoder(clip))


def test_a_predictor_of_a_teachers_tokens_is_refused(episodes, tmp_path):
    write_networks(tmp_path, TINY, replace(NARROW, target_width=48))
    with pytest.raises(UserError, match="holds a distilled encoder, whose predictor predicts a teacher's"):
        fit(stage_of(tmp_path), data_of(episodes), tmp_path, steps=1)
