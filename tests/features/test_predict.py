"""`predict`: a probe's classes of new videos, and what a predictor did not foresee."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import moving_square
from tests.features.test_look import CONFIG, film, weights  # noqa: F401  fixtures
from vjepa.__main__ import main
from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import Row
from vjepa.drawing.film import write_mp4
from vjepa.errors import UserError
from vjepa.features.clip_features import read_clip
from vjepa.features.look_predictions import Errors, Forecaster, load_forecaster
from vjepa.features.look_windows import Timing
from vjepa.features.predict import predict
from vjepa.features.probe_answers import probe_clip, probe_shares, read_probe_schema
from vjepa.features.surprise import Curve, curve_of
from vjepa.loading import load
from vjepa.models.encoder import Encoder
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.weights.card import read_card
from vjepa.weights.export import Part, encoder_part, export, part_description, probe_part
from vjepa.weights.files import weights_digest
from vjepa.weights.load import load_encoder, load_probe

SCHEMA = {"layers": [], "clip": {"frames": 4, "fps": 5.0, "size": 32, "short": "hold"}, "targets": "classes"}
NAMES = ["left", "right", "up"]


def write_probe(path, targets="classes", with_encoder=True, **schema):
    """A probe stage's export, beside its encoder or without."""
    torch.manual_seed(0)
    part = probe_part(AttentiveProbe(ProbeConfig(1, 2), CONFIG.width, len(NAMES)))
    schema = SCHEMA | {"targets": targets, "names": NAMES} | schema
    parts = {"probe": Part(part.module, part.description | {"schema": schema})}
    if with_encoder:
        parts["ema"] = encoder_part(Encoder(CONFIG))
    export(path, parts, {})
    return path


