"""Scripted episodes: skills on different objects, with frames, actions, states and the log of events."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from numpy.random import Generator

from vjepa.sim.recording.director import Director
from vjepa.sim.world import skills
from vjepa.sim.world.env import DemoWorld, WorldConfig

Plan = tuple[Callable, ...]
"""Skills that happen to an object, one after the other."""
PLANS: tuple[Plan, ...] = (
    (skills.lift, skills.lower, skills.open_hand),
    (skills.drop,),
    (skills.put_in_tray,),
    (skills.hide,),
    (skills.push_left,),
    (skills.push_right,),
    (skills.turn,),
)
"""What can happen to an object."""


class ScriptedEpisode(NamedTuple):
    frames: UInt8[ndarray, "t h w 3"]
    """At the frame rate of the world's configuration."""
    actions: Float[ndarray, "s 7"]
    """At 4 Hz, as `DemoWorld.step` takes them."""
    states: Float[ndarray, "s+1 7"]
    """Before the first action and after each."""
    extrinsics: ndarray
    """Of the camera (6,), as `Camera.extrinsics`."""
    intrinsics: ndarray
    """Of the camera (3, 3), as `Camera.intrinsics`."""
    events: list[dict]
    """The log, as `Director.events`."""
    objects: list[dict]
    """Name, shape and colour of every object."""


def play_script(seed: int, config: WorldConfig, plans: int = 3) -> ScriptedEpisode:
    """A new world in which something happens to up to `plans` of its objects, one after the other."""
    world = DemoWorld(config)
    observation, info = world.reset(seed=seed)
    # The frame of time zero; every action returns those that follow.
    frames = [observation["image"][None]]
    states = [observation["state"]]
    actions = []

    def keep(action: ndarray, result: tuple) -> None:
        actions.append(action)
        states.append(result[0]["state"])
        frames.append(result[-1]["frames"])

    director = Director(world, keep)
    # Another stream than the one that drew the scene from the same seed.
    for skill, name in draw_script(np.random.default_rng([seed, 1]), world, plans):
        director.run(skill, name)
    return ScriptedEpisode(
        frames=np.concatenate(frames),
        actions=np.array(actions),
        states=np.array(states),
        extrinsics=info["extrinsics"],
        intrinsics=info["intrinsics"],
        events=director.events,
        objects=[thing.label for thing in world.scene.things],
    )


def draw_script(random: Generator, world: DemoWorld, plans: int) -> list[tuple[Callable, str]]:
    """Pairs of (skill, object name): for each of up to `plans` objects, in random order, one plan."""
    possible = possible_plans(PLANS, world)
    # Objects first, then one plan for each: this order decides the recorded bytes.
    names = random.permutation([thing.name for thing in world.scene.things])[:plans]
    return [(skill, str(name)) for name in names for skill in possible[random.integers(len(possible))]]


def possible_plans(plans: Sequence[Plan], world: DemoWorld) -> list[Plan]:
    """The plans that do not need a tray or an occluder that the world does not have."""
    impossible = set()
    if world.scene.tray is None:
        impossible.add(skills.put_in_tray)
    if world.scene.occluder is None:
        impossible.add(skills.hide)
    return [plan for plan in plans if impossible.isdisjoint(plan)]
