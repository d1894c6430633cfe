"""Laws of the closed loop: an episode is its seed's, success is the simulator's, nothing imagined leaves a trace."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco")

from stages.plan import ProtocolConfig, plan
from vjepa.errors import UserError
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.cloned_policy import ClonedPolicy, ClonedPolicyConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.planning.cem import ActionBounds, CEMConfig
from vjepa.planning.landscape import LandscapeConfig
from vjepa.robots.schema import StateSchema, vector_schema
from vjepa.sim.closed_loop.episodes import (
    EpisodeRunner,
    Job,
    Outcome,
    PlannerConfig,
    Setting,
    Weights,
    play_all,
    rows_of,
    world_model,
)
from vjepa.sim.closed_loop.film import animation
from vjepa.sim.closed_loop.held_out_steps import StepsConfig
from vjepa.sim.closed_loop.journal import EpisodeLog
from vjepa.sim.closed_loop.policies import NoOpPolicy, RandomPolicy, ScriptedPolicy, SimulatorModel, frames
from vjepa.sim.closed_loop.results import by_angle, line, lines, table
from vjepa.sim.closed_loop.tasks import APART, FIRST_SEED, TASKS, allowed, list_of_steps, start, within_reach
from vjepa.sim.recording.robot_episodes import FIRST_SEED as RECORDED
from vjepa.sim.recording.robot_episodes import RobotConfig, record_robot
from vjepa.sim.world import skills
from vjepa.sim.world.env import DemoWorld, WorldConfig
from vjepa.weights.export import ac_predictor_part, encoder_part, export, policy_part

SIZE = 32
SCHEMA = StateSchema(centres=(float(np.pi), 0.0, 0.0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Weights:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    encoder = Encoder(EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=8))
    ac = ACPredictor(ACPredictorConfig(width=48, depth=1, heads=4, mlp_width=96, merge=2), encoder.config)
    policy = ClonedPolicy(ClonedPolicyConfig(tokens=16, token_width=48, narrow=4, width=16))
    export(folder / "encoder.safetensors", {"ema": encoder_part(encoder)}, {})
    export(
        folder / "ac.safetensors",
        {"ac_predictor": ac_predictor_part(ac, encoder.config, asdict(SCHEMA), SIZE)},
        {},
    )
    export(folder / "clone.safetensors", {"policy": policy_part(policy, asdict(SCHEMA))}, {})
    encoder, ac, clone = (str(folder / f"{name}.safetensors") for name in ("encoder", "ac", "clone"))
    return Weights(encoder, ac, encoder, ac, clone)


@pytest.fixture(scope="module")
def setting(weights) -> Setting:
    return Setting(weights, PlannerConfig(samples=4, iterations=1, top=2, pixel_samples=4), size=SIZE)


def world(setting: Setting) -> DemoWorld:
    return DemoWorld(WorldConfig(size=setting.size, scene=setting.scene))


def play_through(episode, policy) -> list[float]:
    seen, distances = episode.world.observe(), []
    for _ in range(episode.steps):
        seen = episode.world.step(policy.act(seen["image"], seen["state"]))[0]
        distances.append(episode.distance())
    return distances


@pytest.mark.parametrize("task", TASKS)
def test_the_script_succeeds_and_standing_still_does_not(setting, task):
    seed = next(seed for seed in range(20) if start(task, seed, world(setting)) is not None)
    episode = start(task, seed, world(setting))
    assert episode.succeeded(play_through(episode, ScriptedPolicy(episode.script())))
    episode = start(task, seed, world(setting))
    assert not episode.succeeded(play_through(episode, NoOpPolicy()))


def test_a_seed_decides_the_episode_and_was_never_recorded(setting):
    one, same, other = (start("reach", seed, world(setting)) for seed in (3, 3, 4))
    assert np.array_equal(one.goals, same.goals) and one.distance() == same.distance()
    assert not np.array_equal(one.goals, other.goals)
    assert APART[0] <= one.distance() <= APART[1]
    assert FIRST_SEED > 2 * RECORDED


def test_the_goal_image_shows_the_hand_at_the_goal(setting):
    """Where the script ends is what the goal shows, up to the millimetres of the arm's control."""
    episode = start("reach", 0, world(setting))
    before = np.abs(episode.world.observe()["image"].astype(int) - episode.goals[0]).mean()
    play_through(episode, ScriptedPolicy(episode.script()))
    after = np.abs(episode.world.observe()["image"].astype(int) - episode.goals[0]).mean()
    assert after < 0.15 * before


def test_sub_goals_come_in_order_with_time_for_each(setting):
    seed = next(seed for seed in range(20) if start("pick_and_place", seed, world(setting)) is not None)
    episode = start("pick_and_place", seed, world(setting))
    assert episode.goals.shape == (3, SIZE, SIZE, 3) and len(episode.switch) == 3 and min(episode.switch) > 0
    assert allowed([1, 2, 3]) == (2, 1, 2)
    script = sum(1 for _ in list_of_steps(episode.world, episode.script()))
    assert episode.steps == sum(episode.switch) == int(np.ceil(1.5 * script))


