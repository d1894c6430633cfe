"""Laws of the closed loop: seeds decide episodes, the simulator decides success, imagination is undone."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mujoco")

from stages.plan import ProtocolConfig, plan
from vjepa.drawing.captions import GAP, enlarged, line_height, text_width
from vjepa.errors import UserError
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.cloned_policy import ClonedPolicy, ClonedPolicyConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.planning.bounds import ActionBounds
from vjepa.planning.cem import CEMConfig
from vjepa.planning.landscape import LandscapeConfig
from vjepa.robots.schema import StateSchema, vector_schema
from vjepa.sim.closed_loop.episode_log import EpisodeLog
from vjepa.sim.closed_loop.episodes import EpisodeRunner, Job, Outcome
from vjepa.sim.closed_loop.film import SIDE, film_episode, first_episode
from vjepa.sim.closed_loop.held_out_steps import StepsConfig
from vjepa.sim.closed_loop.parallel import play_all
from vjepa.sim.closed_loop.policies import (
    NoOpPolicy,
    RandomPolicy,
    ScriptedPolicy,
    SimulatorModel,
    normalised,
)
from vjepa.sim.closed_loop.results import results_table, rows_by_camera_angle, table_row, table_rows
from vjepa.sim.closed_loop.script_goals import actions_per_goal, execute
from vjepa.sim.closed_loop.setting import PlannerConfig, PolicyWeights, Setting, available_policies
from vjepa.sim.closed_loop.tasks import FIRST_SEED, START_DISTANCE, TASKS, clip_to_workspace, start_episode
from vjepa.sim.recording.robot_episodes import FIRST_SEED as RECORDED
from vjepa.sim.recording.robot_episodes import RobotConfig, record_robot
from vjepa.sim.world import skills
from vjepa.sim.world.env import DemoWorld, WorldConfig
from vjepa.weights.export import ac_predictor_part, encoder_part, export, policy_part
from vjepa.weights.facts import ActingFacts

SIZE = 32
SCHEMA = StateSchema(centres=(float(np.pi), 0.0, 0.0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> PolicyWeights:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    encoder = Encoder(EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=8))
    ac = ACPredictor(ACPredictorConfig(width=48, depth=1, heads=4, mlp_width=96, merge=2), encoder.config)
    policy = ClonedPolicy(ClonedPolicyConfig(tokens=16, token_width=48, narrow=4, width=16))
    export(folder / "encoder.safetensors", {"ema": encoder_part(encoder)}, {})
    export(
        folder / "ac.safetensors",
        {"ac_predictor": ac_predictor_part(ac, encoder.config, ActingFacts(asdict(SCHEMA), SIZE))},
        {},
    )
    export(folder / "clone.safetensors", {"policy": policy_part(policy, ActingFacts(asdict(SCHEMA)))}, {})
    encoder, ac, clone = (str(folder / f"{name}.safetensors") for name in ("encoder", "ac", "clone"))
    return PolicyWeights(encoder, ac, encoder, ac, clone)


@pytest.fixture(scope="module")
def setting(weights) -> Setting:
    return Setting(weights, PlannerConfig(samples=4, iterations=1, top=2, pixel_samples=4), size=SIZE)


def world(setting: Setting) -> DemoWorld:
    return DemoWorld(WorldConfig(size=setting.size, scene=setting.scene))


def play_through(episode, policy) -> list[float]:
    observation = episode.world.observe()
    distances = []
    for _ in range(episode.steps):
        observation = episode.world.step(policy.act(observation["image"], observation["state"]))[0]
        distances.append(episode.distance())
    return distances


@pytest.mark.parametrize("task", TASKS)
def test_the_script_succeeds_and_the_no_op_policy_does_not(setting, task):
    episode = first_episode(task, 0, world(setting))
    assert episode.succeeded(play_through(episode, ScriptedPolicy(episode.script())))
    episode = first_episode(task, 0, world(setting))
    assert not episode.succeeded(play_through(episode, NoOpPolicy()))


def test_a_seed_decides_the_episode_and_was_never_recorded(setting):
    first, again, another = (start_episode("reach", seed, world(setting)) for seed in (3, 3, 4))
    assert np.array_equal(first.goals, again.goals) and first.distance() == again.distance()
    assert not np.array_equal(first.goals, another.goals)
    assert START_DISTANCE[0] <= first.distance() <= START_DISTANCE[1]
    assert FIRST_SEED > 2 * RECORDED


def test_the_goal_image_shows_the_hand_at_the_goal(setting):
    """Where the script ends is what the goal shows, up to the millimetres of the arm's control."""
    episode = start_episode("reach", 0, world(setting))
    before = np.abs(episode.world.observe()["image"].astype(int) - episode.goals[0]).mean()
    play_through(episode, ScriptedPolicy(episode.script()))
    after = np.abs(episode.world.observe()["image"].astype(int) - episode.goals[0]).mean()
    assert after < 0.15 * before


