"""Features in files are features of the encoder, whatever the file, the process, the interruption or the window."""

import os
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

import vjepa.features.extraction as features_module
from tests.test_probe_stage import data as splits_of
from tests.test_probe_stage import probe as stage_of
from tests.test_stages import fit
from tests.videos import even_times, write_video
from vjepa.__main__ import main
from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import Row, read_manifest
from vjepa.data.transforms import normalise
from vjepa.data.video_files import write_png
from vjepa.data.views import Views
from vjepa.data.windows import starts_in
from vjepa.errors import UserError
from vjepa.features.clip_features import clip_features, read_clip
from vjepa.features.contact_sheet import GREEN, Sheet, contact_sheet
from vjepa.features.extraction import FeatureConfig, digest_of, extract, listed
from vjepa.features.files import Features, read_features
from vjepa.features.nearest import knn_accuracy, knn_guess, nearest
from vjepa.features.neighbours import neighbours
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.weights.export import encoder_part, export, probe_part
from vjepa.weights.load import load_encoder

TINY = EncoderConfig(width=48, depth=2, heads=4, mlp_width=96, patch=8)
SMALL = {"frames": 4, "fps": 8.0, "size": 32, "dtype": "float32", "workers": 0, "device": "cpu", "shard": 10}


@pytest.fixture
def source(tmp_path):
    torch.manual_seed(1)
    probe = AttentiveProbe(ProbeConfig(1, 4), 48, 2)
    export(
        tmp_path / "encoder.safetensors", {"ema": encoder_part(Encoder(TINY)), "probe": probe_part(probe)}, {}
    )
    return tmp_path / "encoder.safetensors"


def config(source, videos, out, **changes) -> FeatureConfig:
    return FeatureConfig(encoder=source, videos=videos, out=out, **SMALL | changes)


@pytest.mark.parametrize("format", ["parquet", "safetensors"])
def test_files_hold_what_the_encoder_says(clips_manifest, source, tmp_path, format):
    found = read_features(
        extract(config(source, clips_manifest, tmp_path / "out", pool="none", format=format))
    )
    clip = read_clip(clips_manifest.parent / "07.mp4", ClipConfig(frames=4, fps=8.0, size=32))
    encoder = load_encoder(source).eval()
    assert found.values.shape == (24, 2 * 16, 48) and found.columns["label"][7] == 1
    wanted = encoder(normalise(clip[None]))[0].detach()
    torch.testing.assert_close(torch.from_numpy(found.values[7]), wanted, atol=1e-5, rtol=1e-4)
    assert found.columns["path"][7] == "07.mp4" and len(list((tmp_path / "out").glob(f"*.{format}"))) == 3


def test_pooling_and_layers(clips_manifest, source, tmp_path):
    clip = read_clip(clips_manifest.parent / "00.mp4", ClipConfig(frames=4, fps=8.0, size=32))
    encoder = Encoder(TINY)
    tokens = clip_features(encoder, clip, "none")
    torch.testing.assert_close(clip_features(encoder, clip, "mean"), tokens.mean(dim=0))
    torch.testing.assert_close(clip_features(encoder, clip, "frame")[1], tokens[16:].mean(dim=0))
    assert clip_features(encoder, torch.stack([clip, clip]), "frame", layers=(0, 1)).shape == (2, 2, 2, 48)
    torch.testing.assert_close(clip_features(encoder, clip, "none", layers=(0, -1))[1], tokens)
    out = extract(
        config(source, clips_manifest, tmp_path / "out", pool="attentive", probe=source, dtype="float16")
    )
    assert read_features(out).values.shape == (24, 48) and read_features(out).values.dtype == np.float16
    encoder.train()
    clip_features(encoder, clip)
    assert all(module.training for module in encoder.modules())  # as it was


def test_a_cut_run_goes_on_and_several_processes_share_a_folder(clips_manifest, source, tmp_path):
    whole = read_features(extract(config(source, clips_manifest, tmp_path / "whole")))
    out = extract(config(source, clips_manifest, tmp_path / "out"))
    (out / "000001.parquet").unlink()
    before = (out / "000000.parquet").stat().st_mtime_ns
    with pytest.raises(UserError, match=r"not finished: 1 of 3 files are missing"):
        read_features(out)
    other = source.with_name("moved.safetensors")
    shutil.copy(source, other)  # the same encoder by another name, and by a relative one
    extract(config(Path(os.path.relpath(other)), clips_manifest, out, batch_size=3))
    assert (out / "000000.parquet").stat().st_mtime_ns == before
    np.testing.assert_array_equal(read_features(out).values, whole.values)
    for part in (1, 0):
        shared = extract(config(source, clips_manifest, tmp_path / "shared", part=part, parts=2))
    np.testing.assert_array_equal(read_features(shared).values, whole.values)
    extract(config(source, clips_manifest, shared))  # one process goes on where two began
    with pytest.raises(UserError, match=r"holds other features .*pool: mean -> frame"):
        extract(config(source, clips_manifest, out, pool="frame"))


