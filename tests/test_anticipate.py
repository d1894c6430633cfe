"""Anticipation: what is read, when clips end, what the metric counts, and that a coming event can be learned."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassRecall

from stages.anticipate import Anticipate
from tests.test_stages import NARROW, TINY, fit
from tests.videos import even_times, write_video
from vjepa.checkpoint import encoder_part, export, predictor_part
from vjepa.data.actions import Action, read_actions, seconds, vocabulary
from vjepa.data.anticipation import Ahead, AnticipationData, ForeseenClips, frames_before
from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import ManifestError
from vjepa.errors import UserError
from vjepa.models import Encoder, Predictor, ProbeConfig
from vjepa.models.anticipation import AnticipationProbe, foresee
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
    thing = {"name": "object0", "shape": "cube", "colour": "red"}
    events = [{"time": time, "skill": "lift", "object": thing, "event": event}
              for time, event in ((0.0, "start"), (2.0, "grasped"), (2.5, "lifted"), (3.0, "end"))]  # fmt: skip
    (tmp_path / "events.jsonl").write_text(json.dumps({"path": "0.mp4", "events": events}) + "\n")
    found = read_actions(tmp_path / "events.jsonl", None)
    assert found[0] == Action(tmp_path / "0.mp4", 2.0, 3.0, "grasped", "red")
    assert found[1:] == [Action(tmp_path / "0.mp4", 2.5, 3.0, "lifted", "red")]
    assert vocabulary(found).labels(found[1]) == (1, 0, 1)
    assert vocabulary(found[:1]).labels(found[1]) == (-1, 0, -1)
    (tmp_path / "events.jsonl").write_text("{}\n")
    with pytest.raises(ManifestError, match="line 1: KeyError"):
        read_actions(tmp_path / "events.jsonl", None)


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


def test_the_stage_learns_and_writes_its_table(clips_manifest, tmp_path):
    """Clips of a square that runs left or right: what it will have done is seen before it is done."""
    torch.manual_seed(1)
    encoder = Encoder(TINY)
    parts = {"ema": encoder_part(encoder), "predictor": predictor_part(Predictor(NARROW, TINY), TINY)}
    export(tmp_path / "encoder.safetensors", parts, {})
    lines = []
    for i in range(24):
        thing = {"colour": ("red", "blue")[i % 2]}
        happened = ((0.9, ("left", "right")[i % 2]), (1.0, "end"))
        events = [{"time": time, "object": thing, "event": event} for time, event in happened]
        lines.append(json.dumps({"path": str(clips_manifest.parent / f"{i:02}.mp4"), "events": events}))
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    log = str(tmp_path / "events.jsonl")
    ahead = Ahead(tau=(0.2, 0.4), evaluation_tau=0.3)
    data = AnticipationData(log, log, log, clip=ClipConfig(frames=4, fps=8.0, size=32, flip=0.0, scale=(0.8, 1.0)),
                            ahead=ahead, batch_size=8, workers=0)  # fmt: skip
    stage = Anticipate(str(tmp_path / "encoder.safetensors"), ProbeConfig(1, 4), optim=OptimConfig(lr=Schedule(3e-3)), top=1)
    trainer = fit(stage, data, tmp_path, steps=60)
    trainer.test(stage, data, verbose=False)
    scores = json.loads((tmp_path / "scores.json").read_text())
    found = {row["name"]: row for row in scores if row["anchor"] == "start"}
    assert found["both"]["verb"] >= 0.8 and found["chance"]["verb"] == found["most frequent in training"]["verb"] == 0.5
    assert len(scores) == 12 and {row["anchor"] for row in scores} == {"start", "end"}
    export(tmp_path / "anticipation.safetensors", stage.parts(), {})
