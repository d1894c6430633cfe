"""Features in files are the encoder's, whatever the file, process, interruption or window."""

import json
import os
import shutil
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

import vjepa.features.clip_features as documented
from tests.stages.test_probe_stage import data as splits_of
from tests.stages.test_probe_stage import probe as stage_of
from tests.stages.test_stages import fit
from tests.videos import even_times, write_video
from vjepa.__main__ import main
from vjepa.data.clips import ClipConfig
from vjepa.data.loose_files import read_videos
from vjepa.data.manifest import Row, read_manifest
from vjepa.data.reading import note_file
from vjepa.data.transforms import normalise
from vjepa.data.views import Views
from vjepa.data.windows import WindowClips, starts_in
from vjepa.drawing.captions import GAP, SMALLEST, line_height
from vjepa.drawing.film import write_png
from vjepa.drawing.palette import RIGHT, rgb
from vjepa.errors import UserError
from vjepa.features.clip_features import clip_features, clip_of, read_clip
from vjepa.features.config import FeatureConfig, source_digest
from vjepa.features.contact_sheet import ROW_GAP, SheetConfig, contact_sheet, neighbour_table
from vjepa.features.extraction import extract, load_extractor
from vjepa.features.files import Features, read_features, read_shard
from vjepa.features.layout import channels_first
from vjepa.features.nearest import knn_accuracy, knn_predict, nearest, nearest_clips
from vjepa.features.neighbours import neighbours
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.weights import facts
from vjepa.weights.export import Part, encoder_part, export, part_description, probe_part
from vjepa.weights.files import weights_digest
from vjepa.weights.load import load_encoder, load_probe

CELL = 16 + 2 * GAP + 2 * line_height(SMALLEST)
"""Height of a cell of a contact sheet of images of 16 pixels: frame, a line above, a line below."""
TINY = EncoderConfig(width=48, depth=2, heads=4, mlp_width=96, patch=8)
CLIP = ClipConfig(frames=4, fps=8.0, size=32)
SMALL = {"frames": 4, "fps": 8.0, "size": 32, "dtype": "float32", "workers": 0, "device": "cpu", "shard": 10}


@pytest.fixture
def source(tmp_path):
    """An export with an encoder and a probe."""
    torch.manual_seed(1)
    probe = AttentiveProbe(ProbeConfig(1, 4), 48, 2)
    parts = {"ema": encoder_part(Encoder(TINY)), "probe": probe_part(probe)}
    export(tmp_path / "encoder.safetensors", parts, {"clip": {"frames": 4, "fps": 8.0, "size": 32}})
    return tmp_path / "encoder.safetensors"


def config(source, videos, out, **changes) -> FeatureConfig:
    return FeatureConfig(encoder=source, videos=videos, out=out, **SMALL | changes)


def extracted(source, videos, out, **changes) -> Features:
    return read_features(extract(config(source, videos, out, **changes)))


def as_safetensors(folder: Path) -> None:
    """Rewrite a folder of Parquet files as older versions wrote it with `--format safetensors`."""
    for shard in folder.glob("*.parquet"):
        values, columns = read_shard(shard)
        metadata = {"columns": json.dumps(columns)}
        save_file({"features": values}, shard.with_suffix(".safetensors"), metadata=metadata)
        shard.unlink()
    note = json.loads((folder / "features.json").read_text())
    (folder / "features.json").write_text(json.dumps(note | {"format": "safetensors"}))


