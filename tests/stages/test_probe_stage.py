"""The probe's report: which head is chosen, what is written, and that every clip counts once."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.probe import Probe
from tests.stages.test_stages import TINY, fit
from tests.videos import even_times, write_video
from vjepa.data.clip_data import Source
from vjepa.data.clips import ClipConfig
from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.data.manifest import read_manifest
from vjepa.data.manifest_files import ManifestError
from vjepa.data.views import ViewClips, Views, boxes_along, collate_views
from vjepa.errors import UserError
from vjepa.evaluation.confusion import confusion_matrix
from vjepa.evaluation.predictions import ChosenHead, Predictions, accuracies, scores_per_target
from vjepa.evaluation.score_files import write_classes, write_predictions
from vjepa.models.encoder import Encoder
from vjepa.models.probe import ProbeConfig
from vjepa.training.grid_optim import GridConfig
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.weights.export import encoder_part, export

CLIP = ClipConfig(frames=4, fps=8.0, size=32, flip=0.0)
GRID = GridConfig(lr=(3e-3, 1e-5), weight_decay=(0.1, 0.01))


@pytest.fixture
def encoder_file(tmp_path) -> Path:
    torch.manual_seed(1)
    export(tmp_path / "encoder.safetensors", {"ema": encoder_part(Encoder(TINY))}, {})
    return tmp_path / "encoder.safetensors"


def twin(manifest: Path, name: str = "twin") -> Path:
    """A copy of a manifest's folder. Splits may not share files, and the copy's files are others."""
    folder = manifest.parent.with_name(f"{manifest.parent.name}-{name}")
    if not folder.exists():
        shutil.copytree(manifest.parent, folder)
    return folder / manifest.name


def halves(manifest: Path, odd: int = 1) -> tuple[Path, Path]:
    """The rows as validation and test splits, in a copy; the test split has an odd number of rows."""
    manifest = twin(manifest)
    header, *rows = manifest.read_text().splitlines()
    cut = len(rows) // 2 + odd
    for name, part in (("val", rows[:cut]), ("test", rows[cut:])):
        (manifest.parent / f"half_{name}.csv").write_text("\n".join([header, *part]) + "\n")
    return manifest.parent / "half_val.csv", manifest.parent / "half_test.csv"


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def data(manifest: Path, views: Views) -> LabelledClipData:
    val, test = halves(manifest)
    return LabelledClipData([Source(str(manifest))], str(val), str(test), CLIP, 8, 0, views=views)


def probe(encoder: Path, **changes) -> Probe:
    settings = {
        "optim": OptimConfig(lr=Schedule(1e-3), weight_decay=Schedule(0.1)),
        "grid": GRID,
        "rows": ("encoder", "frame"),
    }
    settings |= {"classes": 2, "probe": ProbeConfig(depth=1, heads=4)}
    return Probe(str(encoder), **settings | changes)


def test_a_head_is_chosen_on_val_and_reported_on_test(clips_manifest, encoder_file, tmp_path):
    loaded = data(clips_manifest, Views(2, 3))
    stage = probe(encoder_file, layers=(0, 1))
    trainer = fit(stage, loaded, tmp_path, steps=8)
    trainer.test(stage, loaded, verbose=False)
    heads = [line for line in read(tmp_path / "heads.csv") if line["row"] == "encoder"]
    assert len(heads) == 4
    assert [(float(head["lr"]), float(head["weight_decay"])) for head in heads] == GRID.heads(stage.optim)
    best = max(heads, key=lambda head: float(head["val"]))
    assert best["chosen"] == "1" and int(best["head"]) == stage.head
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [score["name"] for score in scores] == ["our encoder", "our encoder, one frame", "chance"]
    predictions = read(tmp_path / "predictions.csv")
    assert [int(line["row"]) for line in predictions] == list(range(11))
    assert all(line["label_name"] == line["label"] for line in predictions)  # no list has names
    right = np.mean([line["label"] == line["answer"] for line in predictions])
    assert scores[0]["value"] == pytest.approx(right) == pytest.approx(float(best["test"]), abs=1e-4)
    assert sum(int(line["clips"]) for line in read(tmp_path / "classes.csv")) == 11
    assert stage.tokens("encoder", torch.zeros(1, 3, 4, 32, 32)).shape == (1, 2 * 2 * 16, 48)


def test_the_choice_on_the_test_split_is_labelled_and_never_silent(clips_manifest, encoder_file, tmp_path):
    loaded = data(clips_manifest, Views())
    stage = probe(encoder_file, selection="best_on_test", rows=("encoder",))
    fit(stage, loaded, tmp_path, steps=1).test(stage, loaded, verbose=False)
    assert json.loads((tmp_path / "scores.json").read_text())[0]["name"] == "our encoder, best head on test"
    same = LabelledClipData(
        [Source(str(clips_manifest))], str(clips_manifest), os.path.relpath(clips_manifest), CLIP, 8, 0
    )
    with pytest.raises(UserError, match="a head chosen on one of 4 is chosen on the test split"):
        fit(probe(encoder_file), same, tmp_path, steps=1)
    assert ChosenHead("encoder", (0.5, 0.9), (0.8, 0.7), False).head == 1
    assert ChosenHead("encoder", (0.5, 0.9), (0.8, 0.7), True).head == 0


def test_predictions_by_hand(tmp_path):
    metric = Predictions(2, 2)
    metric.begin()
    shares = torch.tensor([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [[0.1, 0.9], [0.3, 0.7], [0.2, 0.8]]])
    metric.update(shares, torch.tensor([0, 1, 1]), torch.tensor([2, 0, 1]))
    predictions = metric.compute()
    assert predictions["row"].tolist() == [0, 1, 2] and predictions["label"].tolist() == [1, 1, 0]
    assert accuracies(predictions) == pytest.approx((2 / 3, 2 / 3))
    confusion = confusion_matrix(predictions, 0, 3)
    assert confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    write_classes(tmp_path / "classes.csv", confusion, ["a", "b", "c"])
    assert [line["accuracy"] for line in read(tmp_path / "classes.csv")] == ["1.0000", "0.5000", ""]

    (tmp_path / "list.csv").write_text("path,label\nöl.mp4,Öffnen\nb.mp4,Öffnen\nc.mp4,Gehen\n")
    manifest = read_manifest(tmp_path / "list.csv")
    write_predictions(tmp_path / "predictions.csv", manifest, ["Gehen", "Öffnen"], predictions, head=0)
    names = [
        (line["path"], line["label_name"], line["answer_name"]) for line in read(tmp_path / "predictions.csv")
    ]
    assert names == [
        ("öl.mp4", "Öffnen", "Öffnen"),
        ("b.mp4", "Öffnen", "Gehen"),
        ("c.mp4", "Gehen", "Gehen"),
    ]


def test_views_are_segments_of_time_and_squares_of_the_picture(tmp_path):
    pictures = [np.full((16, 32, 3), 8 * t, np.uint8) for t in range(30)]
    write_video(tmp_path / "wide.mp4", even_times(30), pictures=pictures, size=(32, 16))
    (tmp_path / "m.csv").write_text("path,label\nwide.mp4,1\nmissing.mp4,0\n")
    views = ViewClips(read_manifest(tmp_path / "m.csv"), ClipConfig(frames=2, fps=10.0, size=16), Views(2, 3))
    batch = collate_views([views[0], views[1]])
    assert batch.clip.shape == (6, 2, 3, 16, 16) and batch.index.tolist() == [0] * 6 and batch.lost == 1
    brightness = batch.clip[:, 0].float().mean(dim=(1, 2, 3))
    assert (
        brightness[0] < brightness[3] and abs(brightness[0] - brightness[2]) < 3
    )  # segments first, crops within
    assert boxes_along(16, 32, 3) == [(0, 0, 16, 16), (0, 8, 16, 16), (0, 16, 16, 16)]
    assert boxes_along(40, 20, 1) == [(10, 0, 20, 20)]
    with pytest.raises(UserError, match="segments=0"):
        Views(segments=0)


def test_a_class_without_training_clips_is_refused(clips_manifest):
    with pytest.raises(
        ManifestError, match=r"data\.train has no clip of 1 of model\.classes=3 classes, the first is 2"
    ):
        data(clips_manifest, Views()).check_labels(3)


@pytest.fixture
def labelled(clips_manifest) -> list[str]:
    """Training, validation and test manifests with several labels and a number.

    Clips have label 0 when the square goes left, and label 1 always but once. The number is large one way and
    small the other.
    """
    rows = [f"{i:02}.mp4,{i % 2},{('0|1', '1')[i % 2] if i else '0'},{(90, 110)[i % 2]}" for i in range(24)]
    splits = {"train": (clips_manifest, rows), "val": (twin(clips_manifest), rows[1:14])}
    splits["test"] = (twin(clips_manifest), rows[14:] + rows[:1])
    files = [manifest.with_name(f"labelled_{name}.csv") for name, (manifest, _) in splits.items()]
    for file, (_, part) in zip(files, splits.values(), strict=True):
        file.write_text("\n".join(["path,label,labels,speed", *part]) + "\n")
    return list(map(str, files))


@pytest.mark.parametrize(
    ("targets", "classes", "numbers", "measure"),
    [("multilabel", 2, (), "mean average precision"), ("regression", 1, ("speed",), "R2")],
)
def test_several_labels_and_numbers_are_learned(
    labelled, encoder_file, tmp_path, targets, classes, numbers, measure
):
    train, val, test = labelled
    loaded = LabelledClipData([Source(train)], val, test, CLIP, 8, 0, views=Views(2), numbers=numbers)
    optim = OptimConfig(lr=Schedule(3e-3), weight_decay=Schedule(0.1))
    stage = Probe(
        str(encoder_file),
        classes,
        ProbeConfig(1, 4),
        optim=optim,
        grid=GRID,
        rows=("encoder",),
        targets=targets,
    )
    trainer = fit(stage, loaded, tmp_path, steps=60)
    trainer.test(stage, loaded, verbose=False)
    score, chance = json.loads((tmp_path / "scores.json").read_text())
    assert score["measure"] == measure and score["clips"] == 11 and score["value"] > 0.5 + chance["value"] / 2
    predictions = read(tmp_path / "predictions.csv")
    assert len(predictions) == 11 and len(read(tmp_path / "targets.csv")) == classes
    if targets == "regression":
        speed = np.array([float(line["speed"]) for line in predictions])
        answer = np.array([float(line["speed_answer"]) for line in predictions])
        unexplained = np.square(answer - speed).sum() / np.square(speed - speed.mean()).sum()
        assert 1 - unexplained == pytest.approx(score["value"], abs=1e-3)
        head = stage.parts()["probe"].module.head  # in the manifest's own units
        ours = stage.probes["encoder"].stacked.head.bias[stage.head] * stage.task.std + stage.task.mean
        torch.testing.assert_close(head.bias.detach(), ours.detach())


@pytest.mark.filterwarnings("ignore:No positive samples")
def test_quality_of_values_by_hand():
    """One label ranked perfectly, one with a wrong clip in between, one that no clip has."""
    targets = torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 1, 0]])
    value = np.array([[[0.9, 0.9, 0.5]], [[0.2, 0.5, 0.5]], [[0.1, 0.4, 0.5]]], dtype=np.float32)
    precision = scores_per_target("multilabel", value, targets)[0]
    assert precision[:2].tolist() == pytest.approx([1.0, (1 + 2 / 3) / 2]) and precision[2].isnan()

    value = np.array([[[1.0]], [[2.0]], [[4.0]]], dtype=np.float32)
    r2 = scores_per_target("regression", value, torch.tensor([[1.0], [2.0], [3.0]]))
    assert float(r2) == pytest.approx(1 - 1 / 2)


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        (
            "labels,9",
            r"has the label '9'; expected whole numbers 0\.\.1 \(model\.classes=2\) with \| between them",
        ),
        ("labels,left", r"has the label 'left'"),
        ("label,0", r"no column labels to read targets from; it has path, label"),
        ("labels,0|1", r"shows the same label 0, label 1 in every clip"),
    ],
)
def test_labels_that_cannot_be_read_or_learned(clips_manifest, column, sentence):
    name, value = column.split(",")
    bad = clips_manifest.parent / "bad.csv"
    bad.write_text(f"path,{name}\n00.mp4,{value}\n01.mp4,{value}\n")
    with pytest.raises(ManifestError, match=sentence):
        LabelledClipData([Source(str(bad))], str(bad), str(bad), CLIP).read_targets("multilabel", 2)
    bad.write_text("path,speed\n00.mp4,3\n01.mp4,fast\n")
    with pytest.raises(ManifestError, match=r"01\.mp4 has speed='fast'; expected a number"):
        LabelledClipData([Source(str(bad))], str(bad), str(bad), CLIP, numbers=("speed",)).read_targets(
            "regression", 1
        )


RECIPE = """
model:
  encoder: encoder.safetensors
  classes: 2
  probe: {depth: 1, heads: 4}
  grid: {lr: [0.001, 0.0001]}
