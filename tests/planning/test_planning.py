"""Laws of planning: the search finds a minimum within its bounds, rollouts are exact, the loop arrives."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vjepa.benchmarks.planning_speed import bench_planning
from vjepa.errors import UserError
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.planning.bounds import ActionBounds, Limits
from vjepa.planning.cem import CEMConfig, cem
from vjepa.planning.energy import Energy, distance
from vjepa.planning.fit import check_images
from vjepa.planning.landscape import LandscapeConfig, energy_landscape
from vjepa.planning.load import load_world_model
from vjepa.planning.mpc import MPC, MPCConfig
from vjepa.planning.recorded_landscape import landscape, read_trajectory
from vjepa.planning.world_model import GIB, WorldModel, WorldModelConfig
from vjepa.robots.pose import pose_apply, pose_delta
from vjepa.robots.schema import END_EFFECTOR
from vjepa.weights.export import ac_predictor_part, encoder_part, export
from vjepa.weights.facts import ActingFacts, announce
from vjepa.weights.files import weights_digest
from vjepa.weights.load import load_ac_predictor, load_encoder

SEARCH = CEMConfig(samples=200, iterations=10, top=10, horizon=2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bowl(*bottom: float) -> Energy:
    """An energy that is least where the searched dimensions of every action are `bottom`."""

    def energy(actions):
        away = (actions[..., [0, 1, 2, 6]] - torch.tensor(bottom)) * torch.tensor([10.0, 10.0, 10.0, 1.0])
        return away.square().sum(dim=(1, 2)).sqrt()

    return energy


@pytest.mark.parametrize("method", ["cem", "mppi"])
def test_the_bottom_of_a_bowl_is_found(method):
    plan = cem(bowl(0.02, -0.03, 0.01, 0.4), replace(SEARCH, method=method), generator=seeded())
    torch.testing.assert_close(
        plan.actions[:, :3], torch.tensor([[0.02, -0.03, 0.01]] * 2), atol=3e-3, rtol=0
    )
    torch.testing.assert_close(plan.actions[:, 6], torch.tensor([0.4, 0.4]), atol=3e-2, rtol=0)
    assert (plan.actions[:, 3:6] == 0).all()
    statistics = plan.statistics
    assert plan.energy < statistics.least[0]
    assert statistics.weighted[-1] < statistics.weighted[0]
    assert statistics.std[-1] < statistics.std[0]
    assert all(len(values) == 10 for values in statistics)


@pytest.mark.parametrize("method", ["cem", "mppi"])
def test_a_bottom_out_of_reach_is_approached_within_the_ball(method):
    config = replace(SEARCH, method=method, bounds=ActionBounds(limit=0.5), samples=800, horizon=1)
    plan = cem(bowl(0.2, 0.1, 0.0, 2.0), config, generator=seeded())
    assert (plan.actions[:, :3].abs().sum(dim=-1) <= 0.075 + 1e-6).all()
    assert (plan.actions[:, 6] <= 0.5).all()
    assert (plan.actions[:, 0] > 0.06).all() and (plan.actions[:, 6] > 0.45).all()


def test_the_box_reaches_its_corner():
    config = replace(SEARCH, bounds=ActionBounds(constraint="box"))
    plan = cem(bowl(0.2, 0.2, -0.2, 0.0), config, generator=seeded())
    corner = torch.tensor([[0.075, 0.075, -0.075]] * 2)
    torch.testing.assert_close(plan.actions[:, :3], corner, atol=2e-3, rtol=0)


def test_samples_never_leave_the_bounds():
    samples = {"l1_ball": [], "box": []}
    for constraint, seen in samples.items():

        def energy(actions, seen=seen):
            seen.append(actions)
            return actions.square().sum(dim=(1, 2))

        cem(energy, replace(SEARCH, bounds=ActionBounds(constraint=constraint)), generator=seeded())
        actions = torch.cat(seen)
        assert actions[..., :3].abs().max() <= 0.075
        assert actions[..., 6].abs().max() <= 0.75
    assert torch.cat(samples["l1_ball"])[..., :3].abs().sum(dim=-1).max() <= 0.075 + 1e-6


def test_the_ball_keeps_directions():
    limits = Limits(SEARCH.bounds, SEARCH.action_dim, torch.device("cpu"))
    far = torch.tensor([0.3, -0.1, 0.2, 0.0, 0.0, 0.0, 0.5])
    torch.testing.assert_close(limits.project(far)[:3], far[:3] / 0.6 * 0.075)
    near = torch.tensor([0.03, -0.01, 0.02, 0.0, 0.0, 0.0, 0.5])
    assert torch.equal(limits.project(near), near)


def test_a_seed_decides_the_plan():
    energy = bowl(0.02, 0.0, 0.0, 0.1)
    first, again, another = (cem(energy, SEARCH, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.actions, again.actions)
    assert torch.equal(first.statistics.mean, again.statistics.mean)
    assert not torch.equal(first.actions, another.actions)


def test_a_warm_start_begins_where_it_says():
    start = torch.zeros(2, 7)
    start[:, :3] = torch.tensor([0.02, -0.03, 0.01])
    start[:, 4] = 0.3
    short = replace(SEARCH, iterations=1, std=(0.005, 0.005, 0.005, 0.01))
    warm = cem(bowl(0.02, -0.03, 0.01, 0.0), short, generator=seeded(), start=start)
    cold = cem(bowl(0.02, -0.03, 0.01, 0.0), short, generator=seeded())
    assert warm.energy < cold.energy
    assert (warm.actions[:, 4] == 0.3).all()  # not searched, so kept
    with pytest.raises(UserError, match="start of a plan"):
        cem(bowl(0.0, 0.0, 0.0, 0.0), SEARCH, generator=seeded(), start=start[:1])


def test_impossible_searches_are_refused():
    with pytest.raises(UserError, match=r"top=30 of 20"):
        CEMConfig(samples=20, top=30)
    with pytest.raises(UserError, match="for each searched dimension"):
        CEMConfig(searched=(0, 1))
    with pytest.raises(UserError, match="among the 2 dimensions"):
        CEMConfig(action_dim=2)
    with pytest.raises(UserError, match="not finite"):
        cem(lambda actions: actions.sum(dim=(1, 2)) * torch.nan, SEARCH, generator=seeded())


SMALL = EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=8)


@pytest.fixture(scope="module")
def world() -> WorldModel:
    torch.manual_seed(0)
    ac = ACPredictor(ACPredictorConfig(width=48, depth=2, heads=4, mlp_width=96), SMALL)
    with torch.no_grad():
        for parameter in ac.parameters():
            parameter.normal_(std=0.2)
    return WorldModel(Encoder(SMALL), ac, END_EFFECTOR)


@pytest.fixture(scope="module")
def now(world) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and state of one moment."""
    image = torch.randn(1, 3, 24, 24, generator=seeded())
    return world.encode(image), torch.tensor([[0.4, 0.1, 0.2, 3.0, 0.1, -0.2, 0.5]])


