"""Goals from scripts: a script solves a task in the simulator, and its images show the sub-goals.

goals = goals_of_script(world, thing, skills.lift(world, thing), (is_held, is_over))
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from vjepa.sim.recording.director import Director
from vjepa.sim.world import skills
from vjepa.sim.world.env import DemoWorld
from vjepa.sim.world.skills import Actions
from vjepa.sim.world.things import Thing

SLACK = 1.5
"""Number of actions that a policy may take for each action of the script."""

SubGoal = Callable[[DemoWorld, Thing, bool], bool]
"""Whether the world is at a sub-goal after an action. The last argument is True after the last action."""


class Moment(NamedTuple):
    """What there is to know of the world at one time."""

    image: UInt8[ndarray, "h w 3"]
    """What the camera sees."""
    state: Float[ndarray, " Ds"]
    """What the robot measures (7,): metres, radians, closedness."""
    place: Float[ndarray, " xyz"] | None
    """Centre (3,) of the task's object in metres; None if the task has none."""


class Goals(NamedTuple):
    """What a policy has to reach, one sub-goal after another. Policies get the images only.

    The true states are for planners that compare what is, not what is seen (`true_state`).
    """

    images: UInt8[ndarray, "g h w 3"]
    """Goal images in their order."""
    states: Float[ndarray, "g Ds"]
    """The robot's true states (7,) at these goals. Fingers that hold an object are measured as wide as it."""
    objects: Float[ndarray, "g xyz"] | None
    """True centres (3,) of the task's object at these goals, metres; None if the task has none."""
    switch: tuple[int, ...]
    """Actions to spend on each goal."""


def moment(world: DemoWorld, thing: Thing | None = None) -> Moment:
    """The present of a world, with the place of an object if there is one."""
    observation = world.observe()
    place = None if thing is None else world.position(thing)
    return Moment(observation["image"], observation["state"], place)


def goals_of(moments: Sequence[Moment], switch: tuple[int, ...] = ()) -> Goals:
    """Moments as goals, with `switch` actions to spend on each."""
    images, states, places = zip(*moments, strict=True)
    without_object = any(place is None for place in places)
    return Goals(np.stack(images), np.stack(states), None if without_object else np.stack(places), switch)


def is_held(world: DemoWorld, thing: Thing, over: bool = False) -> bool:
    """Whether both fingers touch the object, and it is between them."""
    return thing.name in skills.held_things(world)


def is_above_tray(world: DemoWorld, thing: Thing, over: bool) -> bool:
    """Whether the object is within 2 cm of the tray's centre along x and y."""
    offset = np.abs(world.position(thing)[:2] - np.array(world.scene.tray))
    return bool((offset < 0.02).all())


def is_over(world: DemoWorld, thing: Thing, over: bool) -> bool:
    """Whether the script has ended: its last image is a goal too."""
    return over


def is_placed(world: DemoWorld, thing: Thing) -> bool:
    """Whether the object is in the tray and let go, by the rule of the event log."""
    # A new Director looks at every object once. It runs no skill here.
    return Director(world).situations[thing.name].in_tray


def goals_of_script(
    world: DemoWorld, thing: Thing, script: Actions, sub_goals: tuple[SubGoal, ...]
) -> Goals | None:
    """Carry out a script. Returns its moments at the sub-goals, with the actions allowed for each of them.

    Returns None if the script misses a sub-goal.
    """
    moments = []
    steps = []
    for step, over in execute(world, script):
        # Sub-goals come in their order: the next one counts only after the one before it.
        if len(moments) < len(sub_goals) and sub_goals[len(moments)](world, thing, over):
            moments.append(moment(world, thing))
            steps.append(step)
    if len(moments) < len(sub_goals):
        return None
    return goals_of(moments, actions_per_goal(steps))


def actions_per_goal(steps: list[int]) -> tuple[int, ...]:
    """Actions allowed for each sub-goal: SLACK times as many as the script took, rounded up in all.

    `steps` says after how many actions in all the script had reached each sub-goal.
    """
    # The totals are rounded, not the differences: rounding up every goal would allow more actions in all.
    return tuple(np.diff(np.ceil(SLACK * np.array([0, *steps]))).astype(int).tolist())


def execute(world: DemoWorld, actions: Actions) -> Iterator[tuple[int, bool]]:
    """Carry out actions. After each: how many there were so far, and whether it was the last."""
    step = 0
    action = next(actions, None)
    while action is not None:
        world.step(action)
        step += 1
        # A script decides its next action when it is asked, so ask after the world has moved.
        action = next(actions, None)
        yield step, action is None


def execute_all(world: DemoWorld, actions: Actions) -> None:
    """Carry out all actions."""
    for _ in execute(world, actions):
        pass