def test_files_hold_what_the_encoder_says(clips_manifest, source, tmp_path):
    features = extracted(source, clips_manifest, tmp_path / "out", pool="none")
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 3
    assert features.values.shape == (24, 2 * 16, 48)
    assert features.columns["label"][7] == 1
    assert features.columns["path"][7] == "07.mp4"

    clip = read_clip(clips_manifest.parent / "07.mp4", CLIP)
    tokens = load_encoder(source).eval()(normalise(clip[None]))[0].detach()
    torch.testing.assert_close(torch.from_numpy(features.values[7]), tokens, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pool", ["mean", "frame"])
def test_old_folders_of_safetensors_files_are_read(clips_manifest, source, tmp_path, pool):
    whole = extracted(source, clips_manifest, tmp_path / "out", pool=pool)
    as_safetensors(tmp_path / "out")
    old = read_features(tmp_path / "out")
    np.testing.assert_array_equal(old.values, whole.values)
    assert old.columns == whole.columns and old.values.dtype == whole.values.dtype


def test_an_old_folder_of_safetensors_files_is_not_continued(clips_manifest, source, tmp_path):
    out = extract(config(source, clips_manifest, tmp_path / "out"))
    as_safetensors(out)
    (out / "000001.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"not finished: 1 of 3 .* no longer written, so extract .* into another"
    ):
        read_features(out)
    with pytest.raises(
        UserError, match=r"holds safetensors files, .* no longer written; choose another --out"
    ):
        extract(config(source, clips_manifest, out))


def test_pooling_and_layers(clips_manifest, source, tmp_path):
    clip = read_clip(clips_manifest.parent / "00.mp4", CLIP)
    encoder = Encoder(TINY)
    tokens = clip_features(encoder, clip, "none")
    torch.testing.assert_close(clip_features(encoder, clip, "mean"), tokens.mean(dim=0))
    torch.testing.assert_close(clip_features(encoder, clip, "frame")[1], tokens[16:].mean(dim=0))
    torch.testing.assert_close(clip_features(encoder, clip, "none", layers=(0, -1))[1], tokens)
    batch = torch.stack([clip, clip])
    assert clip_features(encoder, batch, "frame", layers=(0, 1)).shape == (2, 2, 2, 48)

    attentive = {"pool": "attentive", "probe": source, "dtype": "float16"}
    features = extracted(source, clips_manifest, tmp_path / "out", **attentive)
    assert features.values.shape == (24, 48)
    assert features.values.dtype == np.float16


def test_the_encoder_stays_in_training_mode(clips_manifest):
    encoder = Encoder(TINY).train()
    clip_features(encoder, read_clip(clips_manifest.parent / "00.mp4", CLIP))
    assert all(module.training for module in encoder.modules())


def test_a_video_that_does_not_answer_is_named(clips_manifest, source, tmp_path, monkeypatch):
    def wait(samples: WindowClips, i: int) -> None:
        note_file("/dead/mount/a.mp4")
        time.sleep(60)

    monkeypatch.setattr(WindowClips, "__getitem__", wait)
    with pytest.raises(UserError, match=r"/dead/mount/a.mp4 does not answer within 1 seconds; .*--timeout"):
        extract(config(source, clips_manifest, tmp_path / "out", workers=1, timeout=1.0))


def test_an_interrupted_run_goes_on(clips_manifest, source, tmp_path):
    whole = extracted(source, clips_manifest, tmp_path / "whole")
    out = extract(config(source, clips_manifest, tmp_path / "out"))
    (out / "000001.parquet").unlink()
    before = (out / "000000.parquet").stat().st_mtime_ns
    with pytest.raises(UserError, match=r"not finished: 1 of 3 files are missing; run the command"):
        read_features(out)

    # The same encoder by another name, and by a relative path.
    copy = source.with_name("moved.safetensors")
    shutil.copy(source, copy)
    features = extracted(Path(os.path.relpath(copy)), clips_manifest, out, batch_size=3)
    assert (out / "000000.parquet").stat().st_mtime_ns == before
    np.testing.assert_array_equal(features.values, whole.values)
    with pytest.raises(UserError, match=r"holds other features .*pool: mean -> frame"):
        extract(config(source, clips_manifest, out, pool="frame"))


def test_several_processes_share_a_folder(clips_manifest, source, tmp_path):
    whole = extracted(source, clips_manifest, tmp_path / "whole")
    for part in (1, 0):
        shared = extract(config(source, clips_manifest, tmp_path / "shared", part=part, parts=2))
    np.testing.assert_array_equal(read_features(shared).values, whole.values)
    extract(config(source, clips_manifest, shared))  # one process goes on where two began


def test_windows_cover_a_video_to_its_end(clips_manifest, source, tmp_path):
    row = Row(clips_manifest.parent / "00.mp4", None, None, None)  # one second, a window of half
    assert starts_in(row, CLIP, 0.0) == pytest.approx([0.0, 0.5])
    assert starts_in(row, CLIP, 0.4) == pytest.approx([0.0, 0.3, 0.5])
    assert starts_in(row, ClipConfig(frames=40, fps=8.0), 0.5) == [0.0]
    features = extracted(source, clips_manifest, tmp_path / "out", overlap=0.0)
    assert len(features.values) == 48
    assert features.columns["start"][:3] == pytest.approx([0.0, 0.5, 0.0])


@pytest.mark.parametrize(("overlap", "frames"), [(None, 1), (0.5, 4)])
def test_images_and_bad_files(source, tmp_path, capsys, overlap, frames):
    write_png(tmp_path / "red.png", np.full((40, 60, 3), (200, 0, 0), np.uint8))
    write_video(tmp_path / "a.mp4", even_times(30), size=(32, 32))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "m.csv").write_text("path\nred.png\nbad.mp4\na.mp4\n")
    settings = {"frames": frames, "overlap": overlap}
    features = extracted(source, tmp_path / "m.csv", tmp_path / "out", **settings)
    assert features.columns["path"][0] == "red.png"
    assert set(features.columns["row"]) == {0, 2}
    assert "1 clip could not be decoded and got no features" in capsys.readouterr().out

    # Two processes go on where one began, and meet the bad file again.
    (tmp_path / "out/000000.parquet").unlink()
    for part in (0, 1):
        extract(config(source, tmp_path / "m.csv", tmp_path / "out", part=part, parts=2, **settings))
    assert (tmp_path / "out/bad_files.txt").read_text().count("bad.mp4") == 1


