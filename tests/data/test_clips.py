"""Clips are a pure function of (seed, sample number). Bad files are counted, named, bounded, never silent."""

from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange

from tests.videos import even_times, read_stamps, write_picture, write_video
from vjepa.data.clip_data import ClipData, Source
from vjepa.data.clips import ClipConfig, EvaluationClips, Sample, TrainingClips, collate_clips, load_frames
from vjepa.data.decode_error import DecodeError
from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.data.loader import ATTEMPTS, Epoch, GlobalOrder, draw_sample
from vjepa.data.manifest import read_manifest
from vjepa.data.manifest_files import ManifestError
from vjepa.data.module import too_many_bad
from vjepa.data.sampling import Mixture
from vjepa.data.transforms import centre_box, denormalise, normalise, random_box
from vjepa.errors import UserError

CLIP = ClipConfig(frames=4, fps=8.0, size=32)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> Path:
    """Two good videos whose frames carry their number, at 30 and 24 frames a second, and a still picture."""
    folder = tmp_path_factory.mktemp("numbered")
    write_video(folder / "a.mp4", even_times(60, 30))
    write_video(folder / "b.mp4", even_times(48, 24))
    write_picture(folder / "c.png", number=7)
    (folder / "list.txt").write_text("a.mp4 0\nb.mp4 1\nc.png 2\n")
    return folder / "list.txt"


def spoil(manifest: Path, names: list[str]) -> Path:
    """The manifest with some more rows whose files are garbage."""
    folder = manifest.parent
    for name in names:
        (folder / name).write_bytes(b"not a video")
    spoiled = folder / "spoiled.txt"
    spoiled.write_text(manifest.read_text() + "".join(f"{name} 0\n" for name in names))
    return spoiled


def training(manifest: Path, seed: int = 0, config: ClipConfig = CLIP) -> TrainingClips:
    return TrainingClips([read_manifest(manifest)], [1.0], config, seed)


def test_a_sample_is_a_pure_function_of_seed_and_number(numbered):
    clips = training(numbered)
    late = training(numbered)[40]
    assert torch.equal(clips[40].clip, late.clip) and clips[40].label == late.label
    other_seed = training(numbered, seed=1)
    assert any(not torch.equal(clips[k].clip, other_seed[k].clip) for k in range(4))


def test_fps_is_physical_time(numbered):
    """Four frames at eight a second span 3/8 s in files of 30 and of 24 frames a second."""
    for i, rate in ((0, 30), (1, 24)):
        frames = load_frames(read_manifest(numbered).row(i), ClipConfig(frames=4, fps=8.0), None)
        numbers = read_stamps(rearrange(frames, "t c h w -> t h w c").numpy())
        assert abs(numbers[-1] - numbers[0] - 3 / 8 * rate) <= 1, (rate, numbers)


def test_an_image_is_a_still_clip(numbered):
    clip = EvaluationClips(read_manifest(numbered), CLIP)[2].clip
    assert (clip == clip[:1]).all()


def test_the_same_box_for_all_frames_and_within_its_ranges():
    rng = np.random.default_rng(0)
    for _ in range(300):
        top, left, h, w = random_box(48, 64, (0.3, 1.0), (0.75, 1.35), rng)
        assert 0 <= top <= 48 - h and 0 <= left <= 64 - w
        assert 0.27 <= h * w / (48 * 64) <= 1 and 0.7 <= w / h <= 1.45
    assert centre_box(48, 64, 1.0) == (0, 8, 48, 48)
    # No box of these shares fits into a strip.
    assert random_box(10, 100, (0.9, 1.0), (0.75, 1.35), rng) == centre_box(10, 100, 1.35)


