"""Laws of the diagnosis: true states are truly compared, planning is undone, measures count what they say."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco")

from vjepa.__main__ import main
from vjepa.errors import UserError
from vjepa.sim.closed_loop.diagnosed_episode import (
    AHEAD,
    Diagnosed,
    Diagnoser,
    first_samples,
    grip_of,
    script_stops,
    states_after,
)
from vjepa.sim.closed_loop.diagnosis import LOG, diagnose_planning, distinct
from vjepa.sim.closed_loop.diagnosis_table import diagnosis_row, diagnosis_table, mean_over_worlds
from vjepa.sim.closed_loop.episode_log import EpisodeLog
from vjepa.sim.closed_loop.episodes import EpisodeRunner, Job
from vjepa.sim.closed_loop.film import TRIES
from vjepa.sim.closed_loop.parallel import play_all
from vjepa.sim.closed_loop.planner_measures import Grip, failure_kind, progress_share, rank_correlation, ranks
from vjepa.sim.closed_loop.policies import imagined, normalised
from vjepa.sim.closed_loop.script_goals import execute_all, goals_of, moment
from vjepa.sim.closed_loop.setting import PlannerConfig, PolicyWeights, Setting
from vjepa.sim.closed_loop.tasks import DEVELOPMENT, FIRST_SEED, TASKS, start_episode
from vjepa.sim.closed_loop.true_state import CLOSEDNESS, TrueState, distance_to_go
from vjepa.sim.recording.robot_episodes import MAX_SEEDS, episode_seed

SIZE = 32
ACTION = np.array([0.03, -0.02, -0.04, 0, 0, 0, 0.5], np.float32).astype(float)
"""Of numbers that a planner's single precision keeps."""


def setting(samples: int = 4, iterations: int = 1) -> Setting:
    """Planners that need no weights."""
    planner = PlannerConfig(samples=samples, iterations=iterations, top=4, pixel_samples=samples)
    return Setting(PolicyWeights(), planner, size=SIZE)


def episode_of(task: str, number: int = 0):
    return start_episode(task, DEVELOPMENT + number, EpisodeRunner(setting()).world())


def energy_of(episode, plans: np.ndarray, thing=None) -> np.ndarray:
    """Energies of plans in the world of true states, towards the first goal."""
    model = TrueState(episode.world, episode.sub_goals, thing)
    goals = model.encode(normalised(episode.goals))
    tokens = model.encode(normalised(episode.goals[:1]))
    return model.energy(tokens, torch.zeros(1, 7), goals[:1])(torch.from_numpy(plans).float()).numpy()


@pytest.mark.parametrize("name", ["true_state", "true_object"])
def test_planning_in_true_states_leaves_the_world_as_it_was(name):
    episode = episode_of("grasp")
    before = episode.world.simulation.snapshot()
    command = episode.world.command
    energy_of(episode, np.stack([[ACTION], [-ACTION]]), episode.thing if name == "true_object" else None)
    after = episode.world.simulation.snapshot()
    assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    assert episode.world.command is command


def test_an_error_while_imagining_leaves_the_world_as_it_was():
    world = episode_of("reach").world
    before = world.simulation.snapshot()[0]
    with pytest.raises(ZeroDivisionError), imagined(world, ACTION[None]):
        1 / 0  # noqa: B018
    assert np.array_equal(world.simulation.snapshot()[0], before)


def test_the_energy_is_zero_where_the_goal_is_and_counts_metres_elsewhere():
    """The goal is what one action leads to, so this action leaves no energy, to the last bit."""
    episode = episode_of("grasp")
    with imagined(episode.world, ACTION[None]):
        reached = moment(episode.world, episode.thing)
    episode = episode._replace(sub_goals=goals_of([reached]))
    plans = np.stack([[ACTION], [0 * ACTION]])
    for thing in (None, episode.thing):
        at, away = energy_of(episode, plans, thing)
        assert at == 0 and away == pytest.approx(0.09 + 0.5 * CLOSEDNESS, abs=0.004)
    far = reached._replace(place=reached.place + np.array([0.1, -0.2, 0]))
    episode = episode._replace(sub_goals=goals_of([far]))
    assert energy_of(episode, plans[:1], episode.thing) == pytest.approx(0.3)


def test_goals_know_the_true_states_that_their_images_show():
    for task in TASKS:
        episode = episode_of(task)
        goals = episode.sub_goals
        count = len(goals.images)
        assert goals.states.shape == (count, 7) and len(goals.switch) == count
        assert (goals.objects is None) == (task == "reach") == (episode.thing is None)
        assert task == "reach" or goals.objects.shape == (count, 3)
    # Fingers that hold the object are measured as wide as it is.
    episode = episode_of("grasp")
    width = 2 * episode.thing.size[1]
    assert episode.sub_goals.states[0, 6] == pytest.approx(1 - width / 0.08, abs=0.05)
    assert episode.sub_goals.objects[1, 2] > episode.sub_goals.objects[0, 2] + 0.05  # lifted