@pytest.mark.parametrize("overlap", [None, 0.0])
def test_where_nothing_can_be_decoded_there_are_no_features(source, tmp_path, overlap):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "m.csv").write_text("path\nbad.mp4\n")
    sentence = r"no clip of .*m\.csv could be decoded; .*bad_files\.txt says why"
    for _ in range(2):  # the second run finds the first one's files
        with pytest.raises(UserError, match=sentence):
            extract(config(source, tmp_path / "m.csv", tmp_path / "out", overlap=overlap))
    assert (tmp_path / "out/bad_files.txt").read_text().count("bad.mp4") == 1


def test_one_file_or_a_folder_of_images_needs_no_list(clips_manifest, source, tmp_path):
    (tmp_path / "shots").mkdir()
    for i in range(3):
        write_png(tmp_path / f"shots/{i}.png", np.full((40, 60, 3), 80 * i, np.uint8))
    sources = ((tmp_path / "shots", 3), (tmp_path / "shots/1.png", 1), (clips_manifest.parent / "00.mp4", 1))
    for videos, count in sources:
        features = extracted(source, videos, tmp_path / f"out-{videos.name}")
        assert len(features.values) == count
        assert features.columns["label"] == [-1] * count
    features = read_features(tmp_path / "out-shots")
    videos = read_videos(tmp_path / "shots")
    sheet = contact_sheet(videos, features, nearest_clips(videos, features, 3, 1), 16)
    assert sheet.shape == (3 * CELL + 2 * ROW_GAP, 2 * 24 + GAP, 3)


def test_a_hugging_face_directory_is_known_by_its_weights(tmp_path):
    for name, weights in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    first, same, different = (source_digest(tmp_path / name) for name in "abc")
    assert first == same != different
    assert len(first) == 12


