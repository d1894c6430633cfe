"""Robot episodes: LeRobot folders, reproducible bytes, motion that covers what planners visit."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

pytest.importorskip("mujoco")

from vjepa.__main__ import main
from vjepa.robots.episodes import Columns
from vjepa.robots.pose import pose_apply, pose_delta
from vjepa.robots.readers.lerobot import load_lerobot
from vjepa.robots.window_datasets import TrainingTrajectories
from vjepa.robots.windows import TrajectoryConfig
from vjepa.sim.recording.lerobot_writer import EXTRINSICS, VIDEO
from vjepa.sim.recording.practice import practice
from vjepa.sim.recording.robot_episodes import (
    RobotConfig,
    draw_scripts,
    episode_seed,
    episodes_per_split,
    kind_of,
    play_episode,
    record_robot,
)
from vjepa.sim.recording.wander import BOUND, REACH_HIGH, REACH_LOW, wander
from vjepa.sim.world import skills
from vjepa.sim.world.env import DemoWorld, WorldConfig
from vjepa.sim.world.scene import SceneConfig

SETTINGS = {"episodes": 8, "steps": 6, "size": 32, "val": 0.25, "test": 0.25, "per_file": 3}
SETTINGS |= {"scripted": 0.5, "practised": 0.25}
COLUMNS = Columns(extrinsics="camera_extrinsics.{camera}")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> RobotConfig:
    config = RobotConfig(out=tmp_path_factory.mktemp("robot"), workers=1, **SETTINGS)
    record_robot(config)
    return config


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_seed_gives_the_same_bytes_however_the_work_is_done(recorded, tmp_path):
    """By two processes; after an interruption in the middle of a file; and another seed gives others."""
    record_robot(RobotConfig(out=tmp_path / "two", workers=2, **SETTINGS))
    assert files(tmp_path / "two") == files(recorded.out)
    for name in ("rows/train/000001.npz", "done.json"):
        (tmp_path / "two" / name).unlink()
    (tmp_path / "two/train" / f"videos/{VIDEO}/chunk-000/file-001.mp4").write_bytes(b"half")
    record_robot(RobotConfig(out=tmp_path / "two", workers=1, **SETTINGS))
    assert files(tmp_path / "two") == files(recorded.out)
    with pytest.raises(ValueError, match=r"seed=0 \(now 1\)"):
        record_robot(RobotConfig(out=tmp_path / "two", workers=1, seed=1, **SETTINGS))


def test_our_reader_reads_what_was_played(recorded):
    for split, count in {"train": 4, "val": 2, "test": 2}.items():
        data = load_lerobot(recorded.out / split, columns=COLUMNS)
        assert (
            len(data) == count and data.fps == 4 and data.cameras == (VIDEO,) and not data.left_out.episodes
        )
        for e in range(count):
            frames, take = play_episode(recorded, split, e)
            torch.testing.assert_close(data.states[data.rows(e)], torch.from_numpy(take.states).float())
            torch.testing.assert_close(
                data.extrinsics[VIDEO][data.rows(e)], torch.from_numpy(take.extrinsics).float()
            )
            seen = data.frames(e, VIDEO, range(len(frames))).numpy().astype(float)
            assert np.abs(seen - frames).mean() < 6  # H.264 at 32 pixels
            others = np.abs(seen[:, None] - frames[None]).mean((2, 3, 4))
            # No other image is nearer, except where everything stands still.
            assert (np.diagonal(others) < others.min(1) + 0.5).all()


def test_recorded_actions_are_what_the_command_changed_by(recorded):
    """What the environment cuts off is not in them: opening an open gripper is nothing."""
    for split, index in (("train", 0), ("train", 1)):
        _, take = play_episode(recorded, split, index)
        closedness = np.cumsum(take.actions[:-1, 6])
        assert (closedness > -1e-9).all() and (closedness < 1 + 1e-9).all() and (take.actions[-1] == 0).all()
        moved = take.states[-1, :3] - take.states[0, :3]
        np.testing.assert_allclose(take.actions[:, :3].sum(0), moved, atol=0.02)


def test_windows_of_real_episodes(recorded):
    config = TrajectoryConfig(frames=4, fps=4.0, size=32)
    windows = TrainingTrajectories([load_lerobot(recorded.out / "train")], [1.0], config, 0)
    for k in range(8):
        window = windows[k]
        assert window.clip.shape == (4, 3, 32, 32) and window.bad == []
        torch.testing.assert_close(
            pose_apply(window.states[:-1], window.actions)[:, :3], window.states[1:, :3]
        )


def test_tables_say_what_the_format_asks(recorded):
    folder = recorded.out / "train"
    info = json.loads((folder / "meta/info.json").read_text())
    rows = pyarrow.parquet.read_table(sorted((folder / "data/chunk-000").glob("*.parquet")))
    episodes = pyarrow.parquet.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    tasks = pyarrow.parquet.read_table(folder / "meta/tasks.parquet").to_pydict()
    assert set(rows.column_names) | {VIDEO} == set(info["features"]) and info["total_frames"] == len(rows)
    assert rows["index"].to_pylist() == list(range(len(rows)))
    assert episodes["dataset_to_index"] == np.cumsum(episodes["length"]).tolist()
    assert episodes["kind"] == ["scripted", "practised", "scripted", "random"] and info["total_episodes"] == 4
    assert episodes[f"videos/{VIDEO}/file_index"] == episodes["data/file_index"] == [0, 0, 0, 1]
    assert episodes[f"videos/{VIDEO}/from_timestamp"][3] == 0.0
    for e, task in enumerate(episodes["tasks"]):
        number = rows["task_index"][episodes["dataset_from_index"][e]].as_py()
        assert tasks["__index_level_0__"][number] == task[0]
    notes = pyarrow.parquet.read_schema(folder / "meta/tasks.parquet").metadata
    assert json.loads(notes[b"pandas"])["index_columns"] == ["__index_level_0__"]
    stats = json.loads((folder / "meta/stats.json").read_text())
    np.testing.assert_allclose(
        stats["observation.state"]["mean"], np.stack(rows["observation.state"].to_pylist()).mean(0), atol=1e-5
    )
    assert {EXTRINSICS, "action", "observation.environment_state"} < set(stats)


def test_no_two_episodes_share_a_seed_and_splits_are_disjoint():
    counts = episodes_per_split(RobotConfig(out=Path("x")))
    assert counts == {"train": 320, "val": 40, "test": 40}
    seeds = [episode_seed(s, split, i) for s in (0, 1) for split, n in counts.items() for i in range(n)]
    assert len(set(seeds)) == len(seeds)


def test_an_episode_can_be_set_up_again_from_its_seed(recorded):
    _, take = play_episode(recorded, "val", 0)
    world = DemoWorld(WorldConfig(size=recorded.size, scene=recorded.scene))
    observation, _ = world.reset(seed=int(take.seeds[0]))
    np.testing.assert_array_equal(observation["state"], take.states[0])


@pytest.fixture(scope="module")
def wandering() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States, commanded actions and realised ones of 9 wanders of 60 steps, without looking."""
    states, actions, changes = [], [], []
    for seed in range(9):
        world = DemoWorld(WorldConfig(size=16, scene=SceneConfig(occluder=0.0)))
        seen = [world.reset(seed=seed)[0]["state"]]
        for action, _ in zip(wander(world, np.random.default_rng(seed)), range(60), strict=False):
            actions.append(action)
            seen.append(world.step(action)[0]["state"])
        states += seen
        changes.append(
            pose_delta(torch.from_numpy(np.array(seen[:-1])), torch.from_numpy(np.array(seen[1:]))).numpy()
        )
    return np.array(states), np.array(actions), np.concatenate(changes)