def test_sub_goals_come_in_order_with_time_for_each(setting):
    episode = first_episode("pick_and_place", 0, world(setting))
    assert episode.goals.shape == (3, SIZE, SIZE, 3) and len(episode.switch) == 3 and min(episode.switch) > 0
    assert actions_per_goal([1, 2, 3]) == (2, 1, 2)
    script = sum(1 for _ in execute(episode.world, episode.script()))
    assert episode.steps == sum(episode.switch) == int(np.ceil(1.5 * script))


def test_imagined_actions_are_undone_to_the_bit_and_come_true(setting):
    episode = start_episode("grasp", 0, world(setting))
    action = np.array([0.03, -0.02, -0.04, 0, 0, 0, 0.5])
    before = episode.world.simulation.snapshot()
    command = episode.world.command
    imagined = SimulatorModel(episode.world).after(action[None])
    after = episode.world.simulation.snapshot()
    assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    assert episode.world.command is command
    assert np.array_equal(episode.world.step(action)[0]["image"], imagined)


def test_the_simulator_as_model_prefers_the_true_action(setting):
    simulator = SimulatorModel(start_episode("reach", 1, world(setting)).world)
    action = np.array([0.05, 0.05, -0.05, 0, 0, 0, 0])
    goal = simulator.encode(normalised(simulator.after(action[None])[None]))
    energy = simulator.energy(goal, torch.zeros(1, 7), goal)
    true, opposite, none = energy(torch.from_numpy(np.stack([[action], [-action], [0 * action]])).float())
    assert true < 1e-3 < none and true < opposite


def test_the_hand_is_kept_where_episodes_were_recorded(setting):
    episode = start_episode("reach", 0, world(setting))
    far = np.array([1.0, -1.0, 0.0, 0, 0, 0.1, 0.2])
    cut = clip_to_workspace(episode.world, far)
    assert np.array_equal(cut[2:], far[2:]) and (np.abs(cut[:2]) < 0.5).all() and far[0] == 1.0
    assert np.array_equal(clip_to_workspace(episode.world, cut), cut)


def test_random_actions_fill_the_bounds_and_keep_to_them():
    for constraint in ("box", "l1_ball"):
        policy = RandomPolicy(CEMConfig(bounds=ActionBounds(constraint)), seed=0)
        drawn = np.stack([policy.act(np.zeros(0), np.zeros(7)) for _ in range(500)])
        shift = np.abs(drawn[:, :3])
        size = shift.sum(axis=1) if constraint == "l1_ball" else shift.max(axis=1)
        assert 0.07 < size.max() <= 0.075 + 1e-9
        assert (drawn[:, 3:6] == 0).all() and np.abs(drawn[:, 6]).max() <= 0.75


def test_outcomes_do_not_depend_on_the_number_of_workers(setting):
    jobs = [Job("reach", name, seed) for name in ("random", "model") for seed in range(2)]
    alone, together = ([outcome for _, outcome in play_all(jobs, setting, workers)] for workers in (1, 2))
    assert timeless(alone) == timeless(together)
    assert alone[2].calls == 10 * 5 and alone[0].calls == 0


def timeless(outcomes) -> list[Outcome]:
    """Outcomes without how long they took."""
    return [outcome._replace(seconds=0.0) for outcome in outcomes]


@pytest.mark.parametrize("name", ["clone", "perfect", "pixels", "untrained", "still"])
def test_every_policy_plays(setting, name):
    outcome = EpisodeRunner(setting).play(Job("reach", name, 0))
    assert outcome.actions == 10 and outcome.distance > 0


def test_policies_without_weights_are_left_out_and_missing_files_refused(weights, tmp_path):
    assert available_policies(PolicyWeights(), ["model", "random", "clone"]) == ["random"]
    with pytest.raises(UserError, match=r"weights\.ac=nowhere does not exist"):
        available_policies(replace(weights, ac="nowhere"), ["model"])
    with pytest.raises(UserError, match="none of the policies"):
        available_policies(PolicyWeights(), ["model"])


def outcome(success: bool, distance: float, azimuth: float, name: str = "model") -> Outcome:
    return Outcome(Job("reach", name, 0), success, distance, azimuth, 10, 650, 2.0)


def test_the_table_counts_what_happened():
    played = [outcome(True, 0.02, 3.0), outcome(True, 0.04, 17.0), outcome(False, 0.3, 12.0)]
    played.append(outcome(False, 0.2, 1.0, "random"))
    model, random = table_rows(played, lambda outcome: outcome.job.policy)
    assert model.episodes == 3 and model.median == 0.04
    assert model.success == pytest.approx(2 / 3) and model.close == pytest.approx(1 / 3)
    assert model.seconds == pytest.approx(0.2) and model.calls == 65 and random.success == 0
    assert 0 < model.low < 2 / 3 < model.high < 1
    assert [row.name for row in rows_by_camera_angle(played)] == ["0 to 10 degrees", "10 to 20 degrees"]
    assert "[0.21, 0.94]" in results_table([table_row("model", played[:3])], "reach")