def plans(samples: int, horizon: int) -> torch.Tensor:
    return 0.1 * torch.randn(samples, horizon, 7, generator=seeded(samples))


def test_a_rollout_equals_recomputing_every_step(world, now):
    tokens, state = now
    actions = plans(3, 3)
    frames = tokens.expand(3, -1, -1)
    states = [state.expand(3, -1)]
    with torch.no_grad():
        for step in range(1, 4):
            predictions = world.ac(frames, actions[:, :step], torch.stack(states, dim=1))
            frames = torch.cat([frames, predictions[:, -9:]], dim=1)
            states.append(pose_apply(states[-1], actions[:, step - 1]))
    rollout = world.rollout(*now, actions, every_step=True)
    torch.testing.assert_close(rollout, frames[:, 9:], atol=1e-5, rtol=0)
    torch.testing.assert_close(world.rollout(*now, actions), frames[:, -9:], atol=1e-5, rtol=0)


def test_predicting_is_a_rollout_of_one_step(world, now):
    action = plans(1, 1)
    tokens, state = world.predict(*now, action[:, 0])
    torch.testing.assert_close(tokens, world.rollout(*now, action))
    torch.testing.assert_close(state, pose_apply(now[1], action[:, 0]))


def test_chunks_change_nothing(world, now):
    actions = plans(7, 2)
    goal = torch.randn(1, 9, 48, generator=seeded(5))
    whole = world.energy(*now, goal)(actions)
    parts = WorldModel(world.encoder, world.ac, END_EFFECTOR, WorldModelConfig(memory=1.0 / GIB))
    assert parts.chunk_size(9, 2) == 1
    assert world.chunk_size(9, 2) > 7
    torch.testing.assert_close(parts.energy(*now, goal)(actions), whole)
    torch.testing.assert_close(whole, distance(world.rollout(*now, actions), goal))


def test_an_energy_is_zero_at_its_own_future(world, now):
    actions = plans(5, 2)
    goal = world.rollout(*now, actions[2:3])
    energies = world.energy(*now, goal)(actions)
    assert energies.argmin() == 2 and energies[2] < 1e-5