def test_windows_cover_a_video_to_its_end(clips_manifest, source, tmp_path):
    clip = ClipConfig(frames=4, fps=8.0, size=32)
    row = Row(clips_manifest.parent / "00.mp4", None, None, None)  # one second, a window of half
    assert starts_in(row, clip, 0.0) == pytest.approx([0.0, 0.5])
    assert starts_in(row, clip, 0.4) == pytest.approx([0.0, 0.3, 0.5])
    assert starts_in(row, ClipConfig(frames=40, fps=8.0), 0.5) == [0.0]
    found = read_features(extract(config(source, clips_manifest, tmp_path / "out", overlap=0.0)))
    assert len(found.values) == 48 and found.columns["start"][:3] == pytest.approx([0.0, 0.5, 0.0])


def test_pictures_and_bad_files(source, tmp_path, capsys):
    write_png(tmp_path / "red.png", np.full((40, 60, 3), (200, 0, 0), np.uint8))
    write_video(tmp_path / "a.mp4", even_times(30), size=(32, 32))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "m.csv").write_text("path\nred.png\nbad.mp4\na.mp4\n")
    for overlap, frames in ((None, 1), (0.5, 4)):
        out = extract(
            config(source, tmp_path / "m.csv", tmp_path / f"out{frames}", frames=frames, overlap=overlap)
        )
        found = read_features(out)
        assert found.columns["path"][0] == "red.png" and set(found.columns["row"]) == {0, 2}
        (out / "000000.parquet").unlink()
        for part in (0, 1):  # resumed, by two processes
            extract(
                config(source, tmp_path / "m.csv", out, frames=frames, overlap=overlap, part=part, parts=2)
            )
        assert (out / "bad_files.txt").read_text().count("bad.mp4") == 1
    assert "1 clips or files could not be decoded" in capsys.readouterr().out


@pytest.mark.parametrize("overlap", [None, 0.0])
def test_where_nothing_can_be_decoded_there_are_no_features(source, tmp_path, overlap):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "m.csv").write_text("path\nbad.mp4\n")
    for _ in range(2):  # the second run finds the first one's files
        with pytest.raises(
            UserError, match=r"no clip of .*m\.csv could be decoded; .*bad_files\.txt says why"
        ):
            extract(config(source, tmp_path / "m.csv", tmp_path / "out", overlap=overlap))
    assert (tmp_path / "out/bad_files.txt").read_text().count("bad.mp4") == 1


def test_one_file_or_a_folder_of_pictures_needs_no_list(clips_manifest, source, tmp_path):
    (tmp_path / "shots").mkdir()
    for i in range(3):
        write_png(tmp_path / f"shots/{i}.png", np.full((40, 60, 3), 80 * i, np.uint8))
    for videos, count in (
        (tmp_path / "shots", 3),
        (tmp_path / "shots/1.png", 1),
        (clips_manifest.parent / "00.mp4", 1),
    ):
        found = read_features(extract(config(source, videos, tmp_path / f"out-{videos.name}")))
        assert len(found.values) == count and found.columns["label"] == [-1] * count
    sheet = contact_sheet(listed(tmp_path / "shots"), read_features(tmp_path / "out-shots"), Sheet(3, 1, 16))
    assert sheet.shape == (3 * 24, 2 * 24, 3)


def test_a_hugging_face_directory_is_known_by_its_weights(tmp_path):
    for name, weights in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    one, same, other = (digest_of(tmp_path / name) for name in "abc")
    assert one == same != other and len(one) == 12


def test_an_exported_probe_answers_a_new_clip(clips_manifest, source, tmp_path):
    """The lines of the module's docstring, beside the stage's own answer."""
    stage = stage_of(source, rows=("encoder",), layers=(0, 1))
    loaded = splits_of(clips_manifest, Views())
    fit(stage, loaded, tmp_path, steps=30).test(stage, loaded, verbose=False)
    export(tmp_path / "probe.safetensors", stage.parts(), {})
    video = clips_manifest.parent / "07.mp4"
    lines = features_module.__doc__.partition("encoder, probe, told")
    code = (
        textwrap.dedent(f"    {lines[1]}{lines[2]}")
        .replace("vitl16.pt", str(source))
        .replace("video.mp4", str(video))
    )
    names = dict(vars(features_module))
    exec(code.replace("probe.safetensors", str(tmp_path / "probe.safetensors")), names)
    clip = normalise(read_clip(video, loaded.clip)[None])
    wanted = stage.logits(clip)["encoder"][stage.head].argmax()
    assert names["answer"] == str(int(wanted)) and names["told"]["targets"] == "classes"
    assert names["told"]["layers"] == [0, 1] and names["told"]["encoder"] == str(source)