def test_wandering_covers_the_workspace_and_all_directions(wandering):
    states, actions, changes = wandering
    cells = ((states[:, :3] - REACH_LOW) / (REACH_HIGH - REACH_LOW) * 3).astype(int).clip(0, 2)
    assert len({tuple(cell) for cell in cells.tolist()}) >= 25  # of 27
    octants = {tuple(signs) for signs in np.sign(changes[:, :3]).astype(int).tolist()}
    assert len([signs for signs in octants if 0 not in signs]) == 8
    assert (np.abs(actions[:, :3]) <= BOUND + 1e-9).all() and (np.abs(actions[:, :3]).max(0) > 0.07).all()
    assert (changes[:, :3].std(0) > 0.02).all()
    assert np.histogram(states[:, 6], 3, (0, 1))[0].min() > 0.1 * len(states)
    assert 0.15 < (states[:, 2] < 0.08).mean() < 0.6  # near the table, where the objects are


def test_the_arm_goes_where_wandering_sends_it(wandering):
    _, actions, changes = wandering
    missed = np.linalg.norm(actions[:, :3] - changes[:, :3], axis=1)
    assert np.median(missed) < 0.002 and np.quantile(missed, 0.9) < 0.01  # the rest is pushing at things


def test_practice_takes_objects_misses_some_and_lets_them_go():
    held, closed, changes = [], [], 0
    for seed in range(6):
        world = DemoWorld(WorldConfig(size=16, scene=SceneConfig(objects=(1, 3), occluder=0.0)))
        world.reset(seed=seed)
        for action in itertools.islice(practice(world, np.random.default_rng(seed)), 40):
            world.step(action)
            held.append(bool(skills.held_things(world)))
            closed.append(world.command.closedness > 0.5)
        changes += int(np.abs(np.diff(held[-40:])).sum())
    held, closed = np.array(held), np.array(closed)
    assert 0.15 < held.mean() < 0.6 and changes >= 12  # an object is taken or lost twice an episode
    assert (closed & ~held).any() and (~closed & ~held).mean() > 0.3  # misses, and an open hand


