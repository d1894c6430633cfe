"""Laws of masks of robot episodes: an episode played again is the recorded one, and the mask is its hand."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco")

from vjepa.robots.trajectory_data import RobotSource, TrajectoryData
from vjepa.robots.window_batches import TrajectoryBatch, collate_windows
from vjepa.robots.window_datasets import EvaluationTrajectories
from vjepa.robots.windows import TrajectoryConfig
from vjepa.sim.recording.episode_masks import EpisodeMasks, RecordedMasks, read_episode_masks
from vjepa.sim.recording.robot_episodes import RobotConfig, record_robot

WINDOW = TrajectoryConfig(frames=3, fps=4.0, size=48, windows=2)


@pytest.fixture(scope="module")
def robot(tmp_path_factory) -> Path:
    """Episodes in which skills run, over two files of the test."""
    shares = {"val": 0.0, "test": 0.75, "scripted": 1.0, "practised": 0.0}
    out = tmp_path_factory.mktemp("robot")
    return record_robot(RobotConfig(out=out, episodes=4, steps=14, size=48, per_file=2, workers=1, **shares))


def data(robot: Path, window: TrajectoryConfig = WINDOW) -> TrajectoryData:
    train, test = (RobotSource(str(robot / split)) for split in ("train", "test"))
    return TrajectoryData([train], None, test, window=window, batch_size=6, workers=0)


def windows_of(module: TrajectoryData) -> TrajectoryBatch:
    """All windows of the test."""
    samples = EvaluationTrajectories(module.test_data, module.window)
    return collate_windows([samples[number] for number in range(len(samples))])


@pytest.fixture(scope="module")
def masks(robot) -> RecordedMasks:
    return read_episode_masks(data(robot))


def test_an_episode_simulated_again_is_the_recorded_one(masks):
    assert len(masks.episodes) == 3
    for number, recorded in enumerate(masks.episodes):
        again = masks.masks(number)
        np.testing.assert_allclose(again.states, recorded.states, atol=1e-9)
        assert again.as_recorded(recorded).all()
        moved = recorded._replace(objects=recorded.objects + 0.01)
        assert not again.as_recorded(moved).any()
        assert not again.as_recorded(recorded._replace(states=recorded.states + 0.01)).any()


def test_a_hand_that_moves_is_seen_where_the_pixels_change(robot, masks):
    """Inside the masks of two moments, frames differ far more than elsewhere."""
    batch = windows_of(data(robot))
    found = masks.of_batch(batch)
    assert found.shape == (6, 2, 48, 48) and found.dtype == torch.bool and found.any(dim=(2, 3)).all()
    change = (batch.clip[:, 1:].float() - batch.clip[:, :1].float()).abs().mean(dim=2)
    assert change[found].mean() > 3 * change[~found].mean()


def test_frames_of_another_size_have_masks_of_that_size(robot, masks):
    batch = windows_of(data(robot))
    larger = read_episode_masks(data(robot, replace(WINDOW, size=96))).of_batch(batch)
    assert larger.shape == (6, 2, 96, 96)
    shares = [found.float().mean().item() for found in (larger, masks.of_batch(batch))]
    assert math.isclose(*shares, rel_tol=0.1)


def test_objects_count_once_they_have_moved_and_where_the_simulation_agrees(masks):
    places = np.zeros((3, 2, 3))
    places[2, 1] = 0.02
    things = np.zeros((3, 2, 1, 2), bool)
    things[:, 0, 0, 0] = things[:, 1, 0, 1] = True
    shown = EpisodeMasks(np.zeros((3, 7)), places, np.zeros((3, 1, 2), bool), things)
    assert shown.of_window([0, 1, 2])[:, 0].tolist() == [[False, False], [False, False], [False, True]]
    assert not shown.of_window([2]).any()
    recorded = masks.episodes[0]
    wrong = RecordedMasks(masks.config, [recorded._replace(states=recorded.states + 1)])
    assert masks.of_window(0, [0, 1]).any() and not wrong.of_window(0, [0, 1]).any()


def test_other_recordings_and_crops_have_no_masks(robot, tmp_path):
    assert read_episode_masks(data(robot, replace(WINDOW, aspect=(1.35, 1.35)))) is None
    (tmp_path / "test").symlink_to(robot / "test")
    (tmp_path / "train").symlink_to(robot / "train")
    assert read_episode_masks(data(tmp_path)) is None
