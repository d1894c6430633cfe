"""Readings without labels: they find what features hold, and nothing where they hold nothing."""

import json

import pytest
import torch

from vjepa.data.clips import ClipConfig
from vjepa.data.manifest import read_manifest
from vjepa.errors import UserError
from vjepa.evaluation.label_free import LabelFree, Reading, forced_choice, label_free, recall_of_pairs
from vjepa.evaluation.unlabelled_clips import UnlabelledClips, read_unlabelled_clips
from vjepa.models.encoder import Encoder, EncoderConfig

CLIP = ClipConfig(frames=4, fps=8.0, size=32)
TINY = EncoderConfig(width=48, depth=2, heads=4, mlp_width=96, patch=8)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_choice_is_found_where_features_tell_and_is_chance_where_not():
    plain = normal(64, 20)
    shift = torch.zeros(20)
    shift[3] = 3.0
    assert forced_choice(plain, plain + shift) == 1.0
    assert 0.3 < forced_choice(plain, normal(64, 20, seed=1)) < 0.7
    assert forced_choice(plain, plain) == 0.0  # a tie is no right answer


def test_the_other_half_is_the_nearest():
    halves = normal(32, 16)
    assert recall_of_pairs(halves, halves + 0.01 * normal(32, 16, seed=1)) == 1.0
    assert recall_of_pairs(halves, normal(32, 16, seed=2)) < 0.2


def test_versions_of_a_clip_hold_the_frames_that_they_say():
    dense = torch.arange(8, dtype=torch.uint8).view(1, 8, 1, 1, 1).expand(3, 8, 3, 2, 2)
    clips = UnlabelledClips(dense)
    times = [clip[:, 0, 0, 0].tolist() for clip in (clips.plain[0], clips.slowed[0])]
    assert times == [[0, 2, 4, 6], [2, 3, 4, 5]]
    first, second = clips.halves(tubelet=2)
    assert first[0, :, 0, 0, 0].tolist() == [0, 2] and second[0, :, 0, 0, 0].tolist() == [4, 6]
    for shuffled in clips.shuffled[:, :, 0, 0, 0].tolist():
        assert sorted(shuffled) == [0, 2, 4, 6] and shuffled != [0, 2, 4, 6]
    assert torch.equal(clips.shuffled, clips.shuffled)


def test_an_untrained_encoder_is_no_better_than_itself(clips_manifest, tmp_path):
    torch.manual_seed(5)
    encoder = Encoder(TINY)
    state = torch.get_rng_state()
    result = label_free(encoder, read_unlabelled_clips([read_manifest(clips_manifest)], CLIP, 24))
    assert torch.equal(torch.get_rng_state(), state) and encoder.training
    assert result.clips == 24
    assert [reading.verdict for reading in result.readings] == ["no difference"] * 3
    assert result.sentence().startswith("no better than an untrained encoder at order, speed: ")
    result.write(tmp_path / "label_free.json")
    written = json.loads((tmp_path / "label_free.json").read_text())
    assert written["sentence"] == result.sentence() and len(written["readings"]) == 3


def test_a_verdict_needs_intervals_that_do_not_touch():
    assert Reading("order", 0.95, 0.6, 64, 0.5).verdict == "better"
    assert Reading("order", 0.95, 0.6, 8, 0.5).verdict == "no difference"
    assert Reading("order", 0.75, 0.25, 16, 0.5).verdict == "no difference"  # not below chance
    assert Reading("neighbours in time", 0.5, 0.95, 64, 0.01).verdict == "worse"


def test_the_sentence_says_what_worked_and_what_to_look_at():
    good = Reading("order", 0.95, 0.6, 64, 0.5)
    even = Reading("speed", 0.55, 0.5, 64, 0.5)
    found = LabelFree([good, even], (20.0, 30.0), 64, 0.6).sentence()
    assert found == (
        "it worked: better than an untrained encoder at order (0.95 against 0.60); "
        "no difference is shown at speed"
    )
    collapsed = LabelFree([even], (1.0, 30.0), 64, 1.1).sentence()
    assert "no better than an untrained encoder at speed" in collapsed and "loss_over_mean" in collapsed


def test_videos_that_stand_still_are_one_sentence(tmp_path):
    from PIL import Image

    for i in range(10):
        Image.new("RGB", (32, 32), (i, i, i)).save(tmp_path / f"{i}.png")
    (tmp_path / "images.csv").write_text("path\n" + "".join(f"{i}.png\n" for i in range(10)))
    with pytest.raises(UserError, match="something moves in only 0 clips"):
        read_unlabelled_clips([read_manifest(tmp_path / "images.csv")], CLIP, 10)