def test_the_documented_lines_answer_a_clip_as_the_probe_stage_does(clips_manifest, source, tmp_path):
    """Runs the examples in the docstring of vjepa.features.clip_features on a new clip."""
    stage = stage_of(source, rows=("encoder",), layers=(0, 1))
    splits = splits_of(clips_manifest, Views())
    fit(stage, splits, tmp_path, steps=30).test(stage, splits, verbose=False)
    export(tmp_path / "probe.safetensors", stage.parts(), {})
    video = clips_manifest.parent / "07.mp4"

    lines = [line for line in documented.__doc__.splitlines() if line.startswith("    ")]
    code = textwrap.dedent("\n".join(lines))
    files = {
        "encoder.safetensors": source,
        "video.mp4": video,
        "probe.safetensors": tmp_path / "probe.safetensors",
    }
    for name, file in files.items():
        code = code.replace(name, str(file))
    names: dict = {}
    exec(code, names)

    assert names["vector"].shape == (48,)
    logits = stage.logits(normalise(read_clip(video, splits.clip)[None]))["encoder"][stage.head]
    assert names["answer"] == str(int(logits.argmax()))
    schema = names["schema"]
    assert schema["targets"] == "classes"
    assert schema["layers"] == [0, 1] and schema["encoder"] == str(source)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--frames 5", "5 frames of 32x32 does not divide into tubelets"),
        ("--overlap 1", "--overlap 1.0 is a share"),
        ("--pool attentive", "--pool attentive and --probe go together"),
        ("--layers [7]", "the encoder has 2 blocks"),
        ("--device gpu", "--device gpu cannot be used"),
        ("--pool attentive --probe WIDE", "reads tokens of width 96, not the 48 of"),
        ("--workers -1", "--workers -1: give 0 to 1024"),
    ],
)
def test_impossible_requests_are_one_sentence(clips_manifest, source, tmp_path, capsys, options, sentence):
    wide = tmp_path / "wide.safetensors"
    export(wide, {"probe": probe_part(AttentiveProbe(ProbeConfig(1, 4), 96, 2))}, {})
    paths = ["--encoder", str(source), "--videos", str(clips_manifest), "--out", str(tmp_path / "o")]
    always = ["--size", "32", "--frames", "4", "--workers", "0"]
    with pytest.raises(SystemExit, match="2"):
        main(["features", *paths, *always, *options.replace("WIDE", str(wide)).split()])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and sentence in error