def test_practice_wanders_where_there_is_nothing_to_take():
    world = DemoWorld(WorldConfig(size=16, scene=SceneConfig(objects=(0, 0))))
    world.reset(seed=0)
    assert len(list(itertools.islice(practice(world, np.random.default_rng(0)), 5))) == 5


def test_kinds_of_episodes_are_spread_evenly():
    config = RobotConfig(out=Path("x"), scripted=0.3, practised=0.4)
    for first in (0, 37, 500):
        kinds = [kind_of(index, config) for index in range(first, first + 100)]
        assert [kinds.count(kind) for kind in ("scripted", "practised", "random")] == pytest.approx(
            [30, 40, 30], abs=2
        )
    alone = RobotConfig(out=Path("x"), scripted=1.0, practised=0.0)
    assert {kind_of(index, alone) for index in range(99)} == {"scripted"}


def test_scripts_lift_things(recorded):
    config = RobotConfig(out=recorded.out, scripted=1.0, practised=0.0, steps=30, size=16)
    lifted = 0
    for index in range(6):
        _, take = play_episode(config, "train", index)
        heights = take.objects.reshape(len(take.objects), -1, 3)[..., 2]
        lifted += bool(((heights - heights[0]).max() > 0.05) and "scripted" in take.kinds)
    assert lifted >= 2


def test_without_tray_and_wall_no_script_needs_them(recorded):
    world = DemoWorld(WorldConfig(size=16, scene=SceneConfig(tray=0.0, occluder=0.0)))
    for seed in range(10):
        world.reset(seed=seed)
        words, _ = draw_scripts(world, np.random.default_rng(seed))
        assert skills.put_in_tray.__name__.replace("_", " ") not in words and "hide" not in words and words


@pytest.mark.parametrize(
    "fields",
    [
        *({"episodes": 0}, {"scripted": 2.0}, {"scripted": 0.7}, {"size": 50}, {"seed": -1}),
        {"val": 0.9, "test": 0.2},
    ],
)
def test_impossible_records_are_refused(fields):
    with pytest.raises(ValueError, match=r"expected|multiple|give a whole number"):
        RobotConfig(out=Path("x"), **fields)


def test_the_command_line(tmp_path, capsys):
    arguments = [
        "data",
        "record-robot",
        "--out",
        str(tmp_path),
        "--episodes",
        "2",
        "--steps",
        "2",
        "--size",
        "16",
        "--val",
        "0.5",
        "--test",
        "0.0",
    ]
    main([*arguments, "--workers", "1", "--scene.camera.azimuth", "5"])
    assert load_lerobot(tmp_path / "val").length.tolist() == [3] and not (tmp_path / "test").exists()
    main([*arguments, "--workers", "1", "--scene.camera.azimuth", "5"])
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main([*arguments[:-5], "32"])
    assert re.search(r"error: .*size=16", capsys.readouterr().err)
