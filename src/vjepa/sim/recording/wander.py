"""Random motion of the hand: what an action-conditioned model should have seen before a planner uses it."""

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
"""Metres that an action moves the hand along an axis, at most: the box that the planner searches."""
STRIDE = 0.13
"""Metres that a stride is long, at most: the diagonal of that box, so that every planned action was seen."""
TWIST = 0.25
"""Radians that an action turns the hand, at most."""
MAX_YAW = 0.9
"""Radians that the hand is turned from its home, at most."""
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
    """Metres that one action moves the hand."""
    squeeze: float
    """Most that one action changes closedness."""


def wander(world: DemoWorld, random: Generator) -> Actions:
    """Go to one random goal after another, with noise that is smooth in time, without end."""
    smoothness = random.uniform(0, 0.8)
    spread = random.uniform(0.005, 0.04) * np.array([1, 1, 1, 4])
    noise = np.zeros(4)
    while True:
        goal = draw_goal(world, random)
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
        position[2] = grasp_height(world, thing) + random.choice([0.0, 0.0, random.uniform(0, 0.15)])
    closedness = random.choice([0.0, 1.0, random.uniform(0, 1), world.command.closedness])
    stride = random.uniform(0.02, STRIDE)
    return Goal(position, yaw, float(closedness), stride, squeeze=random.uniform(0.2, 1.0))


def step_towards(goal: Goal, world: DemoWorld, noise: ndarray) -> ndarray:
    """The next action (7,): a stride, a twist and a squeeze. The noise (4,) is of position and yaw."""
    position = world.command.position
    yaw = matrix_to_euler(world.command.rotation)[2]
    way = goal.position - position
    stride = way * min(1.0, goal.stride / max(float(np.linalg.norm(way)), 1e-9)) + noise[:3]
    shift = np.clip(position + np.clip(stride, -BOUND, BOUND), REACH_LOW, REACH_HIGH) - position
    twist = np.clip(np.clip(goal.yaw, -MAX_YAW, MAX_YAW) - yaw + noise[3], -TWIST, TWIST)
    squeeze = np.clip(goal.closedness - world.command.closedness, -goal.squeeze, goal.squeeze)
    return np.array([*np.clip(shift, -BOUND, BOUND), 0.0, 0.0, twist, squeeze])
