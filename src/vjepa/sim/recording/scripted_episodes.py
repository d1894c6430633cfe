"""Scripted episodes: a few skills on different objects, filmed, with actions, states and the log of what happened."""

from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from vjepa.sim.recording.director import Director
from vjepa.sim.world import skills
from vjepa.sim.world.env import DemoWorld, WorldConfig

PLANS = (
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
    """`frames` (t, h, w, 3) uint8 at the world's fps; `actions` (s, 7) and `states` (s + 1, 7) at 4 Hz; the event log."""

    frames: ndarray
    actions: ndarray
    states: ndarray
    extrinsics: ndarray
    intrinsics: ndarray
    events: list[dict]
    objects: list[dict]


def play(seed: int, config: WorldConfig, plans: int = 3) -> ScriptedEpisode:
    """A new world in which something happens to up to `plans` of its objects, one after the other."""
    world = DemoWorld(config)
    observation, info = world.reset(seed=seed)
    frames, states, actions = [observation["image"][None]], [observation["state"]], []

    def keep(action: ndarray, result: tuple) -> None:
        actions.append(action)
        states.append(result[0]["state"])
        frames.append(result[-1]["frames"])

    director = Director(world, keep)
    for skill, name in draw_script(np.random.default_rng([seed, 1]), world, plans):
        director.run(skill, name)
    objects = [thing.label for thing in world.scene.things]
    camera = info["extrinsics"], info["intrinsics"]
    return ScriptedEpisode(
        np.concatenate(frames), np.array(actions), np.array(states), *camera, director.events, objects
    )


def draw_script(random: Generator, world: DemoWorld, plans: int) -> list[tuple]:
    """Pairs of (skill, object name): for each of up to `plans` objects, in random order, one plan that this world allows."""
    missing = {skills.put_in_tray: world.scene.tray is None, skills.hide: world.scene.occluder is None}
    possible = [plan for plan in PLANS if not any(missing.get(skill, False) for skill in plan)]
    names = random.permutation([thing.name for thing in world.scene.things])[:plans]
    return [(skill, str(name)) for name in names for skill in possible[random.integers(len(possible))]]
