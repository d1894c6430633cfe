"""Random motion of the hand: what an action-conditioned model should have seen before a planner asks it."""

from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from vjepa.sim.world.env import DemoWorld
from vjepa.sim.world.poses import matrix_to_euler
from vjepa.sim.world.skills import Actions, grasp_height

REACH_LOW, REACH_HIGH = np.array([0.30, -0.36, 0.02]), np.array([0.66, 0.36, 0.40])
"""Metres (3,): within this box the arm is where it was told to be; the corners of the environment's own are out of reach."""
BOUND = 0.075
"""Metres: most that an action moves the hand along an axis, and what the planner searches."""
STRIDE = 0.13
"""Metres: most that a stride is long, the diagonal of that box, so that nothing is planned that was never seen."""
TWIST, MOST_YAW = 0.25, 0.9
"""Radians: most that an action turns the hand, and most that it is turned."""
NEAR = 0.3
"""Share of the goals that are about an object; the others are anywhere."""


class Goal(NamedTuple):
    """Where the hand is going: position (3,) in metres, yaw in radians, closedness; in strides of so many metres."""

    position: ndarray
    yaw: float
    closedness: float
    stride: float
    squeeze: float
    """Most that one action changes closedness."""


def wander(world: DemoWorld, random: Generator) -> Actions:
    """Go to one random goal after another, shaken by noise that is smooth in time, for ever.

    Half of the goals are at, above or beside an object, with the gripper opening or closing there.
    """
    smooth, spread = random.uniform(0, 0.8), random.uniform(0.005, 0.04) * np.array([1, 1, 1, 4])
    noise = np.zeros(4)
    while True:
        goal = draw_goal(world, random)
        for _ in range(int(random.integers(3, 12))):
            noise = smooth * noise + np.sqrt(1 - smooth**2) * spread * random.standard_normal(4)
            yield step_towards(goal, world, noise)


def draw_goal(world: DemoWorld, random: Generator) -> Goal:
    """Anywhere in the workspace, or about one of the objects; the gripper open, closed or in between."""
    place, yaw = random.uniform(REACH_LOW, REACH_HIGH), random.uniform(-MOST_YAW, MOST_YAW)
    if world.scene.things and random.random() < NEAR:
        thing = world.scene.things[random.integers(len(world.scene.things))]
        place = world.position(thing) + random.normal(0, (0.02, 0.02, 0.0))
        place[2] = grasp_height(world, thing) + random.choice([0.0, 0.0, random.uniform(0, 0.15)])
    closedness = random.choice([0.0, 1.0, random.uniform(0, 1), world.command.closedness])
    return Goal(place, yaw, float(closedness), random.uniform(0.02, STRIDE), random.uniform(0.2, 1.0))


def step_towards(goal: Goal, world: DemoWorld, noise: ndarray) -> ndarray:
    """The next action (7,): one stride, one twist, one squeeze, and the noise (4,) of position and yaw on top."""
    here, yaw = world.command.position, matrix_to_euler(world.command.rotation)[2]
    way = goal.position - here
    stride = way * min(1.0, goal.stride / max(float(np.linalg.norm(way)), 1e-9)) + noise[:3]
    moved = np.clip(here + np.clip(stride, -BOUND, BOUND), REACH_LOW, REACH_HIGH) - here
    twist = np.clip(np.clip(goal.yaw, -MOST_YAW, MOST_YAW) - yaw + noise[3], -TWIST, TWIST)
    squeeze = np.clip(goal.closedness - world.command.closedness, -goal.squeeze, goal.squeeze)
    return np.array([*np.clip(moved, -BOUND, BOUND), 0.0, 0.0, twist, squeeze])
