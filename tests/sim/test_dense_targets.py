"""Laws of dense targets: a shot simulated again is the recorded film, frame by frame, in both directions."""

import csv

import numpy as np
import pytest

pytest.importorskip("mujoco")

from vjepa.data.clips import ClipConfig
from vjepa.errors import UserError
from vjepa.sim.recording.dense_targets import KINDS, film_of, frames_shown, place_in_image, read_dense_clips
from vjepa.sim.recording.motion_clips import film_pair
from vjepa.sim.recording.record import PAIRS, RecordConfig, record
from vjepa.sim.world.looks import Camera

CLIP = ClipConfig(frames=10, fps=5.0, size=64)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> RecordConfig:
    """Eight clips, four of which are reversed, all in one split."""
    return RecordConfig(out=tmp_path_factory.mktemp("world") / "demo", clips=8, val=0.0, test=0.0, workers=1)


@pytest.fixture(scope="module")
def rows(config) -> list[dict[str, str]]:
    with (record(config) / "train.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_shot_simulated_again_is_the_film(config, rows):
    frames = np.arange(config.frames)
    for index, pair in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        for row, clip in zip(pair, film_pair(int(pair[0]["seed"]), index % PAIRS, config), strict=True):
            np.testing.assert_array_equal(film_of(row, config, frames).rgb, clip.frames)


def test_the_targets_of_a_reversed_clip_are_the_reverse(config, rows):
    frames = np.arange(config.frames)
    for forwards, backwards in zip(rows[::2], rows[1::2], strict=True):
        first = film_of(forwards, config, frames)
        second = film_of(backwards, config, frames)
        np.testing.assert_array_equal(first.kinds, second.kinds[::-1])
        np.testing.assert_array_equal(first.hand, second.hand[::-1])
        assert (first.hand[0] != first.hand[-1]).any()


@pytest.mark.parametrize("clip", [CLIP, ClipConfig(frames=8, fps=4.0, size=64)])
def test_targets_are_of_the_frames_that_the_decoder_shows(config, rows, clip):
    decoded = read_dense_clips(config.out / "train.csv", clip, limit=8).clips
    shown = frames_shown(clip, config)
    for row, frames in zip(rows, decoded.permute(0, 1, 3, 4, 2).numpy(), strict=True):
        # Each frame differs less from the one that was rendered then than from the one before or after.
        earlier, now, later = (
            np.abs(film_of(row, config, shown + shift).rgb.astype(int) - frames).mean(axis=(1, 2, 3))
            for shift in (-1, 0, 1)
        )
        assert now.max() < 4  # of 255: the codec's loss
        assert now.sum() < min(earlier.sum(), later.sum())


def test_a_frame_that_is_shown_twice_has_its_targets_twice(config, rows):
    shown = np.array([3, 3, 4])
    for row in rows[:2]:
        film = film_of(row, config, shown)
        whole = film_of(row, config, np.arange(config.frames))
        np.testing.assert_array_equal(film.rgb, whole.rgb[shown])


def test_clips_come_with_what_their_pixels_show(config, rows):
    clips = read_dense_clips(config.out / "train.csv", CLIP, limit=4)
    assert clips.clips.shape == (4, 10, 3, 64, 64)
    assert clips.kinds.shape == (4, 10, 64, 64)
    assert clips.hand.shape == (4, 10, 2)
    assert clips.names == KINDS
    assert clips.kinds.unique().tolist() == list(range(len(KINDS)))


def test_the_hand_is_where_its_pixels_are(config, rows):
    clips = read_dense_clips(config.out / "train.csv", CLIP, limit=8)
    for kinds, hand in zip(clips.kinds.flatten(0, 1).numpy(), clips.hand.flatten(0, 1).numpy(), strict=True):
        row, column = np.argwhere(kinds == KINDS.index("hand")).mean(axis=0) / 64
        # The fingertips are below the middle of the hand.
        assert abs(column - hand[1]) < 0.1
        assert 0 < hand[0] - row < 0.25


def test_the_camera_sees_its_target_in_the_middle():
    camera = Camera((1.0, 0.5, 0.8), (0.4, 0.0, 0.1), 40.0)
    np.testing.assert_allclose(place_in_image(np.array([0.4, 0.0, 0.1]), camera), [0.5, 0.5], atol=1e-6)
    # A field of view of 40 degrees ends at 20 degrees from the middle.
    right, down, forward = camera.rotation.T
    edge = camera.position + forward + np.tan(np.radians(20)) * right
    np.testing.assert_allclose(place_in_image(edge, camera), [0.5, 1.0], atol=1e-6)
    edge = camera.position + forward + np.tan(np.radians(20)) * down
    np.testing.assert_allclose(place_in_image(edge, camera), [1.0, 0.5], atol=1e-6)


def test_only_a_demo_world_can_be_simulated_again(tmp_path):
    with pytest.raises(UserError, match=r"no finished demo world.*done\.json is missing"):
        read_dense_clips(tmp_path / "train.csv", CLIP, limit=4)