def test_half_precision_is_for_the_networks_alone(world, now):
    actions = plans(8, 3)
    goal = torch.randn(1, 9, 48, generator=seeded(5))
    starts = now[1].expand(8, -1)
    energies = world.energy(*now, goal)(actions)
    states = world.states_along(starts, actions)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(world.energy(*now, goal)(actions), energies, atol=0.02, rtol=0)
        assert torch.equal(world.states_along(starts, actions), states)


def test_a_search_under_autocast_is_the_same_search_but_for_the_networks():
    def energy(actions):
        return (actions[..., :3].sum(dim=1) - 0.03).norm(dim=-1)

    config = CEMConfig(samples=32, iterations=3, top=4, horizon=2)
    plan = cem(energy, config, generator=seeded(1))
    with torch.autocast("cpu", torch.bfloat16):
        again = cem(energy, config, generator=seeded(1))
    assert torch.equal(again.actions, plan.actions)
    assert torch.equal(again.statistics.weighted, plan.statistics.weighted)


class Plane:
    """A world of positions: an image's first pixels are the position, and actions add to it."""

    def encode(self, image):
        return image[:, :, 0, :1].transpose(1, 2)

    def energy(self, tokens, state, goal):
        return lambda actions: (tokens[:, 0] + actions[..., :3].sum(dim=1) - goal[:, 0]).norm(dim=-1)


def image_of(position: torch.Tensor) -> torch.Tensor:
    return position[:, None, None].expand(3, 2, 2)