def test_neighbours(clips_manifest, source, tmp_path):
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), dim=1)
    cosines, places = nearest(vectors[:1], vectors, 2, without=torch.tensor([0]))
    assert places.tolist() == [[1, 2]]
    assert cosines[0, 0] > 0.9
    votes = knn_predict(torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[1, 0, 0]]), 2)
    assert votes.tolist() == [1]

    features = extracted(source, clips_manifest, tmp_path / "out")
    assert knn_accuracy(features, features, k=1) == 1.0
    manifest = read_manifest(clips_manifest)
    found = nearest_clips(manifest, features, 2, 3)
    sheet = contact_sheet(manifest, features, found, 16)
    assert sheet.shape == (2 * CELL + ROW_GAP, 4 * 24 + 3 * GAP, 3)
    # A neighbour has a green frame exactly if it has the query's label.
    labels = features.columns["label"]
    for row, (query, places, _) in enumerate(found):
        for column, place in enumerate(places, 1):
            corner = sheet[row * (CELL + ROW_GAP) + CELL // 2, column * (24 + GAP)]
            assert (tuple(corner) == rgb(RIGHT)) == (labels[place] == labels[query])


def test_the_table_of_neighbours_names_clips_labels_and_cosines(clips_manifest, source, tmp_path):
    features = extracted(source, clips_manifest, tmp_path / "out")
    manifest = read_manifest(clips_manifest)
    found = nearest_clips(manifest, features, 2, 3)
    _, header, *lines = neighbour_table(manifest, features, found).splitlines()
    assert header.split() == ["query", "label", "neighbour", "label", "cosine"]
    pairs = [(row.query, place, cosine) for row in found for place, cosine in zip(*row[1:], strict=True)]
    assert len(lines) == len(pairs) == 6
    for line, (query, place, cosine) in zip(lines, pairs, strict=True):
        paths = features.columns["path"]
        labels = features.columns["label"]
        expected = [paths[query], str(labels[query]), paths[place], str(labels[place]), f"{cosine:.3f}"]
        assert line.split() == expected


def test_neighbours_of_windows_and_of_clips_without_labels(clips_manifest, source, tmp_path):
    """Windows of one video have images of their own, and clips without a label have no green frame."""
    bare = clips_manifest.with_name("bare.csv")
    bare.write_text("path\n00.mp4\n01.mp4\n")
    features = extracted(source, bare, tmp_path / "out", overlap=0.0)
    manifest = read_manifest(bare)
    found = nearest_clips(manifest, features, 4, 1)
    sheet = contact_sheet(manifest, features, found, 16)
    text = line_height(SMALLEST) + GAP
    first = sheet[text : text + 16, 4:20]
    second = sheet[CELL + ROW_GAP + text :][:16, 4:20]
    assert features.columns["row"] == [0, 0, 1, 1]
    assert np.abs(first.astype(int) - second).max() > 50
    assert not (sheet == np.array(rgb(RIGHT), np.uint8)).all(axis=2).any()
    assert "00.mp4 at 0.5 s" in neighbour_table(manifest, features, found)

    elsewhere = Features(features.values, features.columns | {"row": [99] * 4})
    with pytest.raises(UserError, match=r"the features are not of .*clips\.csv"):
        nearest_clips(read_manifest(clips_manifest), elsewhere, 1, 1)


def random_features(count: int, seed: int) -> Features:
    values = np.random.default_rng(seed).normal(size=(count, 5)) + 3
    return Features(values, {"label": [i % 2 for i in range(count)]})


def test_nearest_neighbours_vote_clip_by_clip():
    """The prediction for a clip does not depend on the other clips that are scored."""
    fitted = random_features(30, 0)
    scored = random_features(9, 1)
    alone = [Features(scored.values[i : i + 1], {"label": [i % 2]}) for i in range(9)]
    right = sum(knn_accuracy(fitted, clip, 3) for clip in alone)
    assert right == pytest.approx(knn_accuracy(fitted, scored, 3) * 9)
    with pytest.raises(UserError, match="k=0: no neighbour votes"):
        knn_accuracy(fitted, scored, 0)
    with pytest.raises(UserError, match=r"of shape \(5,\) and \(4,\) cannot be compared"):
        knn_accuracy(fitted, Features(scored.values[:, :4], scored.columns), 3)


def test_the_command_prints_accuracy_and_refuses_other_features(clips_manifest, source, tmp_path, capsys):
    folders = {}
    for name, pool in (("train", "mean"), ("test", "mean"), ("frame", "frame")):
        folders[name] = extract(config(source, clips_manifest, tmp_path / name, pool=pool))
    sheet = tmp_path / "sheet.png"
    command = {"features": folders["train"], "videos": clips_manifest, "picture": sheet}
    neighbours(**command, scored=folders["test"], k=1, sheet=SheetConfig(2, 2, 16))
    assert "1-NN accuracy of 24 clips' labels" in capsys.readouterr().out
    assert sheet.exists()
    with pytest.raises(UserError, match=r"hold different features .*pool: mean and frame"):
        neighbours(**command, scored=folders["frame"])


def test_clips_are_those_that_the_weights_were_trained_on(clips_manifest, source, tmp_path, capsys):
    plain = {"dtype": "float32", "workers": 0, "device": "cpu", "shard": 10}
    said = extract(FeatureConfig(source, clips_manifest, tmp_path / "said", **plain))
    assert "4 frames at 8 fps, 32 px" in capsys.readouterr().out
    given = extract(config(source, clips_manifest, tmp_path / "given"))
    assert capsys.readouterr().err.count("note:") == 0  # the same numbers are no override
    np.testing.assert_array_equal(read_features(said).values, read_features(given).values)
    assert (tmp_path / "said/features.json").read_text().count('"frames": 4') == 1


def test_another_clip_than_that_of_the_weights_is_named_once(source, tmp_path, capsys):
    facts.announce.cache_clear()
    for _ in range(2):
        assert clip_of(source, size=16) == ClipConfig(frames=4, fps=8.0, size=16, short="hold")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("of 4 frames at 8 fps, 16 px; the weights were trained on 4 frames at 8 fps, 32 px")
    silent = tmp_path / "silent.safetensors"
    export(silent, {"ema": encoder_part(Encoder(TINY))}, {})
    assert clip_of(silent).frames == 16
    assert "does not say which clips it was trained on; taken are 16 frames" in capsys.readouterr().err
    with pytest.raises(UserError, match="must all be positive"):
        clip_of(source, frames=0)


FRAMES = torch.randint(0, 256, (4, 32, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
FIRST = FRAMES.permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (FRAMES, FIRST),
        (FIRST, FIRST),
        (FRAMES.numpy(), FIRST),
        (FRAMES.numpy()[:, :, ::-1], FIRST.flip(-1)),
        (FRAMES.numpy()[0], FIRST[:1]),
        (FIRST[0], FIRST[:1]),
        (list(FRAMES.numpy()), FIRST),
        ([Image.fromarray(frame) for frame in FRAMES.numpy()], FIRST),
        (Image.fromarray(FRAMES.numpy()[0]).convert("RGBA"), FIRST[:1]),
        (FRAMES[None], FIRST[None]),
        (FIRST[None], FIRST[None]),
    ],
    ids=lambda value: type(value).__name__ + str(getattr(value, "shape", "")),
)
def test_frames_are_taken_as_people_have_them(given, expected):
    assert torch.equal(channels_first(given), expected)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (FRAMES.float(), r"got float32 \(4, 32, 40, 3\).*Floats of 0\.\.255"),
        (FRAMES / 255, r"0\.\.1 are multiplied by 255"),
        (FRAMES.permute(3, 0, 1, 2), r"uint8 \(3, 4, 32, 40\).*channels come before frames"),
        (FRAMES[..., 0], r"uint8 \(4, 32, 40\)"),
        (torch.zeros(2, 8, 8, 4, dtype=torch.uint8), r"\(2, 8, 8, 4\)"),
        (torch.zeros(1, 1, 2, 8, 8, 3, dtype=torch.uint8), r"\(1, 1, 2, 8, 8, 3\)"),
        ([FRAMES[0], FRAMES[0, :8]], "a list of frames of the sizes"),
        ([], "a list of frames of the sizes"),
        ("video.mp4", r"got str.*read_clip"),
        (None, "got NoneType"),
    ],
    ids=str,
)
def test_other_frames_are_refused_in_one_sentence_with_both_layouts(given, why):
    with pytest.raises(UserError, match=why) as caught:
        channels_first(given)
    assert "`t h w c` or `t c h w`" in str(caught.value) and "\n" not in str(caught.value)