def test_impossible_requests_are_one_sentence(clips_manifest, source, tmp_path, capsys):
    wide = tmp_path / "wide.safetensors"
    export(wide, {"probe": probe_part(AttentiveProbe(ProbeConfig(1, 4), 96, 2))}, {})
    for words, sentence in (
        (["--frames", "5"], "5 frames of 32x32 does not divide into tubelets"),
        (["--overlap", "1"], "--overlap 1.0 is a share"),
        (["--pool", "attentive"], "--pool attentive and --probe go together"),
        (["--layers", "[7]"], "the encoder has 2 blocks"),
        (["--device", "gpu"], "--device gpu cannot be used"),
        (["--pool", "attentive", "--probe", str(wide)], "reads tokens of width 96, not the 48 of"),
        (["--workers", "-1"], "--workers -1 must be 0 or more"),
    ):
        always = [
            "features",
            "--encoder",
            str(source),
            "--videos",
            str(clips_manifest),
            "--out",
            str(tmp_path / "o"),
            "--size",
            "32",
        ]
        with pytest.raises(SystemExit, match="2"):
            main([*always, "--frames", "4", "--workers", "0", *words])
        found = capsys.readouterr().err.strip().splitlines()[-1]
        assert sentence in found and found.startswith("error: ")


def test_neighbours(clips_manifest, source, tmp_path):
    unit = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), dim=1)
    closeness, places = nearest(unit[:1], unit, 2, but=torch.tensor([0]))
    assert places.tolist() == [[1, 2]] and closeness[0, 0] > 0.9
    assert knn_guess(torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[1, 0, 0]]), 2).tolist() == [1]
    found = read_features(extract(config(source, clips_manifest, tmp_path / "out")))
    assert knn_accuracy(found, found, k=1) == 1.0
    sheet = contact_sheet(read_manifest(clips_manifest), found, Sheet(queries=2, neighbours=3, pixels=32))
    assert sheet.shape == (2 * 40, 4 * 40, 3)


def test_neighbours_of_windows_and_of_clips_without_labels(clips_manifest, source, tmp_path):
    """Windows of one video have pictures of their own, and clips without a label no green frame."""
    bare = clips_manifest.with_name("bare.csv")
    bare.write_text("path\n00.mp4\n01.mp4\n")
    found = read_features(extract(config(source, bare, tmp_path / "out", overlap=0.0)))
    sheet = contact_sheet(read_manifest(bare), found, Sheet(queries=4, neighbours=1, pixels=32))
    first, second = sheet[4:36, 4:36], sheet[44:76, 4:36]
    assert found.columns["row"] == [0, 0, 1, 1] and np.abs(first.astype(int) - second).max() > 50
    assert not (sheet == np.array(GREEN, np.uint8)).all(axis=2).any()
    with pytest.raises(UserError, match=r"the features are not of .*clips\.csv"):
        contact_sheet(
            read_manifest(clips_manifest), Features(found.values, found.columns | {"row": [99] * 4}), Sheet()
        )


def test_nearest_neighbours_vote_clip_by_clip(clips_manifest, source, tmp_path, capsys):
    """What one clip is answered depends on no other that is scored; the command prints it, and refuses other kinds."""
    generator = np.random.default_rng(0)
    fitted, scored = (
        Features(generator.normal(size=(n, 5)) + 3, {"label": [i % 2 for i in range(n)]}) for n in (30, 9)
    )
    whole = knn_accuracy(fitted, scored, 3) * 9
    alone = [
        knn_accuracy(fitted, Features(scored.values[i : i + 1], {"label": [i % 2]}), 3) for i in range(9)
    ]
    assert sum(alone) == pytest.approx(whole)
    with pytest.raises(UserError, match="k=0: no neighbour votes"):
        knn_accuracy(fitted, scored, 0)
    with pytest.raises(UserError, match=r"of shape \(5,\) and \(4,\) cannot be compared"):
        knn_accuracy(fitted, Features(scored.values[:, :4], scored.columns), 3)
    train, test, frame = (extract(config(source, clips_manifest, tmp_path / name, pool=pool))
                          for name, pool in (("train", "mean"), ("test", "mean"), ("frame", "frame")))  # fmt: skip
    neighbours(features=train, videos=clips_manifest, picture=tmp_path / "sheet.png", scored=test, k=1, sheet=Sheet(2, 2, 16))
    assert (
        "1-NN accuracy of 24 clips' labels" in capsys.readouterr().out and (tmp_path / "sheet.png").exists()
    )
    with pytest.raises(UserError, match=r"hold different features .*pool: mean and frame"):
        neighbours(features=train, videos=clips_manifest, picture=tmp_path / "sheet.png", scored=frame)