def drive(policy: MPC, steps: int) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Positions, executed actions and present goals of an episode in the plane."""
    positions = [torch.zeros(3)]
    actions = []
    goals = []
    for _ in range(steps):
        action = policy.act(image_of(positions[-1]), torch.zeros(7))
        positions.append(positions[-1] + action[:3])
        actions.append(action)
        goals.append(policy.goal)
    return torch.stack(positions), torch.stack(actions), goals


QUICK = CEMConfig(samples=100, iterations=6, top=10)
PLACES = torch.tensor([[0.2, 0.1, 0.0], [0.2, -0.1, 0.1], [0.0, 0.0, 0.2]])
GOALS = torch.stack([image_of(place) for place in PLACES])


@pytest.mark.parametrize("method", ["cem", "mppi"])
def test_the_loop_arrives_within_its_bounds(method):
    policy = MPC(Plane(), MPCConfig(replace(QUICK, method=method)), GOALS[:1], seeded())
    positions, actions, _ = drive(policy, 8)
    assert (positions[-1] - PLACES[0]).norm() < 0.01
    assert (actions[:, :3].abs().sum(dim=-1) <= 0.075 + 1e-6).all() and (actions[:, 6].abs() <= 0.75).all()
    assert (actions[:, 3:6] == 0).all()


def test_goals_switch_at_their_times():
    policy = MPC(Plane(), MPCConfig(QUICK, switch=(4, 10, 4)), GOALS, seeded())
    positions, _, goals = drive(policy, 20)
    assert goals == [0] * 4 + [1] * 10 + [2] * 6  # the last one stays
    assert (positions[14] - PLACES[1]).norm() < 0.01 and (positions[-1] - PLACES[2]).norm() < 0.01


def test_goals_switch_when_reached():
    policy = MPC(Plane(), MPCConfig(QUICK, threshold=0.005), GOALS, seeded())
    positions, _, goals = drive(policy, 20)
    assert goals == sorted(goals) and set(goals) == {0, 1, 2}
    assert (positions[goals.index(1)] - PLACES[0]).abs().mean() < 0.005
    assert (positions[-1] - PLACES[2]).norm() < 0.01


@pytest.mark.parametrize("warm_start", [False, True])
def test_several_actions_of_a_plan_are_executed(warm_start):
    config = MPCConfig(replace(QUICK, horizon=4), execute=2, warm_start=warm_start)
    policy = MPC(Plane(), config, GOALS[:1], seeded())
    used = []
    for _ in range(6):
        policy.act(image_of(torch.zeros(3)), torch.zeros(7))
        used.append(policy.plan)
    assert [used[i] is used[i + 1] for i in range(5)] == [True, False] * 2 + [True]
    start = policy.start()
    if warm_start:
        assert torch.equal(start[:2], policy.plan.actions[2:]) and (start[2:] == 0).all()
    else:
        assert start is None


def test_an_episode_is_decided_by_its_seed():
    runs = [drive(MPC(Plane(), MPCConfig(QUICK), GOALS[:1], seeded(seed)), 4)[1] for seed in (3, 3, 4)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_impossible_loops_are_refused():
    with pytest.raises(UserError, match="one number of actions for each"):
        MPC(Plane(), MPCConfig(QUICK, switch=(4, 10)), GOALS, seeded())
    with pytest.raises(UserError, match="execute=2 of a plan of 1"):
        MPCConfig(QUICK, execute=2)
    with pytest.raises(UserError, match="nothing says when the next of 3 goal images begins"):
        MPC(Plane(), MPCConfig(QUICK), GOALS, seeded())
    with pytest.raises(UserError, match="by switch or by threshold"):
        MPCConfig(QUICK, switch=(4,), threshold=0.1)


def test_a_world_model_drives_the_loop(world):
    goals = torch.randn(1, 3, 24, 24, generator=seeded(9))
    policy = MPC(world, MPCConfig(CEMConfig(samples=8, iterations=2, top=3)), goals, seeded())
    action = policy.act(torch.randn(3, 24, 24, generator=seeded(8)), torch.zeros(7))
    assert action.shape == (7,) and action[:3].abs().sum() <= 0.075 + 1e-6


def test_a_landscape_is_the_energy_on_a_plane(tmp_path):
    truth = torch.zeros(2, 7)
    truth[0, 0] = 0.06
    truth[0, 2] = -0.03
    config = LandscapeConfig(axes=(0, 2), span=(0.15, 0.12), points=11)
    plane = energy_landscape(lambda actions: (actions - truth).square().sum(dim=(1, 2)), truth, config)
    assert plane.energies.shape == (11, 11)
    torch.testing.assert_close(plane.minimum, torch.tensor([0.06, -0.024]))
    assert plane.same_quadrant
    assert plane.angle == pytest.approx(np.arctan2(0.03, 0.06) - np.arctan2(0.024, 0.06), abs=1e-4)

    plane.save(tmp_path / "deep" / "landscape.npz")
    with np.load(tmp_path / "deep" / "landscape.npz") as file:
        assert set(file) == {"x", "y", "energies", "truth", "minimum"}
        assert file["energies"].argmin() == 4 * 11 + 7
    with pytest.raises(UserError, match="step 2"):
        energy_landscape(bowl(0.0, 0.0, 0.0, 0.0), truth, replace(config, step=2))


@pytest.fixture
def trajectory(tmp_path):
    rng = np.random.default_rng(0)
    states = rng.uniform(-0.1, 0.1, (1, 3, 7)).astype(np.float32)
    np.savez(
        tmp_path / "episode.npz",
        observations=rng.integers(0, 255, (1, 3, 40, 48, 3), np.uint8),
        states=states,
    )
    return tmp_path / "episode.npz"


def test_the_command_writes_numbers_and_an_image(world, trajectory, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need the plot extra")
    parts = {
        "ema": encoder_part(world.encoder),
        "ac_predictor": ac_predictor_part(world.ac, SMALL, ActingFacts(asdict(END_EFFECTOR), size=24)),
    }
    weights = tmp_path / "model.safetensors"
    export(weights, parts, {})
    options = {"trajectory": trajectory, "encoder": weights, "ac": weights, "out": tmp_path}
    landscape(**options, start=1, sweep=LandscapeConfig(points=5))
    states = read_trajectory(trajectory).states
    with np.load(tmp_path / "landscape.npz") as file:
        np.testing.assert_allclose(file["truth"], pose_delta(states[1], states[2])[:2], rtol=1e-5)
        assert np.isfinite(file["energies"]).all() and file["energies"].std() > 0
    assert (tmp_path / "landscape.png").stat().st_size > 5000
    with pytest.raises(UserError, match="frames 2 to 3 are not all"):
        landscape(**options, start=2)


def test_a_foreign_trajectory_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    frame = np.zeros((1, 1, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "short.npz", observations=frame, states=np.zeros((1, 1, 7)))
    with pytest.raises(UserError, match="expected observations and states"):
        read_trajectory(tmp_path / "other.npz")
    with pytest.raises(UserError, match="not one episode"):
        read_trajectory(tmp_path / "short.npz")
    with pytest.raises(UserError, match="is no file"):
        read_trajectory(tmp_path / "none.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK half")
    with pytest.raises(UserError, match=r"cut\.npz: its content is damaged"):
        read_trajectory(tmp_path / "cut.npz")


def spot(row: int, column: int) -> torch.Tensor:
    """A frame of 8 x 8 tokens, all zero but one."""
    tokens = torch.zeros(1, 8, 8, 2)
    tokens[0, row, column] = 1.0
    return tokens.flatten(1, 2)


def test_coarser_scales_measure_how_far_apart_tokens_are_that_do_not_overlap():
    """Equation 5 is flat there."""
    goal, near, far = spot(3, 3), spot(3, 2), spot(3, 7)
    assert distance(near, goal) == distance(far, goal) == 2 / 64
    assert distance(near, goal, (1, 2, 4)) < distance(far, goal, (1, 2, 4))
    torch.testing.assert_close(distance(far, goal, (4,)), torch.tensor([2 / 16 / 4]))
    with pytest.raises(UserError, match="squares of 3 tokens do not divide a frame of 64"):
        distance(near, goal, (3,))


def test_the_bench_measures_what_the_cache_saves(capsys):
    bench_planning(width=48, depth=1, encoder_width=48, tokens=16, samples=8, iterations=2, horizons=(1, 3))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(float(line.split()[-1]) < 1e-5 for line in lines[1:])


DOWN = replace(END_EFFECTOR, centres=(float(np.pi), 0.0, 0.0))
"""As the demo's: the hand points down, so a roll of +pi and of -pi are the same."""


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    """Files of an encoder, and of a predictor that was trained under DOWN on its tokens."""
    torch.manual_seed(0)
    encoder = Encoder(SMALL)
    ac = ACPredictor(ACPredictorConfig(width=48, depth=1, heads=4, mlp_width=96), SMALL)
    acting = ActingFacts(asdict(DOWN), 24, 4.0, (1, 3), encoder_digest=weights_digest(encoder))
    export(tmp_path / "encoder.safetensors", {"ema": encoder_part(encoder)}, {})
    export(tmp_path / "ac.safetensors", {"ac_predictor": ac_predictor_part(ac, SMALL, acting)}, {})
    return tmp_path / "encoder.safetensors", tmp_path / "ac.safetensors"


