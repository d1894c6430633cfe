"""Random motion of the hand, which a planner's action-conditioned model should have seen in training."""

from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from vjepa.robots.euler import matrix_to_euler
from vjepa.sim.world.env import DemoWorld
from vjepa.sim.world.skills import Actions, grasp_height

REACH_LOW = np.array([0.30, -0.36, 0.02])
REACH_HIGH = np.array([0.66, 0.36, 0.40])
"""Metres (3,): box within which the arm can follow. The environment's own box has corners out of reach."""
BOUND = 0.075
"""Largest motion of the hand along an axis in an action, metres: the box that the planner searches."""
STRIDE = 0.13
"""Largest length of a stride in metres: from the middle of that box to a corner, so that training has seen
every action that a planner searches."""
TWIST = 0.25
"""Largest turn of the hand in an action, radians."""
MAX_YAW = 0.9
"""Largest turn of the hand from its home, radians."""
NEAR = 0.3
"""Share of the goals that are at an object; the others are anywhere."""


class Goal(NamedTuple):
    """Where the hand is going, and how fast."""

    position: ndarray
    """Fingertips (3,), metres."""
    yaw: float
    """Radians."""
    closedness: float
    stride: float
    """Largest way of the hand in one action, metres."""
    squeeze: float
    """Largest change of closedness in one action."""


def wander(world: DemoWorld, random: Generator) -> Actions:
    """Go to one random goal after another, without end, with noise that is smooth in time."""
    # One character per episode: jerky or smooth, exact or noisy. Yaw is in radians, hence the factor 4.
    smoothness = random.uniform(0, 0.8)
    spread = random.uniform(0.005, 0.04) * np.array([1, 1, 1, 4])
    noise = np.zeros(4)
    while True:
        goal = draw_goal(world, random)
        # A goal is left after a while, whether it was reached or not, so that the hand also turns round
        # midway.
        for _ in range(int(random.integers(3, 12))):
            # An autoregressive process: its variance is that of `spread`, however smooth it is.
            fresh = np.sqrt(1 - smoothness**2) * spread * random.standard_normal(4)
            noise = smoothness * noise + fresh
            yield step_towards(goal, world, noise)


def draw_goal(world: DemoWorld, random: Generator) -> Goal:
    """A goal anywhere, or at or above one of the objects, with the gripper open, closed or in between."""
    position = random.uniform(REACH_LOW, REACH_HIGH)
    yaw = random.uniform(-MAX_YAW, MAX_YAW)
    if world.scene.things and random.random() < NEAR:
        thing = world.scene.things[random.integers(len(world.scene.things))]
        position = world.position(thing) + random.normal(0, (0.02, 0.02, 0.0))
        # At the object twice as often as above it.
        position[2] = grasp_height(world, thing) + random.choice([0.0, 0.0, random.uniform(0, 0.15)])
    # The last choice leaves the gripper as it is, so that a held object is carried to the next goal.
    closedness = random.choice([0.0, 1.0, random.uniform(0, 1), world.command.closedness])
    stride = random.uniform(0.02, STRIDE)
    return Goal(position, yaw, float(closedness), stride, squeeze=random.uniform(0.2, 1.0))


def step_towards(goal: Goal, world: DemoWorld, noise: ndarray) -> ndarray:
    """The next action (7,): a stride, a twist and a squeeze. The noise (4,) is of position and yaw."""
    position = world.command.position
    yaw = matrix_to_euler(world.command.rotation)[2]
    way = goal.position - position
    # No longer than the goal's stride. The small number is for a way of length zero.
    stride = way * min(1.0, goal.stride / max(float(np.linalg.norm(way)), 1e-9)) + noise[:3]
    # First into the box of actions, then so that the hand stays where the arm can follow.
    shift = np.clip(position + np.clip(stride, -BOUND, BOUND), REACH_LOW, REACH_HIGH) - position
    twist = np.clip(np.clip(goal.yaw, -MAX_YAW, MAX_YAW) - yaw + noise[3], -TWIST, TWIST)
    squeeze = np.clip(goal.closedness - world.command.closedness, -goal.squeeze, goal.squeeze)
    return np.array([*np.clip(shift, -BOUND, BOUND), 0.0, 0.0, twist, squeeze])