def test_normalise_round_trip():
    clip = torch.randint(0, 256, (2, 3, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(denormalise(normalise(clip)), clip)


def test_a_bad_file_is_replaced_by_another_draw_and_named(numbered):
    clips = training(spoil(numbered, ["bad.mp4"]))
    samples = [clips[k] for k in range(40)]
    assert all(sample.clip is not None for sample in samples)
    named = [reason for sample in samples for reason in sample.bad]
    assert len(named) >= 8 and all("bad.mp4" in reason for reason in named)
    assert [s.bad for s in samples] == [training(spoil(numbered, ["bad.mp4"]))[k].bad for k in range(40)]


def test_a_sample_is_given_up_after_some_rows():
    """Each of them another one."""
    tried = []

    def read(source: int, row: int, generator: np.random.Generator) -> None:
        tried.append(row)
        raise DecodeError(f"{row}.mp4", "broken")

    sample, bad = draw_sample(Mixture([20]), 3, read)
    assert sample is None and len(bad) == ATTEMPTS == len(set(tried))


def test_a_few_draws_are_no_share():
    assert not too_many_bad(bad=5, draws=10, max_share=0.05)
    assert not too_many_bad(bad=50, draws=1000, max_share=0.05)
    assert too_many_bad(bad=51, draws=1000, max_share=0.05)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"batch_size": 0}, "batch_size=0 must be 1 or more"),
        ({"workers": -1}, "workers=-1 must be 0 or more"),
        ({"max_bad_share": 1.5}, "max_bad_share=1.5 is a share"),
        ({"train": []}, "data.train is empty"),
        ({"train": [Source("a.csv", weight=0.0)]}, "every weight must be positive"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        ClipData(**{"train": [Source("a.csv")]} | settings)


def test_evaluation_excludes_and_never_replaces(numbered):
    clips = EvaluationClips(read_manifest(spoil(numbered, ["bad.mp4"])), CLIP)
    batch = collate_clips([clips[i] for i in range(len(clips))])
    assert batch.index.tolist() == [0, 1, 2] and batch.lost == 1 and "bad.mp4" in batch.bad[0]


def test_a_batch_without_any_decodable_clip_is_empty():
    batch = collate_clips([Sample(None, 0, 0, ["gone"])])
    assert len(batch.clip) == 0 and batch.lost == 1


def test_global_order_shares_out_without_overlap_and_resumes():
    ranks = [list(GlobalOrder(Epoch(3, 3), 2, rank, 2)) for rank in (0, 1)]
    assert sorted(k for batches in ranks for batch in batches for k in batch) == list(range(12))
    order = GlobalOrder(Epoch(3, 3), 2, 0, 1)
    order.consumed = 4  # one batch into the second epoch
    assert list(order) == [[8, 9], [10, 11]]


def test_labels_outside_the_classes_are_refused(tmp_path, clips_manifest):
    (tmp_path / "wrong.csv").write_text(f"path,label\n{clips_manifest.parent}/00.mp4,5\n")
    data = LabelledClipData([Source(str(clips_manifest))], str(clips_manifest), str(tmp_path / "wrong.csv"))
    with pytest.raises(
        ManifestError, match=r"1 labels lie outside 0\.\.1 \(model\.classes=2\).* 5 of 00\.mp4"
    ):
        data.check_labels(2)


def test_impossible_clips_are_refused():
    for fields in ({"frames": 0}, {"fps": -1.0}, {"scale": (0.5, 0.2)}, {"aspect": (0.0, 1.0)}):
        with pytest.raises(ValueError, match="clip"):
            ClipConfig(**fields)


def test_flip_and_jitter_do_what_they_say(numbered):
    whole = {"scale": (1.0, 1.0), "aspect": (1.0, 1.0)}
    plain, mirrored = (
        training(numbered, config=ClipConfig(4, 8.0, 32, flip=flip, **whole)) for flip in (0.0, 1.0)
    )
    assert all(torch.equal(plain[k].clip, mirrored[k].clip.flip(-1)) for k in range(4))
    still = training(numbered, config=ClipConfig(4, 8.0, 32, flip=0.0, jitter=False, **whole))
    assert any(not torch.equal(still[k].clip, plain[k].clip) for k in range(6))
    assert torch.equal(still[0].clip, still[0].clip) and {still[k].label for k in range(6)} == {0, 1, 2}


def test_a_short_video_is_refused_or_held(numbered):
    row = read_manifest(numbered).row(0)
    with pytest.raises(DecodeError, match=r"too short.*clip\.short=hold"):
        load_frames(row, ClipConfig(frames=40, fps=8.0), None)
    frames = load_frames(row, ClipConfig(frames=40, fps=8.0, short="hold"), None)
    numbers = read_stamps(rearrange(frames, "t c h w -> t h w c").numpy())
    assert numbers[-1] == numbers[-20] == 59 and numbers[0] == 0