def test_a_roll_of_pi_keeps_its_sign_under_the_schema_of_the_weights(pair):
    """Turned a little further, a hand that points down has the roll -3.12, which no network has seen."""
    model = load_world_model(*pair)
    assert model.schema == DOWN
    state = torch.tensor([[0.4, 0.1, 0.2, 3.1, 0.0, 0.0, 0.5]])
    action = torch.tensor([[0.0, 0.0, 0.0, 0.06, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(model.next_state(state, action)[0, 3], torch.tensor(3.16))
    default = WorldModel(Encoder(SMALL), ACPredictor(model.ac.config, SMALL), END_EFFECTOR)
    torch.testing.assert_close(default.next_state(state, action)[0, 3], torch.tensor(3.16 - 2 * np.pi))


def test_another_schema_than_that_of_the_weights_is_refused(pair):
    networks = (load_encoder(pair[0]), load_ac_predictor(pair[1]))
    with pytest.raises(
        UserError, match=r"another schema: centres \(3\.14159.*not \(\)\. Take load_world_model"
    ):
        WorldModel(*networks, END_EFFECTOR)
    narrow = replace(DOWN, bounds=((-0.01, 0.01),) * 7)
    assert WorldModel(*networks, narrow).schema == narrow  # where one searches is no meaning of numbers


def test_size_and_scales_come_from_the_weights_unless_they_are_given(pair, capsys):
    announce.cache_clear()
    model = load_world_model(*pair)
    assert (model.size, model.scales) == (24, (1, 3)) and capsys.readouterr().err == ""
    with pytest.raises(UserError, match="learned from images of 24 pixels, got 32 x 32"):
        model.encode(torch.zeros(1, 3, 32, 32))
    other = load_world_model(*pair, WorldModelConfig(scales=(1,)), size=32)
    assert other.encode(torch.zeros(1, 3, 32, 32)).shape == (1, 16, 48) and other.scales == (1,)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "scales is (1,); the weights were trained for (1, 3)" in lines[0]


def test_the_tokens_of_another_encoder_of_the_same_shape_are_refused(pair, tmp_path):
    export(tmp_path / "other.safetensors", {"ema": encoder_part(Encoder(SMALL))}, {})
    with pytest.raises(UserError, match=r"ac\.safetensors was trained on the tokens of another encoder"):
        load_world_model(tmp_path / "other.safetensors", pair[1])


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (torch.zeros(24, 24, 3, dtype=torch.uint8), r"`b c h w` .* got uint8 \(24, 24, 3\)"),
        (torch.zeros(1, 24, 24, 3), r"got float32 \(1, 24, 24, 3\)"),
        (torch.zeros(1, 3, 2, 24, 24), r"got float32 \(1, 3, 2, 24, 24\)"),
        (torch.zeros(1, 3, 24, 32), r"images of 24 pixels, got 24 x 32"),
    ],
)
def test_images_of_another_layout_are_refused(image, why):
    with pytest.raises(UserError, match=why):
        check_images(image, 24)