def test_the_script_ends_at_the_last_true_state():
    for task in ("reach", "reach_with_object"):
        episode = episode_of(task)
        execute_all(episode.world, episode.script())
        episode.world.step(0 * ACTION)  # the arm comes to rest
        state = episode.world.simulation.state[None]
        assert distance_to_go(state, episode.sub_goals.states[-1]) < 0.006


@pytest.mark.slow
def test_the_planner_grasps_where_true_states_are_its_energy():
    for name in ("true_state", "true_object"):
        outcome = EpisodeRunner(setting(24, 3)).play(Job("grasp", name, DEVELOPMENT))
        assert outcome.success and outcome.calls == outcome.actions * (24 * 3 + 1)


def test_a_threshold_of_tokens_is_refused_for_true_states():
    planner = replace(setting().planner, threshold=0.5)
    with pytest.raises(UserError, match=r"planner\.threshold compares tokens, and true_state has none"):
        EpisodeRunner(replace(setting(), planner=planner)).play(Job("reach", "true_state", DEVELOPMENT))


def test_no_world_that_is_diagnosed_is_scored_or_recorded():
    """`vjepa plan` takes numbers below 2**31, and no protocol could play so many worlds in a lifetime."""
    recorded = episode_seed(1_000_000, "test", MAX_SEEDS - 1)
    assert recorded < FIRST_SEED and DEVELOPMENT > 2**31 + TRIES


def test_distances_to_go_add_up():
    goal = np.array([0.5, 0.1, 0.2, 0, 0, 0, 1.0])
    states = np.stack([goal, goal + np.array([0.1, -0.2, 0.3, 9, 9, 9, -1.0])])
    assert distance_to_go(states, goal) == pytest.approx([0, 0.6 + CLOSEDNESS])


def test_progress_is_more_than_a_millimetre():
    assert progress_share(0.1, np.array([0.0985, 0.0995, 0.1, 0.2])) == 0.25
    assert progress_share(0.0, np.array([0.0, 0.1])) == 0.0


def test_ranks_and_their_correlation():
    assert ranks(np.array([0.3, 0.1, 0.3, 0.2])).tolist() == [2.5, 0, 2.5, 1]
    x = np.array([0.1, 0.2, 5.0, 7.0])
    assert rank_correlation(x, x**3) == pytest.approx(1)
    assert rank_correlation(x, -x) == pytest.approx(-1)
    # One exchange of neighbours among four: 1 - 6 * 2 / (4 * 15).
    assert rank_correlation(x, np.array([2.0, 1.0, 3.0, 4.0])) == pytest.approx(0.8)
    assert rank_correlation(x, np.ones(4)) is None


AWAY = Grip(0.0, False, False, 0.20)
AT = Grip(0.0, False, True, 0.01)
HELD = Grip(0.3, True, True, 0.01)
EARLY = Grip(1.0, False, False, 0.20)
BESIDE = Grip(1.0, False, False, 0.02)


@pytest.mark.parametrize(
    ("grips", "kind"),
    [
        ([AWAY, AT, HELD, HELD, AWAY], "opened on the way"),
        ([EARLY, AWAY, AT, HELD, AT, AWAY], "opened on the way"),
        ([AWAY, AT, AWAY], "never closed"),
        ([AWAY, EARLY, AWAY], "missed the object"),
        ([AWAY, EARLY, BESIDE, AWAY], "closed early"),
        ([AWAY, EARLY, AT, HELD], "closed early"),
        ([AWAY, AT, BESIDE, EARLY], "other"),
        ([HELD, HELD], "other"),
    ],
)
def test_lost_episodes_by_kind(grips, kind):
    assert failure_kind(grips) == kind


def diagnosed(seed: int, success: bool, **changes) -> Diagnosed:
    job = Job("grasp", "pixels", DEVELOPMENT + seed)
    found = Diagnosed(job, success, 0.05, [AWAY, EARLY], [0.3, 0.2], [0.5, 0.0], [0.4, None], [[1.0], [], []])
    return found._replace(**changes)


def test_the_table_counts_what_was_measured():
    # Its second search began at the goal, where nothing can make progress.
    solved = diagnosed(0, True, to_go=[0.3, 0.004], now=[0.8, 0.6], ahead=[[0.5, None], [0.2], []])
    row = diagnosis_row("pixels", [solved, diagnosed(1, False)])
    assert (row.episodes, row.success, row.searches) == (2, 0.5, 3)
    assert row.with_progress == pytest.approx(2 / 3) and row.progress == pytest.approx(1 / 3)
    assert row.now.value == pytest.approx(0.55) and row.now.worlds == 2
    assert row.ahead[1].value == 0.75 and row.ahead[5].worlds == 1 and row.ahead[10].value is None
    assert row.failures == {"missed the object": 1}
    assert "0.55   0.75   0.20      -   1 missed the object" in diagnosis_table([row], "grasp")
    lost = [diagnosed(seed, False) for seed in range(10)]
    assert "0.00   [0.00, 0.28]" in diagnosis_table([diagnosis_row("pixels", lost)], "grasp")
    assert mean_over_worlds([[0.2, 0.4], [0.5], [None]]).error == pytest.approx(0.1)