data:
  train: [{manifest: TRAIN}]
  val: VAL
  test: TEST
  clip: {frames: 4, fps: 8, size: 32}
  views: {segments: 2}
  workers: 0
trainer: {max_steps: 3, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false,
  log_every_n_steps: 1}
"""


def one_and_two(
    tmp_path: Path, recipe: str, *paths: object
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The predictions of one process in batches of four, and of two in batches of two; scores are equal."""
    for name, path in zip(("TRAIN", "VAL", "TEST"), paths, strict=True):
        recipe = recipe.replace(name, str(path))
    (tmp_path / "recipe.yaml").write_text(recipe)
    program = [sys.executable, "-m", "stages.probe", "fit", "--config", "recipe.yaml"]
    spread = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.batch_size", "2", "--out", "two"]
    for arguments in (["--data.batch_size", "4", "--out", "one"], spread):
        done = subprocess.run(
            [*program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    scores = [json.loads((tmp_path / name / "scores.json").read_text()) for name in ("one", "two")]
    assert [score["value"] for score in scores[0]] == pytest.approx(
        [score["value"] for score in scores[1]], rel=1e-3
    )
    return read(tmp_path / "one" / "predictions.csv"), read(tmp_path / "two" / "predictions.csv")


@pytest.mark.slow
def test_two_processes_count_every_clip_once(clips_manifest, encoder_file, tmp_path):
    """Eleven test clips over two processes, in batches of four and two: the files of one process."""
    one, two = one_and_two(tmp_path, RECIPE, clips_manifest, *halves(clips_manifest))
    assert len(one) == 11 and [line["row"] for line in two] == [str(i) for i in range(11)]
    assert [line["answer"] for line in one] == [line["answer"] for line in two]


@pytest.mark.slow
def test_two_processes_predict_the_numbers_of_one(labelled, encoder_file, tmp_path):
    """Thirteen test clips, so that one process has one more than the other."""
    train, test, val = labelled
    recipe = RECIPE.replace("classes: 2", "classes: 1\n  targets: regression")
    one, two = one_and_two(
        tmp_path, recipe.replace("  views:", "  numbers: [speed]\n  views:"), train, val, test
    )
    assert [line["row"] for line in two] == [str(i) for i in range(13)]
    first, second = ([float(line["speed_answer"]) for line in lines] for lines in (one, two))
    assert first == pytest.approx(second, rel=1e-4)
