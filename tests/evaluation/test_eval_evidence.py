"""A probe's score is evidence: no head is chosen or scored on clips without meaning, or on clips of
training."""
# ruff: noqa: F811  encoder_file is a fixture

import json
from pathlib import Path

import numpy as np
import pytest

from tests.stages.test_probe_stage import CLIP, GRID, data, encoder_file, probe, read, twin  # noqa: F401
from tests.stages.test_stages import fit
from vjepa.data.clip_data import Source
from vjepa.data.manifest_files import ManifestError
from vjepa.data.views import Views
from vjepa.drawing.film import write_png
from vjepa.errors import DataError, UserError
from vjepa.evaluation.probe_data import ProbeData
from vjepa.models.probe import ProbeConfig

MANY = "path,labels,speed"
SEGMENTS = "path,label,start,end"


def listed(manifest: Path, name: str, *rows: str, header: str = "path,label") -> str:
    """A manifest beside another."""
    file = manifest.with_name(name)
    file.write_text("\n".join([header, *rows]) + "\n")
    return str(file)


def splits(train: str, val: str, test: str, **changes) -> ProbeData:
    return ProbeData([Source(train)], val, test, CLIP, 8, 0, **changes)


def test_no_head_is_chosen_on_clips_that_cannot_be_decoded(clips_manifest, encoder_file, tmp_path):
    gone = listed(clips_manifest, "gone.csv", "gone0.mp4,0", "gone1.mp4,1")
    loaded = splits(str(clips_manifest), gone, str(twin(clips_manifest)))
    stage = probe(encoder_file, rows=("encoder",))
    with pytest.raises(DataError, match="no validation clip could be decoded"):
        fit(stage, loaded, tmp_path, steps=3, val_check_interval=3)
    trainer = fit(stage, loaded, tmp_path, steps=1, limit_val_batches=0)
    with pytest.raises(DataError, match="no validation clip could be decoded"):
        trainer.test(stage, loaded, verbose=False)
    assert not (tmp_path / "scores.json").exists()


@pytest.mark.parametrize(
    ("targets", "classes", "rows", "sentence"),
    [
        ("multilabel", 2, ["02.mp4,,1", "03.mp4,,2"], r"no clip of data\.val .* has any of the 2 labels"),
        ("regression", 1, ["02.mp4,0,5", "03.mp4,1,5"], r"data\.val .*2 clips hold one and the same speed"),
        ("regression", 1, ["02.mp4,0,5"], r"data\.val .*1 clips hold one and the same speed"),
    ],
)
def test_targets_that_measure_nothing_are_refused(
    clips_manifest, encoder_file, tmp_path, targets, classes, rows, sentence
):
    good = ["00.mp4,0,1", "01.mp4,1,2"]
    train = listed(clips_manifest, "some.csv", *good, header=MANY)
    val = listed(twin(clips_manifest), "v.csv", *rows, header=MANY)
    test = listed(twin(clips_manifest), "t.csv", *good, header=MANY)
    numbers = ("speed",) if targets == "regression" else ()
    stage = probe(encoder_file, targets=targets, classes=classes)
    with pytest.raises(ManifestError, match=sentence):
        fit(stage, splits(train, val, test, numbers=numbers), tmp_path, steps=1)


def test_labels_without_test_clips_are_left_out_aloud(clips_manifest, encoder_file, tmp_path, capsys):
    rows = [f"{i:02}.mp4,{'0' if i % 2 else '0|1'}" for i in range(8)]
    rows[7] = "07.mp4,1"
    train = listed(clips_manifest, "many.csv", *rows, header="path,labels")
    val = listed(twin(clips_manifest), "v.csv", *rows[:4], header="path,labels")
    test = listed(twin(clips_manifest), "t.csv", "05.mp4,0", "06.mp4,", header="path,labels")
    stage = probe(encoder_file, targets="multilabel", rows=("encoder",))
    loaded = splits(train, val, test)
    fit(stage, loaded, tmp_path, steps=1).test(stage, loaded, verbose=False)
    sentence = "labels that occur in no test clip are left out of the mean: label1"
    assert sentence in capsys.readouterr().out
    scores = [line["mean average precision"] for line in read(tmp_path / "targets.csv")]
    assert scores[0] != ""
    assert scores[1] == ""