def test_a_reach_has_no_object_to_compare():
    assert distinct("reach", ["true_state", "true_object", "model"]) == ["true_state", "model"]
    assert distinct("grasp", ["true_state", "true_object"]) == ["true_state", "true_object"]
    assert distinct("reach", ["true_object"]) == ["true_object"]


def test_what_is_measured_of_an_episode():
    """True states rank actions perfectly, by definition; the lists are as long as searches and script."""
    diagnosed = Diagnoser(setting()).play(Job("reach_with_object", "true_state", DEVELOPMENT))
    episode = episode_of("reach_with_object")
    assert len(diagnosed.progress) == len(diagnosed.now) == len(diagnosed.to_go) == episode.steps
    assert len(diagnosed.grips) == episode.steps + 1
    state = episode.world.simulation.state[None]
    assert diagnosed.to_go[0] == distance_to_go(state, episode.sub_goals.states[0])
    script = len(script_stops(episode)) - 1
    assert [len(found) for found in diagnosed.ahead] == [max(0, script + 1 - steps) for steps in AHEAD]
    assert np.concatenate([diagnosed.now, *diagnosed.ahead]) == pytest.approx(1)


def test_a_diagnosed_episode_ends_as_an_episode_that_is_played():
    for job in (Job("reach", "pixels", DEVELOPMENT), Job("reach_with_object", "true_object", DEVELOPMENT)):
        diagnosed = Diagnoser(setting()).play(job)
        outcome = EpisodeRunner(setting()).play(job)
        assert (diagnosed.success, diagnosed.distance) == (outcome.success, outcome.distance)


def test_first_samples_are_those_of_the_search():
    episode = episode_of("reach")
    policy = EpisodeRunner(setting()).policy(Job("reach", "true_state", DEVELOPMENT), episode)
    samples = first_samples(policy.mpc.config.planner, torch.Generator().manual_seed(episode.seed))
    seen = []
    energy = policy.mpc.world.energy
    policy.mpc.world.energy = lambda *given: lambda plans: seen.append(plans) or energy(*given)(plans)
    observation = episode.world.observe()
    policy.act(observation["image"], observation["state"])
    assert torch.equal(seen[0], samples)
    assert states_after(episode.world, samples).shape == (4, 7)


def test_grips_are_what_the_start_of_a_task_says():
    (held,) = grip_of(episode_of("reach_with_object"))
    assert held.held and held.between and held.distance < 0.03
    (away,) = grip_of(episode_of("grasp"))
    assert not away.held and not away.between and away.distance > 0.1 and away.closedness < 0.05
    assert grip_of(episode_of("reach")) == []


def test_an_interrupted_diagnosis_continues(tmp_path):
    """What was read from the file counts as what was played; a cut-off line is played again."""
    jobs = [Job("reach", "true_state", DEVELOPMENT + seed) for seed in range(2)]
    log = EpisodeLog(tmp_path / LOG, setting(), Diagnosed)
    log.append(play_all(jobs, setting(), 1, Diagnoser))
    text = log.path.read_text()
    log.path.write_text(text[:-20])

    resumed = EpisodeLog(log.path, setting(), Diagnosed)
    assert resumed.missing(jobs) == jobs[-1:]
    resumed.append(play_all(resumed.missing(jobs), setting(), 1, Diagnoser))
    rows = [diagnosis_row("true_state", list(one.outcomes(jobs))) for one in (log, resumed)]
    assert rows[0] == rows[1] and resumed.path.read_text() == text


@pytest.mark.slow
def test_the_command_from_end_to_end(tmp_path, capsys):
    """Two tasks and three rows with the weights in the package; the second call plays nothing."""
    words = ["diagnose-planning", "--tasks", "reach", "grasp", "--rows", "true_state", "pixels", "model"]
    words += ["--worlds", "1", "--samples", "4", "--iterations", "1", "--out", str(tmp_path)]
    main(words)
    told = capsys.readouterr().out
    assert "grasp: 1 world of development, 4 samples x 1" in told
    report = json.loads((tmp_path / "diagnosis.json").read_text())
    assert list(report["tasks"]) == ["reach", "grasp"]
    assert [row["name"] for row in report["tasks"]["grasp"]] == ["true_state", "pixels", "model"]
    assert report["tasks"]["grasp"][0]["ahead"]["1"]["value"] == pytest.approx(1)
    assert report["setting"]["planner"]["samples"] == report["setting"]["planner"]["pixel_samples"] == 4
    assert (tmp_path / "diagnosis.png").read_bytes().startswith(b"\x89PNG")
    log = (tmp_path / LOG).read_text()
    main(words)
    assert (tmp_path / LOG).read_text() == log and capsys.readouterr().out == told


def test_mistakes_are_told_before_anything_is_played(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--worlds 0 must be more than 0"):
        diagnose_planning(worlds=0)
    with pytest.raises(UserError, match="does not exist"):
        diagnose_planning(rows=("perfect",), encoder="nowhere.safetensors")
    (tmp_path / "diagnosis").write_text("")
    with pytest.raises(UserError, match="diagnosis is a file; name a folder"):
        diagnose_planning()
    assert [path.name for path in tmp_path.iterdir()] == ["diagnosis"]