def test_imagined_actions_are_undone_to_the_bit_and_come_true(setting):
    episode = start("grasp", 0, world(setting))
    true, action = SimulatorModel(episode.world), np.array([0.03, -0.02, -0.04, 0, 0, 0, 0.5])
    before, command = episode.world.simulation.snapshot(), episode.world.command
    imagined = true.after(action[None])
    now = episode.world.simulation.snapshot()
    assert (
        all(np.array_equal(a, b) for a, b in zip(before, now, strict=True))
        and episode.world.command is command
    )
    assert np.array_equal(episode.world.step(action)[0]["image"], imagined)


def test_true_dynamics_prefer_the_true_action(setting):
    episode = start("reach", 1, world(setting))
    true, action = SimulatorModel(episode.world), np.array([0.05, 0.05, -0.05, 0, 0, 0, 0])
    goal = true.encode(frames(true.after(action[None])[None]))
    energy = true.energy(goal, torch.zeros(1, 7), goal)
    found = energy(torch.from_numpy(np.stack([[action], [-action], [0 * action]])).float())
    assert found[0] < 1e-3 < found[2] and found[0] < found[1]


def test_the_hand_is_kept_where_episodes_were_recorded(setting):
    episode = start("reach", 0, world(setting))
    far = np.array([1.0, -1.0, 0.0, 0, 0, 0.1, 0.2])
    cut = within_reach(episode.world, far)
    assert np.array_equal(cut[2:], far[2:]) and (np.abs(cut[:2]) < 0.5).all() and far[0] == 1.0
    assert np.array_equal(within_reach(episode.world, cut), cut)


def test_random_actions_fill_the_bounds_and_keep_to_them():
    for constraint in ("box", "l1_ball"):
        policy = RandomPolicy(CEMConfig(bounds=ActionBounds(constraint)), seed=0)
        drawn = np.stack([policy.act(np.zeros(0), np.zeros(7)) for _ in range(500)])
        size = (
            np.abs(drawn[:, :3]).sum(axis=1) if constraint == "l1_ball" else np.abs(drawn[:, :3]).max(axis=1)
        )
        assert (
            0.07 < size.max() <= 0.075 + 1e-9
            and (drawn[:, 3:6] == 0).all()
            and np.abs(drawn[:, 6]).max() <= 0.75
        )


def test_outcomes_do_not_depend_on_the_number_of_workers(setting):
    jobs = [Job("reach", row, seed) for row in ("random", "model") for seed in range(2)]
    one, two = ([outcome for _, outcome in play_all(jobs, setting, workers)] for workers in (1, 2))
    assert [o._replace(seconds=0.0) for o in one] == [o._replace(seconds=0.0) for o in two]
    assert one[2].calls == 10 * 5 and one[0].calls == 0


@pytest.mark.parametrize("row", ["clone", "perfect", "pixels", "untrained", "still"])
def test_every_row_plays(setting, row):
    outcome = EpisodeRunner(setting).play(Job("reach", row, 0))
    assert outcome.actions == 10 and outcome.distance > 0


def test_rows_without_weights_are_left_out_and_missing_files_refused(weights, tmp_path):
    assert rows_of(Weights(), ["model", "random", "clone"]) == ["random"]
    with pytest.raises(UserError, match=r"weights\.ac=nowhere does not exist"):
        rows_of(replace(weights, ac="nowhere"), ["model"])
    with pytest.raises(UserError, match="none of the rows"):
        rows_of(Weights(), ["model"])


def outcome(success: bool, distance: float, azimuth: float, row: str = "model") -> Outcome:
    return Outcome(Job("reach", row, 0), success, distance, azimuth, 10, 650, 2.0)


def test_the_table_counts_what_happened():
    played = [outcome(True, 0.02, 3.0), outcome(True, 0.04, 17.0), outcome(False, 0.3, 12.0)]
    played.append(outcome(False, 0.2, 1.0, "random"))
    model, random = lines(played, lambda one: one.job.row)
    assert (model.episodes, model.success, model.close, model.median) == (
        3,
        pytest.approx(2 / 3),
        pytest.approx(1 / 3),
        0.04,
    )
    assert model.seconds == pytest.approx(0.2) and model.calls == 65 and random.success == 0
    assert 0 < model.low < 2 / 3 < model.high < 1
    assert [one.name for one in by_angle(played)] == ["0 to 10 degrees", "10 to 20 degrees"]
    assert "[0.21, 0.94]" in table([line("model", played[:3])], "reach")