def rows_in(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def short(tmp_path):
    """Half a second at 10 frames a second: a single window, which `read_clip` reads too."""
    path = tmp_path / "short.mp4"
    write_mp4(path, np.stack(moving_square(1, 0, frames=5)), fps=10)
    return path


def test_a_window_gets_the_shares_of_its_clip(short, tmp_path):
    source = write_probe(tmp_path / "probe.safetensors")
    (row,) = rows_in(predict([short], probe=source, out=tmp_path / "out.csv", top=3, device="cpu"))
    schema = read_probe_schema(source)
    clip = read_clip(short, probe_clip(schema))
    (shares,) = probe_shares(load_encoder(source), load_probe(source), schema, clip[None])
    assert [row[f"class_{i}"] for i in (1, 2, 3)] == list(shares)
    assert [float(row[f"share_{i}"]) for i in (1, 2, 3)] == pytest.approx(list(shares.values()), abs=1e-4)
    assert (float(row["start"]), float(row["end"])) == pytest.approx((0.0, 0.5))


def test_windows_cover_a_long_video(film, tmp_path):  # noqa: F811
    source = write_probe(tmp_path / "probe.safetensors")
    rows = rows_in(predict([film], probe=source, out=tmp_path / "out.csv", device="cpu"))
    assert [float(row["start"]) for row in rows] == pytest.approx([0.0, 0.8, 1.6, 2.2])
    assert float(rows[-1]["end"]) == pytest.approx(3.0)
    half = rows_in(predict([film], probe=source, out=tmp_path / "half.csv", overlap=0.5, device="cpu"))
    assert len(half) == 7


def test_numbers_and_labels_are_written_as_they_are(short, tmp_path):
    source = write_probe(tmp_path / "numbers.safetensors", targets="regression")
    (row,) = rows_in(predict([short], probe=source, out=tmp_path / "numbers.csv", device="cpu"))
    assert list(row) == ["path", "start", "end", *sorted(NAMES)]
    source = write_probe(tmp_path / "labels.safetensors", targets="multilabel")
    (row,) = rows_in(predict([short], probe=source, out=tmp_path / "labels.csv", device="cpu"))
    shares = [float(row[f"share_{i}"]) for i in (1, 2, 3)]
    assert shares == sorted(shares, reverse=True)


def test_a_broken_file_is_named_and_the_others_are_predicted(short, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    source = write_probe(tmp_path / "probe.safetensors")
    rows = rows_in(predict([broken, short], probe=source, out=tmp_path / "out.csv", device="cpu"))
    assert len(rows) == 1
    assert "broken.mp4" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"cannot decode .*broken\.mp4"):
        predict([broken], probe=source, out=tmp_path / "out.csv", device="cpu")


def test_a_probe_without_an_encoder_asks_for_one(short, tmp_path):
    source = write_probe(tmp_path / "probe.safetensors", with_encoder=False)
    with pytest.raises(UserError, match="holds no encoder; give --encoder"):
        predict([short], probe=source, out=tmp_path / "out.csv", device="cpu")
    other = write_probe(tmp_path / "other.safetensors")
    predict([short], probe=source, encoder=other, out=tmp_path / "out.csv", device="cpu")
    # One of the same shape whose tokens the probe was not trained on.
    strict = write_probe(tmp_path / "strict.safetensors", with_encoder=False, encoder_digest="0" * 12)
    with pytest.raises(UserError, match="another encoder"):
        predict([short], probe=strict, encoder=other, out=tmp_path / "out.csv", device="cpu")


def test_a_probe_that_names_the_weights_in_the_package_finds_them(short, tmp_path, monkeypatch):
    box = tmp_path / "box.safetensors"
    export(box, {"ema": encoder_part(Encoder(CONFIG))}, {})
    monkeypatch.setattr("vjepa.weights.files.box_path", lambda: box)
    monkeypatch.chdir(tmp_path)
    digest = weights_digest(load_encoder("demo"))
    named = {"encoder": "demo", "encoder_digest": digest}
    source = write_probe(tmp_path / "probe.safetensors", with_encoder=False, **named)
    (row,) = rows_in(predict([short], probe=source, out=tmp_path / "out.csv", device="cpu"))
    assert row["class_1"] in NAMES
    assert list(load(source).predict(short)) == [row[f"class_{i}"] for i in (1, 2, 3)]


# Surprise


def test_surprise_is_at_every_moment_that_a_window_can_predict(weights, film, tmp_path):  # noqa: F811
    pytest.importorskip("matplotlib")
    out = tmp_path / "surprise.csv"
    main(["predict", str(film), "--surprise", "--encoder", str(weights), "--out", str(out)])
    rows = rows_in(out)
    # Windows of two steps of 0.4 s tell their second one: all of the seven steps but the first.
    assert [float(row["start"]) for row in rows] == pytest.approx([0.4 * step for step in range(1, 7)])
    assert all(float(row["error"]) > 0 for row in rows)
    assert out.with_suffix(".png").stat().st_size > 1000


def test_in_a_video_that_stands_still_the_baseline_is_right(weights, tmp_path):  # noqa: F811
    path = tmp_path / "still.mp4"
    write_mp4(path, np.repeat(np.stack(moving_square(1, 0, frames=2))[:1], 20, axis=0), fps=10)
    target = load_encoder(weights)
    forecaster = load_forecaster(weights, read_card(weights), target)
    clip = ClipConfig(frames=8, fps=5.0, size=32)
    # Targets have seen the whole window, and the baseline half of it, so it is nearly right and not quite.
    still = curve_of(Row(path, None, None, None), Timing(clip, 2, 1), forecaster)
    assert still.unchanged.max() < 0.5 * still.predicted.min()


def test_moments_that_several_windows_predict_are_averaged(weights, film, monkeypatch):  # noqa: F811
    monkeypatch.setattr(
        Forecaster, "errors", lambda self, clip: Errors(torch.ones(2, 4, 4), 2 * torch.ones(2, 4, 4))
    )
    forecaster = load_forecaster(weights, read_card(weights), load_encoder(weights))
    timing = Timing(ClipConfig(frames=8, fps=5.0, size=32), 2, 1)
    curve = curve_of(Row(film, None, None, None), timing, forecaster)
    assert np.all(curve.predicted == 1) and np.all(curve.unchanged == 2)


def test_peaks_are_local_and_above_the_mean():
    values = np.array([0.1, 0.1, 0.9, 0.8, 0.1, 0.12, 0.1, 0.7])
    starts = np.arange(8) * 0.4
    curve = Curve(Row(Path("film.mp4"), None, None, None), starts, 0.4, values, values)
    assert curve.peaks() == pytest.approx([2 * 0.4 + 0.2, 7 * 0.4 + 0.2])


def test_a_video_shorter_than_a_window_cannot_surprise(weights, short, tmp_path, capsys):  # noqa: F811
    with pytest.raises(SystemExit):
        main(["predict", str(short), "--surprise", "--encoder", str(write_probe(tmp_path / "p.safetensors"))])
    assert "holds no predictor" in capsys.readouterr().err
    target = load_encoder(weights)
    forecaster = load_forecaster(weights, read_card(weights), target)
    long = Timing(ClipConfig(frames=16, fps=5.0, size=32), 2, 1)
    with pytest.raises(UserError, match=r"too short to be predicted: a window of this encoder is 3\.2 s"):
        curve_of(Row(short, None, None, None), long, forecaster)


@pytest.mark.parametrize(
    "damage",
    [
        {"names": ["left", "left", "up"]},
        {"names": None},
        {"targets": "sorts"},
        {"layers": ["last"]},
        {"clip": {"frame": 4}},
    ],
)
def test_a_damaged_schema_is_refused(short, tmp_path, damage):
    source = write_probe(tmp_path / "probe.safetensors")
    schema = read_probe_schema(source)
    parts = {
        "probe": Part(load_probe(source), {**part_description(source, "probe"), "schema": schema | damage})
    }
    export(source, parts, {})
    said = r"two of the probe's classes are called \['left'\]|ProbeSchema\.\w+ is|ClipFacts lacks frames, fps"
    with pytest.raises(UserError, match=rf"probe\.safetensors: ({said})"):
        read_probe_schema(source)


def test_windows_without_end_are_refused_and_inputs_kept(film, tmp_path):  # noqa: F811
    source = write_probe(tmp_path / "probe.safetensors")
    with pytest.raises(UserError, match="too many; lower --overlap"):
        predict([film], probe=source, out=tmp_path / "a.csv", overlap=0.999999999, device="cpu")
    with pytest.raises(UserError, match="would be overwritten"):
        predict([film], probe=source, out=film, device="cpu")