def test_features_do_not_depend_on_the_layout(source):
    encoder = load_encoder(source)
    assert torch.equal(clip_features(encoder, FRAMES), clip_features(encoder, FIRST.contiguous()))


def test_attentive_pooling_takes_the_clips_of_the_probe_and_its_encoder_alone(source, tmp_path):
    probe = part_description(source, "probe")
    module = load_probe(source)
    clip = {"clip": {"frames": 6, "fps": 5.0, "size": 16}}
    file = tmp_path / "probe.safetensors"
    digest = weights_digest(load_encoder(source))
    for known in (digest, "another"):
        export(file, {"probe": Part(module, probe | {"schema": {"encoder_digest": known}})}, clip)
        settings = FeatureConfig(
            source, tmp_path, tmp_path / "out", pool="attentive", probe=file, device="cpu"
        )
        assert (settings.clip.frames, settings.clip.fps, settings.clip.size) == (6, 5.0, 16)
        if known == digest:
            assert load_extractor(settings).pooler is not None
            continue
        with pytest.raises(UserError, match="trained on the tokens of another encoder"):
            load_extractor(settings)


def test_a_run_that_wrote_nothing_does_not_bind_the_folder(source, clips_manifest, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "features.json").write_text('{"format": "parquet", "frames": 9999}')
    extracted(source, clips_manifest, tmp_path / "out")
    with pytest.raises(UserError, match="holds other features"):
        extracted(source, clips_manifest, tmp_path / "out", overlap=0.0)
    (tmp_path / "out" / "features.json").write_text("{")
    with pytest.raises(UserError, match=r"features\.json is damaged"):
        read_features(tmp_path / "out")


def test_a_single_clip_has_no_neighbours(source, clips_manifest, tmp_path):
    lines = clips_manifest.read_text().splitlines()
    single = clips_manifest.parent / "single.csv"
    single.write_text("\n".join(lines[:2]) + "\n")
    extracted(source, single, tmp_path / "out")
    with pytest.raises(UserError, match="of one clip, which has no neighbours"):
        neighbours(features=tmp_path / "out", videos=single, picture=tmp_path / "a.png")