def test_the_protocol_from_end_to_end(setting, tmp_path):
    """Two worlds a row; the table, the JSON, the film, the landscape, and TensorBoard."""
    config = RobotConfig(
        out=tmp_path / "robot", episodes=4, steps=6, size=SIZE, val=0.0, test=0.5, scripted=0.0, workers=1
    )
    record_robot(config)
    protocol = ProtocolConfig(
        seeds=2,
        rows=("model", "random", "oracle"),
        horizons=(2,),
        horizon_seeds=1,
        azimuth=60.0,
        azimuth_seeds=2,
    )
    steps = StepsConfig(steps=2, sweep=LandscapeConfig(span=(0.075, 0.075), points=5))
    plan(setting, tmp_path / "plan", config.out / "test", protocol, steps, workers=1)
    results = json.loads((tmp_path / "plan/results.json").read_text())
    assert [row["name"] for row in results["reach"]] == ["model", "random", "oracle"]
    assert results["reach"][2]["success"] == 1.0
    assert [row["name"] for row in results["reach_by_horizon"]] == ["1 actions ahead", "2 actions ahead"]
    assert results["reach_by_camera_angle"] and 0 <= results["energy_landscapes"]["quadrant"] <= 1
    for name in ("film.mp4", "film.gif", "film.png", "landscape.png", "landscape.npz"):
        assert (tmp_path / "plan" / name).stat().st_size > 0
    assert list((tmp_path / "plan").glob("events.out.tfevents.*"))


def test_the_film_shows_the_episode_that_is_counted(setting, tmp_path):
    runner = EpisodeRunner(setting)
    strip = film_episode(runner, "reach", "model", 0, tmp_path)
    again = film_episode(runner, "reach", "model", 0, tmp_path / "again")
    assert (strip == again).all()
    for name in ("film.mp4", "film.gif", "film.png"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()

    # Headers above, times at the left, then five columns and six moments of 10 steps at 4 Hz.
    wide, high = 5 * SIDE + 4 * GAP, line_height() + 6 * (SIDE + GAP)
    assert strip.shape == (high, text_width("0.00 s") + wide, 3)
    gif = Image.open(tmp_path / "film.gif")
    assert gif.size == (wide, line_height() + SIDE)
    assert (tmp_path / "film.gif").stat().st_size < 2_000_000

    # The first frame is the camera's image before anything has moved, enlarged.
    start = start_episode("reach", 0, runner.world()).world.observe()["image"]
    camera = strip[line_height() + GAP :, text_width("0.00 s") :][:SIDE, :SIDE]
    np.testing.assert_array_equal(camera, enlarged(start[None], SIDE, SIDE)[0])


def test_what_was_played_is_not_played_again(setting, tmp_path):
    """A log whose last line is cut off goes on after an interruption; one of other settings is begun anew."""
    jobs = [Job("reach", name, seed) for name in ("random", "still") for seed in range(3)]
    log = EpisodeLog(tmp_path / "episodes.jsonl", setting)
    log.append(play_all(jobs, setting, 1))
    text = log.path.read_text()
    log.path.write_text(text[: text.rindex('"still"') + 20])

    resumed = EpisodeLog(log.path, setting)
    assert resumed.missing(jobs) == jobs[-1:]
    resumed.append(play_all(resumed.missing(jobs), setting, 1))
    assert timeless(resumed.outcomes(jobs)) == timeless(log.outcomes(jobs))
    assert EpisodeLog(log.path, setting).missing(jobs) == []

    changed = replace(setting, planner=replace(setting.planner, samples=5))
    assert EpisodeLog(log.path, changed).missing(jobs) == jobs


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
        EpisodeRunner(replace(setting, size=64)).world_model("model")
    misfit = r"the cloned policy takes \(16, 48\) tokens and channels of a frame, .* \(64, 48\)"
    with pytest.raises(UserError, match=misfit):
        EpisodeRunner(replace(setting, size=64)).play(Job("reach", "clone", 0))
    encoder = Encoder(EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=8))
    ac = ACPredictor(
        ACPredictorConfig(width=48, depth=1, heads=4, mlp_width=96, state_dim=2, action_dim=2), encoder.config
    )
    plane = asdict(vector_schema(("x", "y"), "m", 1.0))
    export(
        tmp_path / "ac.safetensors",
        {"ac_predictor": ac_predictor_part(ac, encoder.config, ActingFacts(plane))},
        {},
    )
    misfit = "a robot with states of 2 and actions of 2 numbers; the demo world's arm has 7"
    with pytest.raises(UserError, match=misfit):
        flat = PolicyWeights(weights.encoder, str(tmp_path / "ac.safetensors"))
        EpisodeRunner(replace(setting, weights=flat)).world_model("model")


def test_the_planner_is_as_the_setting_says(setting):
    planner = replace(setting.planner, horizon=3, threshold=0.5, method="mppi", warm_start=True)
    runner = EpisodeRunner(replace(setting, planner=planner))
    episode = start_episode("reach", 0, world(setting))
    config = runner.policy(Job("reach", "model", 0), episode).mpc.config
    assert config.planner.horizon == 3 and config.planner.method == "mppi"
    assert config.threshold == 0.5 and config.warm_start and config.switch == ()
    assert runner.policy(Job("reach", "model", 0, 2), episode).mpc.config.planner.horizon == 2


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
    assert skills.held_things(first_episode("reach_with_object", 0, world(setting)).world)