def test_the_protocol_from_end_to_end(setting, tmp_path):
    """Two worlds a row; the table, the JSON, the film, the landscape, and TensorBoard."""
    config = RobotConfig(
        out=tmp_path / "robot", episodes=4, steps=6, size=SIZE, val=0.0, test=0.5, scripted=0.0, workers=1
    )
    record_robot(config)
    protocol = ProtocolConfig(seeds=2, rows=("model", "random", "oracle"), horizons=(2,), horizon_seeds=1, azimuth=60.0,
                              azimuth_seeds=2)  # fmt: skip
    steps = StepsConfig(steps=2, sweep=LandscapeConfig(span=(0.075, 0.075), points=5))
    plan(setting, tmp_path / "plan", config.out / "test", protocol, steps, workers=1)
    found = json.loads((tmp_path / "plan/results.json").read_text())
    assert [row["name"] for row in found["reach"]] == ["model", "random", "oracle"] and found["reach"][2][
        "success"
    ] == 1.0
    assert [row["name"] for row in found["reach_by_horizon"]] == ["1 actions ahead", "2 actions ahead"]
    assert found["reach_by_camera_angle"] and 0 <= found["energy_landscapes"]["quadrant"] <= 1
    for name in ("film.mp4", "film.png", "landscape.png", "landscape.npz"):
        assert (tmp_path / "plan" / name).stat().st_size > 0
    assert list((tmp_path / "plan").glob("events.out.tfevents.*"))
    assert animation(tmp_path / "plan/film.mp4").startswith(b"GIF")


def test_what_was_played_is_not_played_again(setting, tmp_path):
    """An interrupted journal, its last line cut off, goes on; one of other settings is begun anew."""
    jobs = [Job("reach", row, seed) for row in ("random", "still") for seed in range(3)]
    journal = EpisodeLog(tmp_path / "episodes.jsonl", setting)
    journal.keep(play_all(jobs, setting, 1))
    whole, text = list(journal.outcomes(jobs)), journal.path.read_text()
    journal.path.write_text(text[: text.rindex('"still"') + 20])
    again = EpisodeLog(journal.path, setting)
    assert again.missing(jobs) == jobs[-1:]
    again.keep(play_all(again.missing(jobs), setting, 1))
    assert [o._replace(seconds=0.0) for o in again.outcomes(jobs)] == [o._replace(seconds=0.0) for o in whole]
    assert EpisodeLog(journal.path, setting).missing(jobs) == []
    other = replace(setting, planner=replace(setting.planner, samples=5))
    assert EpisodeLog(journal.path, other).missing(jobs) == jobs


def test_mistakes_are_told_before_anything_is_played(setting, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        plan(setting, tmp_path, tmp_path / "nothing", ProtocolConfig(rows=("model",)), workers=1)
    assert not list(tmp_path.iterdir())


def test_worlds_that_allow_no_task_are_refused(setting, tmp_path):
    empty = replace(setting, scene=replace(setting.scene, objects=(0, 0)))
    with pytest.raises(UserError, match="none of 2 worlds allows the task 'grasp'"):
        plan(empty, tmp_path, protocol=ProtocolConfig(("grasp",), 2, ("still",)), workers=1)
    assert not (tmp_path / "results.json").exists()


def test_networks_of_something_else_are_refused(setting, weights, tmp_path):
    with pytest.raises(UserError, match=r"learned from frames of 32 pixels; set setting\.size, now 64"):
        EpisodeRunner(replace(setting, size=64)).model("model")
    with pytest.raises(
        UserError, match=r"the cloned policy takes \(16, 48\) tokens and channels of a frame, .* \(64, 48\)"
    ):
        EpisodeRunner(replace(setting, size=64)).play(Job("reach", "clone", 0))
    encoder = Encoder(EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=8))
    ac = ACPredictor(
        ACPredictorConfig(width=48, depth=1, heads=4, mlp_width=96, state_dim=2, action_dim=2), encoder.config
    )
    plane = asdict(vector_schema(("x", "y"), "m", 1.0))
    export(tmp_path / "ac.safetensors", {"ac_predictor": ac_predictor_part(ac, encoder.config, plane)}, {})
    with pytest.raises(
        UserError, match="a robot with states of 2 and actions of 2 numbers; the demo world's arm has 7"
    ):
        world_model(weights.encoder, str(tmp_path / "ac.safetensors"))


def test_the_planner_is_as_the_setting_says(setting):
    planner = replace(setting.planner, horizon=3, threshold=0.5, method="mppi", warm_start=True)
    player, episode = EpisodeRunner(replace(setting, planner=planner)), start("reach", 0, world(setting))
    config = player.policy(Job("reach", "model", 0), episode).mpc.config
    assert (config.planner.horizon, config.planner.method, config.threshold, config.warm_start) == (
        3,
        "mppi",
        0.5,
        True,
    )
    assert (
        config.switch == ()
        and player.policy(Job("reach", "model", 0, 2), episode).mpc.config.planner.horizon == 2
    )


def test_contradictory_protocols_are_refused(setting, tmp_path):
    with pytest.raises(UserError, match="must be positive"):
        ProtocolConfig(seeds=0)
    with pytest.raises(UserError, match="one task and one row"):
        ProtocolConfig(rows=())
    with pytest.raises(UserError, match=r"scales=\(\): give sides of squares"):
        PlannerConfig(scales=())
    with pytest.raises(UserError, match=r"cem\.top=8 of 4 samples"):
        PlannerConfig(samples=4)


def test_held_objects_are_at_the_start_of_a_reach_with_object(setting):
    seed = next(seed for seed in range(20) if start("reach_with_object", seed, world(setting)) is not None)
    assert skills.held_things(start("reach_with_object", seed, world(setting)).world)
