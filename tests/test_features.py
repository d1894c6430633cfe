"""Features in files are features of the encoder, whatever the file, the process, the interruption or the window."""

import numpy as np
import pytest
import torch

from tests.videos import even_times, write_video
from vjepa.checkpoint import encoder_part, export, load_encoder, probe_part
from vjepa.data.clips import ClipConfig
from vjepa.data.demo_world.video import write_png
from vjepa.data.manifest import Row, read_manifest
from vjepa.data.transforms import normalise
from vjepa.data.windows import starts_in
from vjepa.errors import UserError
from vjepa.features import FeatureConfig, extract, features, main, read_clip, read_features
from vjepa.models import AttentiveProbe, Encoder, EncoderConfig, ProbeConfig
from vjepa.neighbours import Sheet, contact_sheet, knn_accuracy, knn_guess, nearest

TINY = EncoderConfig(width=48, depth=2, heads=4, mlp_width=96, patch=8)
SMALL = {"frames": 4, "fps": 8.0, "size": 32, "dtype": "float32", "workers": 0, "device": "cpu", "shard": 10}


@pytest.fixture
def source(tmp_path):
    torch.manual_seed(1)
    probe = AttentiveProbe(ProbeConfig(1, 4), 48, 2)
    export(tmp_path / "encoder.safetensors", {"ema": encoder_part(Encoder(TINY)), "probe": probe_part(probe)}, {})
    return tmp_path / "encoder.safetensors"


def config(source, videos, out, **changes) -> FeatureConfig:
    return FeatureConfig(encoder=source, videos=videos, out=out, **SMALL | changes)


@pytest.mark.parametrize("format", ["parquet", "safetensors"])
def test_files_hold_what_the_encoder_says(clips_manifest, source, tmp_path, format):
    found = read_features(extract(config(source, clips_manifest, tmp_path / "out", pool="none", format=format)))
    clip = read_clip(clips_manifest.parent / "07.mp4", ClipConfig(frames=4, fps=8.0, size=32))
    encoder = load_encoder(source).eval()
    assert found.values.shape == (24, 2 * 16, 48) and found.columns["label"][7] == 1
    wanted = encoder(normalise(clip[None]))[0].detach()
    torch.testing.assert_close(torch.from_numpy(found.values[7]), wanted, atol=1e-5, rtol=1e-4)
    assert found.columns["path"][7] == "07.mp4" and len(list((tmp_path / "out").glob(f"*.{format}"))) == 3


def test_pooling_and_layers(clips_manifest, source, tmp_path):
    clip = read_clip(clips_manifest.parent / "00.mp4", ClipConfig(frames=4, fps=8.0, size=32))
    encoder = Encoder(TINY)
    tokens = features(encoder, clip, "none")
    torch.testing.assert_close(features(encoder, clip, "mean"), tokens.mean(dim=0))
    torch.testing.assert_close(features(encoder, clip, "frame")[1], tokens[16:].mean(dim=0))
    assert features(encoder, torch.stack([clip, clip]), "frame", layers=(0, 1)).shape == (2, 2, 2, 48)
    torch.testing.assert_close(features(encoder, clip, "none", layers=(0, -1))[1], tokens)
    out = extract(config(source, clips_manifest, tmp_path / "out", pool="attentive", probe=source, dtype="float16"))
    assert read_features(out).values.shape == (24, 48) and read_features(out).values.dtype == np.float16


def test_a_cut_run_goes_on_and_several_processes_share_a_folder(clips_manifest, source, tmp_path):
    whole = read_features(extract(config(source, clips_manifest, tmp_path / "whole")))
    out = extract(config(source, clips_manifest, tmp_path / "out"))
    (out / "000001.parquet").unlink()
    before = (out / "000000.parquet").stat().st_mtime_ns
    extract(config(source, clips_manifest, out))
    assert (out / "000000.parquet").stat().st_mtime_ns == before
    np.testing.assert_array_equal(read_features(out).values, whole.values)
    for part in (1, 0):
        shared = extract(config(source, clips_manifest, tmp_path / "shared", part=part, parts=2))
    np.testing.assert_array_equal(read_features(shared).values, whole.values)
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
        out = extract(config(source, tmp_path / "m.csv", tmp_path / f"out{frames}", frames=frames, overlap=overlap))
        found = read_features(out)
        assert found.columns["path"][0] == "red.png" and set(found.columns["row"]) == {0, 2}
        assert "bad.mp4" in (out / "bad_files.txt").read_text()
    assert "1 clips or files could not be decoded" in capsys.readouterr().out


def test_impossible_requests_are_one_sentence(clips_manifest, source, tmp_path, capsys):
    for words, sentence in (
        (["--frames", "5"], "5 frames of 32x32 does not divide into tubelets"),
        (["--overlap", "1"], "--overlap 1.0 is a share"),
        (["--pool", "attentive"], "--pool attentive and --probe go together"),
        (["--layers", "[7]"], "the encoder has 2 blocks"),
    ):
        always = ["--encoder", str(source), "--videos", str(clips_manifest), "--out", str(tmp_path / "o"), "--size", "32"]
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
