"""Anticipation: what is read, when clips end, what the metric counts, and that a coming event can be learned."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassRecall

from stages.anticipate import Anticipate
from tests.test_stages import NARROW, TINY, fit
from tests.videos import even_times, write_video
from vjepa.checkpoint import encoder_part, export, predictor_part
from vjepa.data.actions import Action, place, read_actions, seconds, vocabulary
from vjepa.data.anticipation import Ahead, AnticipationData, ForeseenClips, frames_before
from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import ManifestError
from vjepa.errors import UserError
from vjepa.models import Encoder, Predictor, ProbeConfig
from vjepa.models.anticipation import AnticipationProbe, foresee, placed
from vjepa.optim import OptimConfig, Schedule
from vjepa.recall import MeanClassRecall, focal_loss

EPIC = """narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,\
narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes
P01_01_0,P01,P01_01,00:00:01.089,00:00:00.140,00:00:03.370,8,202,open door,open,3,door,3,['door'],[3]
P01_01_1,P01,P01_01,00:00:02.629,00:01:04.370,00:01:06.170,262,370,turn-on light,turn-on,6,light,114,['light'],[114]
"""
CLIP = ClipConfig(frames=4, fps=8.0, size=32, short="hold")


def test_epic_kitchens_annotations(tmp_path):
    (tmp_path / "train.csv").write_text(EPIC)
    first, second = read_actions(tmp_path / "train.csv", Path("ek100"))
    assert first == Action(Path("ek100/P01/videos/P01_01.MP4"), 0.14, 3.37, "3", "3")
    assert (second.start, second.noun) == (pytest.approx(64.37), "114")
    assert vocabulary([first, second]).nouns == ("3", "114")  # as numbers
    assert seconds("01:00:02.5") == 3602.5
    for wrong, sentence in (
        (EPIC.replace("00:00:03.370", "00:00:00.100"), r"line 2: the action runs from 0\.14 s to 0\.1 s"),
        (EPIC.replace(",114,['l", ",lamp,['l"), r"line 3: .*expected times as HH:MM:SS"),
        (EPIC.replace("verb_class", "verb_klass"), r"no column verb_class"),
        (EPIC.splitlines()[0] + "\n", r"there are no actions"),
    ):
        (tmp_path / "wrong.csv").write_text(wrong)
        with pytest.raises(ManifestError, match=sentence):
            read_actions(tmp_path / "wrong.csv", Path("ek100"))
    with pytest.raises(ManifestError, match=r"give the folder of its videos as data\.videos"):
        read_actions(tmp_path / "train.csv", None)


def test_the_demo_worlds_log(tmp_path):
    """An action lasts to the next on its object or the skill's end; of one moment the last word counts; what is only seen
    does not."""
    log = (0.0, "start"), (2.0, "grasped"), (2.25, "hidden"), (2.5, "lifted"), (4.0, "released"), (4.0, "entered tray")
    thing = {"name": "object0", "shape": "cube", "colour": "red"}
    events = [{"time": time, "skill": "lift", "object": thing, "event": event} for time, event in (*log, (5.0, "end"))]
    (tmp_path / "events.jsonl").write_text(json.dumps({"path": "0.mp4", "events": events}) + "\n")
    found = read_actions(tmp_path / "events.jsonl", None, "colour")
    bounds = (2.0, 2.5, "grasped"), (2.5, 4.0, "lifted"), (4.0, 5.0, "entered tray")
    assert found == [Action(tmp_path / "0.mp4", start, stop, verb, "red") for start, stop, verb in bounds]
    assert vocabulary(found).labels(found[1]) == (2, 0, 2)
    assert vocabulary(found[:1]).labels(found[1]) == (-1, 0, -1)
    (tmp_path / "events.jsonl").write_text("{}\n")
    with pytest.raises(ManifestError, match="line 1: KeyError"):
        read_actions(tmp_path / "events.jsonl", None)


def test_places_are_thirds_of_the_picture(tmp_path):
    """A camera that stands at the origin and looks along z; its picture's x is the world's."""
    states = np.zeros((5, 7))
    states[:, :3] = [[-0.4, 0, 1], [-0.2, 0, 1], [0, 0, 1], [0.4, 0, 1], [0.8, 0, 2]]
    camera = {"extrinsics": np.zeros(6), "intrinsics": np.array([[32.0, 0, 32], [0, 32, 32], [0, 0, 1]])}
    np.savez(tmp_path / "0.npz", states=states, **camera)
    assert [place(tmp_path / "0.mp4", i / 4) for i in range(5)] == ["left", "middle", "middle", "right", "right"]
    with pytest.raises(UserError, match=r"makes left of right"):
        AnticipationData("events.jsonl", "events.jsonl", "events.jsonl", clip=ClipConfig(flip=0.5))


def test_clips_end_tau_before_the_anchor(tmp_path):
    """A video that grows brighter with time tells when its frames were."""
    pictures = [np.full((32, 32, 3), 4 * t, np.uint8) for t in range(60)]
    write_video(tmp_path / "a.mp4", even_times(60), pictures=pictures, size=(32, 32))
    action = Action(tmp_path / "a.mp4", 1.2, 1.8, "v", "n")

    def last(ahead: Ahead, name: str) -> float:
        sample = ForeseenClips([action], vocabulary([action]), CLIP, ahead)[0]
        return float(getattr(sample, name)[-1].float().mean()) / 4 / 30  # seconds

    assert last(Ahead(evaluation_tau=1.0), "clip") == pytest.approx(1.2 - 1.0 - 1 / 8, abs=0.06)
    assert last(Ahead(evaluation_tau=1.0), "shown") == pytest.approx(1.2 - 1 / 8, abs=0.06)
    assert last(Ahead(evaluation_tau=1.0, anchor="end"), "clip") == pytest.approx(1.8 - 1.0 - 1 / 8, abs=0.06)
    (early,) = frames_before(action, [0.2], CLIP)  # before the video begins, its first frame
    assert torch.equal(early[0], early[1])
    drawn = ForeseenClips([action], vocabulary([action]), CLIP, Ahead(tau=(0.25, 1.0)), seed=3)
    assert 0.25 <= drawn[5].tau <= 1.0 and drawn[5].tau == drawn[5].tau != drawn[6].tau
    assert torch.equal(drawn[5].clip, drawn[5].clip)
    with pytest.raises(UserError, match="must be 0 or more and grow"):
        Ahead(tau=(1.0, 0.5))


def test_mean_class_recall_by_hand():
    """Two of class 0, both found; two of class 1, one found; class 2 is not valid, so its clip and its answer do not count."""
    logits = torch.tensor([[3.0, 1, 9], [2, 1, 0], [1, 2, 9], [2, 1, 5], [0, 1, 2]])
    label = torch.tensor([0, 0, 1, 1, 2])
    metric = MeanClassRecall(3, [0, 1], k=1)
    metric.update(logits[:2], label[:2])
    metric.update(logits[2:], label[2:])
    assert float(metric.compute()) == pytest.approx((1.0 + 0.5) / 2)
    logits, label = torch.randn(200, 9), torch.randint(9, (200,))
    ours = MeanClassRecall(9, list(range(9)), k=5)
    ours.update(logits, label)
    theirs = MulticlassRecall(9, average="macro", top_k=5)
    assert float(ours.compute()) == pytest.approx(float(theirs(logits, label)))


def test_focal_loss_by_hand():
    loss = focal_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
    assert float(loss) == pytest.approx((0.25 + 0.75) * 0.25 * np.log(2))
    assert focal_loss(torch.tensor([[-9.0, 9.0]]), torch.tensor([1])) < 1e-6


def test_the_predictor_is_asked_for_its_own_moment_of_each_clip():
    torch.manual_seed(0)
    predictor, tokens = Predictor(NARROW, TINY).eval(), torch.randn(2, 2 * 16, 48)
    with torch.no_grad():
        torch.nn.init.normal_(predictor.mask_tokens)
        both = foresee(predictor, tokens, (2, 4, 4), torch.tensor([0, 3]))
        alone = foresee(predictor, tokens[1:], (2, 4, 4), torch.tensor([3]))
    assert both.shape == (2, 16, 48)
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)
    found = AnticipationProbe(ProbeConfig(2, 4), 48, (5, 7, 9))(torch.randn(3, 8, 48))
    assert found.verb.shape == (3, 5) and found.noun.shape == (3, 7) and found.action.shape == (3, 9)


def test_positions_count_from_the_moment_asked_for():
    """Two clips whose moments lie one and three steps ahead: what is equally far from its moment is told the same."""
    where = placed(torch.zeros(2, 4 * 4, 24), (4, 2, 2), torch.tensor([-5, -7]))
    torch.testing.assert_close(where[0, :8], where[1, 8:])
    assert torch.cdist(where[0], where[0]).add(torch.eye(16)).min() > 1e-2  # and no two tokens of a clip are


@pytest.fixture
def episodes(clips_manifest, tmp_path) -> Path:
    """The log of a square that runs left or right; a folder with an encoder and its predictor."""
    torch.manual_seed(1)
    parts = {"ema": encoder_part(Encoder(TINY)), "predictor": predictor_part(Predictor(NARROW, TINY), TINY)}
    export(tmp_path / "encoder.safetensors", parts, {})
    lines = []
    for i in range(23):
        thing = {"name": "square", "colour": ("red", "blue")[i % 2]}
        happened = ((0.9, ("lifted", "dropped")[i % 2]), (1.0, "end"))
        events = [{"time": time, "object": thing, "event": event} for time, event in happened]
        lines.append(json.dumps({"path": str(clips_manifest.parent / f"{i:02}.mp4"), "events": events}))
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "events.jsonl"


@pytest.mark.parametrize("positions", [False, True])
def test_the_stage_learns_and_writes_its_table(episodes, tmp_path, positions):
    """What the square will have done is seen before it is done."""
    log, clip = str(episodes), ClipConfig(frames=4, fps=8.0, size=32, flip=0.0, scale=(0.8, 1.0))
    ahead = Ahead(tau=(0.2, 0.4), evaluation_tau=0.3)
    data = AnticipationData(log, log, log, clip=clip, ahead=ahead, noun="colour", batch_size=8, workers=0)
    optim = OptimConfig(lr=Schedule(3e-3))
    stage = Anticipate(str(tmp_path / "encoder.safetensors"), ProbeConfig(1, 4), optim=optim, top=1, positions=positions)
    trainer = fit(stage, data, tmp_path, steps=60)
    trainer.test(stage, data, verbose=False)
    scores = json.loads((tmp_path / "scores.json").read_text())
    found = {row["name"]: row for row in scores if row["anchor"] == "start"}
    assert found["both"]["verb"] >= 0.8 and found["chance"]["verb"] == found["most frequent in training"]["verb"] == 0.5
    assert len(scores) == 12 and {row["anchor"] for row in scores} == {"start", "end"}
    export(tmp_path / "anticipation.safetensors", stage.parts(), {})


RECIPE = """
seed_everything: 0
model: {encoder: encoder.safetensors, probe: {depth: 1, heads: 4}, top: 1, positions: true}
data:
  train: events.jsonl
  val: events.jsonl
  test: events.jsonl
  clip: {frames: 4, fps: 8.0, size: 32, flip: 0.0}
  ahead: {tau: [0.2, 0.4], evaluation_tau: 0.3}
  noun: colour
  workers: 0
trainer: {max_steps: 3, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false, log_every_n_steps: 1}
"""


@pytest.mark.slow
def test_two_processes_count_every_action_once(episodes, tmp_path):
    """23 test actions over two processes, in batches of eight and four: the table of one process."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    program = [sys.executable, "-m", "stages.anticipate", "fit", "--config", "recipe.yaml"]
    spread = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.batch_size", "4", "--out", "two"]
    for arguments in (["--data.batch_size", "8", "--out", "one"], spread):
        done = subprocess.run([*program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("one", "two"))
    assert one == two and {row["clips"] for row in two} == {23}