@pytest.mark.parametrize("case", ["train", "link", "row", "segment"])
def test_splits_that_share_clips_are_refused(clips_manifest, encoder_file, tmp_path, case):
    """The same file, a link to its folder, another list with one of its clips, an overlapping segment."""
    folder = clips_manifest.parent
    apart = twin(clips_manifest)
    train = str(clips_manifest)
    val = listed(apart, "v.csv", "00.mp4,0", "01.mp4,1")
    (tmp_path / "link").symlink_to(folder)
    tests = {
        "train": train,
        "link": str(tmp_path / "link" / clips_manifest.name),
        "row": listed(apart, "t.csv", "02.mp4,0", f"{folder}/../{folder.name}/07.mp4,1"),
        "segment": listed(apart, "s.csv", "01.mp4,1,0.4,0.9", header=SEGMENTS),
    }
    pair = "data.val and data.test" if case == "segment" else "data.train and data.test"
    with pytest.raises(ManifestError, match=rf"{pair} show the same clips of \d+ videos, the first is /"):
        fit(probe(encoder_file), splits(train, val, tests[case]), tmp_path, steps=1)


def test_separate_segments_and_a_choice_on_the_test_split_are_accepted(
    clips_manifest, encoder_file, tmp_path
):
    train = listed(clips_manifest, "early.csv", "00.mp4,0,0,0.5", "01.mp4,1,0,0.5", header=SEGMENTS)
    val = listed(clips_manifest, "late.csv", "00.mp4,0,0.5,1", "01.mp4,1,0.5,1", header=SEGMENTS)
    stage = probe(encoder_file, selection="best_on_test", rows=("encoder",))
    loaded = splits(train, val, val)
    fit(stage, loaded, tmp_path, steps=1).test(stage, loaded, verbose=False)
    assert json.loads((tmp_path / "scores.json").read_text())[0]["clips"] == 2


def test_mistakes_are_called_what_they_are(clips_manifest, encoder_file, tmp_path):
    with pytest.raises(UserError, match=r"model\.grid: lr=\(-0\.001,\) .* hold a negative number"):
        probe(encoder_file, grid=type(GRID)(lr=(-0.001,)))
    bare = listed(twin(clips_manifest), "bare.csv", "00.mp4,0", "01.mp4,")
    good = listed(twin(clips_manifest), "good.csv", "02.mp4,0")
    with pytest.raises(ManifestError, match=r"bare\.csv: 1 of 2 rows have no label, the first is 01\.mp4"):
        fit(probe(encoder_file), splits(str(clips_manifest), bare, good), tmp_path, steps=1)


def test_images_are_read_by_a_linear_probe(clips_manifest, encoder_file, tmp_path):
    """One frame, which the encoder repeats to a tubelet, and a grid of linear heads; the confusion matrix is
    drawn."""
    pytest.importorskip("matplotlib")
    manifests = []
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        for i in range(6):
            brightness = (40, 200)[i % 2] + i
            write_png(tmp_path / split / f"{i}.png", np.full((32, 32, 3), brightness, np.uint8))
        rows = [f"{i}.png,{i % 2}" for i in range(6)]
        manifests.append(listed(tmp_path / split / "m", "m.csv", *rows))
    train, val, test = manifests
    clip = type(CLIP)(frames=1, size=32, scale=(0.8, 1.0))
    loaded = ProbeData([Source(train)], val, test, clip, 6, 0, views=Views(1, 2))
    stage = probe(encoder_file, probe=ProbeConfig(depth=0), rows=("encoder",))
    fit(stage, loaded, tmp_path, steps=30).test(stage, loaded, verbose=False)
    assert json.loads((tmp_path / "scores.json").read_text())[0]["value"] == 1.0
    assert (tmp_path / "confusion.png").stat().st_size > 1000


def test_activation_checkpointing_trains_to_the_same_scores(clips_manifest, encoder_file, tmp_path):
    tables = []
    for checkpointing in (False, True):
        loaded = data(clips_manifest, Views())
        stage = probe(
            encoder_file,
            rows=("encoder",),
            activation_checkpointing=checkpointing,
            probe=ProbeConfig(2, 4),
        )
        out = tmp_path / f"checkpointing-{checkpointing}"
        out.mkdir()
        fit(stage, loaded, out, steps=4).test(stage, loaded, verbose=False)
        tables.append((out / "heads.csv").read_text())
    assert tables[0] == tables[1]
