"""Laws of an energy that also compares the arm's state, as read from pictures."""

from dataclasses import replace

import pytest
import torch

from vjepa.errors import UserError
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.state_reader import StateReader, StateReaderConfig
from vjepa.planning.cem import CEMConfig, cem
from vjepa.planning.reading_world import (
    ArmReading,
    Reader,
    ReadingWorld,
    StateEnergy,
    reading_of,
    with_reading,
)
from vjepa.planning.world_model import WorldModel
from vjepa.robots.hand_view import HandView
from vjepa.robots.schema import END_EFFECTOR

TINY = EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=8)
ACTING = ACPredictorConfig(width=48, depth=1, heads=4, mlp_width=96)
CAMERA = torch.tensor([1.3, 0.0, 0.6, 0.2, 0.1, -0.3])
SEARCH = CEMConfig(samples=64, iterations=6, top=6)


@pytest.fixture(scope="module")
def world() -> ReadingWorld:
    torch.manual_seed(0)
    encoder = Encoder(TINY)
    model = WorldModel(encoder, ACPredictor(ACTING, TINY), END_EFFECTOR, size=32)
    reader = Reader(StateReader(StateReaderConfig(16, 2), 48).eval(), 48, HandView(size=16))
    return ReadingWorld(model, reader, CAMERA)


def only_state(world: ReadingWorld, **weights) -> ReadingWorld:
    changed = StateEnergy(**({"tokens": 0.0} | weights))
    return ReadingWorld(world.world, world.reader, world.extrinsics, changed)


def seen(position: tuple[float, ...], closing: float) -> torch.Tensor:
    """Tokens of a frame in which this was read."""
    reading = ArmReading(torch.tensor([position]), torch.tensor([closing]))
    return with_reading(torch.zeros(1, 16, 48), reading)


def state(closedness: float) -> torch.Tensor:
    return torch.tensor([[0.5, 0.0, 0.2, 3.1, 0.0, 0.0, closedness]])


def test_what_was_read_stands_beside_the_tokens(world):
    images = torch.randn(2, 3, 96, 96)
    tokens = world.encode(images)
    alone = world.read(images)
    assert tokens.shape == (2, 16 + 1, 48)
    torch.testing.assert_close(reading_of(tokens).position, alone.position)
    torch.testing.assert_close(reading_of(tokens).closing, alone.closing)


def test_without_weights_for_the_state_it_is_the_papers_energy(world):
    paper = ReadingWorld(world.world, world.reader, world.extrinsics, StateEnergy(1.0, 0.0, 0.0))
    images = torch.randn(2, 3, 32, 32)
    now, goal = world.encode(images).split(1)
    actions = 0.05 * torch.randn(5, 2, 7)
    expected = world.world.energy(now[:, :-1], state(0.0), goal[:, :-1])(actions)
    torch.testing.assert_close(paper.energy(now, state(0.0), goal)(actions), expected)


def test_a_bias_of_the_reader_cancels(world):
    """The same error in both pictures leaves every energy as it is; the measured position plays no part."""
    alone = only_state(world)
    actions = 0.05 * torch.randn(5, 1, 7)
    true = alone.energy(seen((0.5, 0.1, 0.2), 1.0), state(0.0), seen((0.4, 0.0, 0.2), 1.0))
    off = alone.energy(seen((0.7, 0.0, 0.3), 1.0), state(0.0), seen((0.6, -0.1, 0.3), 1.0))
    torch.testing.assert_close(true(actions), off(actions))


def test_the_search_goes_where_the_goal_was_read(world):
    alone = only_state(world)
    energy = alone.energy(seen((0.5, 0.0, 0.2), -3.0), state(0.0), seen((0.53, -0.02, 0.24), -3.0))
    plan = cem(energy, SEARCH, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plan.actions[0, :3], torch.tensor([0.03, -0.02, 0.04]), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("way", "measured", "closing", "sign"),
    [
        (0.0, 0.0, 3.0, 1),  # there, open, and the goal holds something
        (0.0, 0.37, 3.0, 1),  # fingers around an object go on pressing
        (0.0, 0.37, -3.0, -1),  # let go
        (0.1, 0.0, 3.0, 0),  # on the way the gripper stays as it is
        (0.1, 0.9, -3.0, 0),
    ],
)
def test_the_gripper_follows_the_goal_only_near_it(world, way, measured, closing, sign):
    alone = only_state(world)
    energy = alone.energy(seen((0.5, 0.0, 0.2), 0.0), state(measured), seen((0.5 + way, 0.0, 0.2), closing))
    action = cem(energy, SEARCH, generator=torch.Generator().manual_seed(0)).actions[0, 6]
    assert action.abs() < 0.1 if sign == 0 else sign * action > 0.25


def test_a_long_plan_does_not_put_off_its_way(world):
    alone = only_state(world)
    energy = alone.energy(seen((0.5, 0.0, 0.2), 0.0), state(0.0), seen((0.57, 0.0, 0.2), 0.0))
    early, late = torch.zeros(2, 1, 2, 7)
    early[:, 0, 0] = 0.07
    late[:, 1, 0] = 0.07
    assert energy(early) < energy(late)


def test_impossible_weights_are_refused():
    for name in ("tokens", "position", "gripper", "near"):
        with pytest.raises(UserError, match=r"planner\.state"):
            replace(StateEnergy(), **{name: -1.0})
    for name in ("position", "closing"):
        with pytest.raises(UserError, match=r"planner\.state"):
            replace(StateEnergy(), **{name: float("nan")})
