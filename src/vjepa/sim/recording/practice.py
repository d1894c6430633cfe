"""Practice of grasping: the arm takes objects, misses some, carries them, lets them go and takes them again.

    for action in practice(world, numpy.random.default_rng(0)):
        world.step(action)

Scripts grasp exactly, and once. Whoever learns from them alone has hardly seen an open hand around an object,
fingers that close on nothing, or an object that falls.
"""

import numpy as np
from numpy.random import Generator

from vjepa.sim.recording.wander import REACH_HIGH, REACH_LOW, wander
from vjepa.sim.world import skills
from vjepa.sim.world.env import ACTION_DIM, DemoWorld
from vjepa.sim.world.skills import Actions
from vjepa.sim.world.things import Thing

MISS = 0.012
"""Standard deviation of the hand's place from where it should be, metres, along each axis."""
HELD = (0.06, 0.3)
"""Least and greatest height in metres to which the hand rises with what it holds."""
TURNED = 0.5
"""Share of the grasps before which the hand turns as the object lies. Planners do not turn it."""
KEPT = 0.7
"""Share of the grasps after which the hand rises; after the others it opens at once."""
CARRIED = 0.6
"""Share of these after which the hand goes somewhere else before it opens."""


def practice(world: DemoWorld, random: Generator) -> Actions:
    """Take one object after another, without end. In a world without objects the hand wanders."""
    if not world.scene.things:
        yield from wander(world, random)
    while True:
        thing = world.scene.things[random.integers(len(world.scene.things))]
        yield from approach(world, thing, random)
        yield from skills.squeeze(1.0)
        if random.random() < KEPT:
            yield from carry(world, random)
        yield from skills.squeeze(-1.0)


def approach(world: DemoWorld, thing: Thing, random: Generator) -> Actions:
    """Bring the open hand around an object, or a little beside it."""
    yield from skills.rise(world, random.uniform(0.15, skills.SAFE))
    place = np.array([*world.position(thing)[:2], skills.grasp_height(world, thing)])
    place += random.normal(0, MISS, 3)
    yaw = skills.grasp_yaw(world, thing) if random.random() < TURNED else None
    yield from skills.go(world, skills.above(place, random.uniform(0.1, 0.2)), yaw)
    yield from skills.go(world, np.clip(place, REACH_LOW, REACH_HIGH))
    yield from stay(int(random.integers(3)))


def carry(world: DemoWorld, random: Generator) -> Actions:
    """Raise the hand, and maybe go somewhere else with what it holds."""
    yield from skills.rise(world, random.uniform(*HELD))
    if random.random() < CARRIED:
        x, y, _ = random.uniform(REACH_LOW, REACH_HIGH)
        yield from skills.go(world, np.array([x, y, random.uniform(*HELD)]))
    yield from stay(int(random.integers(2)))


def stay(actions: int) -> Actions:
    """No motion for some actions."""
    for _ in range(actions):
        yield np.zeros(ACTION_DIM)
