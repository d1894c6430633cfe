"""Tasks of the demo world (V-JEPA 2, section 4.2): where an episode starts, which images are its goals, what success is.

reach               the hand goes to where it is in the goal image; success: within 5 cm, and within 2.5 cm
grasp               an object is taken and lifted; success: 5 cm above its place after each of the last two actions
reach_with_object   a held object goes to where it is in the goal image; success: held, and within 5 cm
pick_and_place      an object is carried into the tray, by three goal images; success: it lies there, and is let go

Success is read off the simulator after the last action, never off images or tokens. A seed decides an episode: the same
world, start and goals for every policy. Goals are images of the same world after a script, which is then undone. No policy
can send the hand out of the box in which episodes were recorded.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy import ndarray

from vjepa.sim.recording.director import Director
from vjepa.sim.recording.wander import REACH_HIGH, REACH_LOW
from vjepa.sim.world import skills
from vjepa.sim.world.env import DemoWorld
from vjepa.sim.world.scene import Thing
from vjepa.sim.world.skills import Actions

TaskName = Literal["reach", "grasp", "reach_with_object", "pick_and_place"]
TASKS: tuple[TaskName, ...] = ("reach", "grasp", "reach_with_object", "pick_and_place")

FIRST_SEED = 2**43
"""Seeds of evaluated worlds begin here; those of recorded clips and robot episodes are below, and those of development."""
NEAR, CLOSE = 0.05, 0.025
"""Metres within which a goal is reached, and reached well."""
APART = (0.10, 0.25)
"""Metres between the start and the goal of a reach, least and most: no start is solved."""
FREE = 0.13
"""Metres above the table over which the hand touches nothing."""
REACH_STEPS = 10
"""Actions of a reach."""
SLACK = 1.5
"""Actions allowed for every one of the script's, in the other tasks."""
LIFTED = 0.05
"""Metres above its first place from which an object counts as lifted."""


class TaskEpisode(NamedTuple):
    """A world at its start, and what is asked of a policy in it."""

    world: DemoWorld
    task: TaskName
    seed: int
    goals: ndarray
    """Goal images in their order, (g, h, w, 3) uint8."""
    switch: tuple[int, ...]
    """Actions to spend on each goal."""
    script: Callable[[], Actions]
    """What the oracle does."""
    distance: Callable[[], float]
    """Metres from success, now: of the hand or of the object."""
    succeeded: Callable[[list[float]], bool]
    """Whether the episode ends well, given the distances after every action."""

    @property
    def steps(self) -> int:
        return sum(self.switch)

    @property
    def azimuth(self) -> float:
        """Degrees between the camera and straight ahead of the robot."""
        x, y = np.subtract(self.world.scene.camera.position, self.world.scene.camera.target)[:2]
        return float(abs(np.degrees(np.arctan2(y, x))))


def within_reach(world: DemoWorld, action: ndarray) -> ndarray:
    """The action (7,) cut so that the hand is not sent out of the box in which episodes were recorded."""
    here, action = world.command.position, action.copy()
    action[:3] = np.clip(here + action[:3], REACH_LOW, REACH_HIGH) - here
    return action


def start(task: TaskName, seed: int, world: DemoWorld) -> TaskEpisode | None:
    """TaskEpisode number `seed` of a task, or None if this seed's world does not allow it."""
    seed += FIRST_SEED
    world.reset(seed=seed)
    if task == "reach":
        return reach(world, seed)
    if not world.scene.things or (task == "pick_and_place" and world.scene.tray is None):
        return None
    return {"grasp": grasp, "reach_with_object": reach_with_object, "pick_and_place": pick_and_place}[task](
        world, seed
    )


def reach(world: DemoWorld, seed: int) -> TaskEpisode:
    goal = draw_place(np.random.default_rng([seed, 2]), world.simulation.state[:3])
    image = picture_of_hand_at(world, goal)
    world.reset(seed=seed)
    return TaskEpisode(
        world, "reach", seed, image[None], (REACH_STEPS,),
        script=lambda: skills.go(world, goal),
        distance=lambda: float(np.linalg.norm(world.simulation.state[:3] - goal)),
        succeeded=lambda distances: distances[-1] <= NEAR,
    )  # fmt: skip


def draw_place(random: np.random.Generator, hand: ndarray) -> ndarray:
    """Where the hand is to go (3,), metres: free of objects, and neither near nor far."""
    low = np.maximum(REACH_LOW, (-np.inf, -np.inf, FREE))
    while True:
        place = random.uniform(low, REACH_HIGH)
        if APART[0] <= np.linalg.norm(place - hand) <= APART[1]:
            return place


def picture_of_hand_at(world: DemoWorld, place: ndarray) -> ndarray:
    """What the camera would see if the hand were elsewhere; the world is left in disorder."""
    world.simulation.place(world.command._replace(position=place))
    return world.observe()["image"]


def grasp(world: DemoWorld, seed: int) -> TaskEpisode | None:
    thing = choose_thing(world)
    return scripted(world, "grasp", seed, thing, lambda: skills.lift(world, thing), (took_hold, ended))


def reach_with_object(world: DemoWorld, seed: int) -> TaskEpisode | None:
    """The start is the end of a lift, so the lift belongs to the set-up."""
    thing = choose_thing(world)
    run(world, skills.lift(world, thing))
    if not lifted(world, thing):
        return None
    goal = draw_place(np.random.default_rng([seed, 2]), world.simulation.state[:3])
    run(world, skills.go(world, goal))
    image, target = world.observe()["image"], world.position(thing)
    world.reset(seed=seed)
    run(world, skills.lift(world, thing))

    def away() -> float:
        return float(np.linalg.norm(world.position(thing) - target))

    return TaskEpisode(
        world, "reach_with_object", seed, image[None], (REACH_STEPS,),
        script=lambda: skills.go(world, goal),
        distance=away,
        succeeded=lambda distances: distances[-1] <= NEAR and thing.name in skills.held_things(world),
    )  # fmt: skip


def pick_and_place(world: DemoWorld, seed: int) -> TaskEpisode | None:
    thing = choose_thing(world)
    moments = (took_hold, over_tray, ended)
    return scripted(world, "pick_and_place", seed, thing, lambda: skills.put_in_tray(world, thing), moments)


# -- scripts as the source of goals ------------------------------------------------------------------------------------

Moment = Callable[[DemoWorld, Thing, bool], bool]
"""Whether the world, after an action, shows a sub-goal; the last argument says that the script is over."""


def took_hold(world: DemoWorld, thing: Thing, over: bool) -> bool:
    return thing.name in skills.held_things(world)


def over_tray(world: DemoWorld, thing: Thing, over: bool) -> bool:
    gap = np.abs(world.position(thing)[:2] - np.array(world.scene.tray))
    return bool((gap < 0.02).all())


def ended(world: DemoWorld, thing: Thing, over: bool) -> bool:
    return over


def scripted(
    world: DemoWorld,
    task: TaskName,
    seed: int,
    thing: Thing,
    script: Callable[[], Actions],
    moments: tuple[Moment, ...],
) -> TaskEpisode | None:
    """The episode whose goals are images of what a script did, at certain moments; None if it did not do it."""
    rest, images, steps = float(world.position(thing)[2]), [], []
    actions = list_of_steps(world, script())
    for number, over in actions:
        if len(images) < len(moments) and moments[len(images)](world, thing, over):
            images.append(world.observe()["image"])
            steps.append(number)
    done = lifted_by(world, thing, rest) >= LIFTED if task == "grasp" else is_placed(world, thing)
    if len(images) < len(moments) or not done:
        return None
    world.reset(seed=seed)
    if task == "pick_and_place" and is_placed(world, thing):
        return None  # solved before it begins

    def missing() -> float:
        if task == "grasp":
            return max(0.0, LIFTED - lifted_by(world, thing, rest))
        return float(np.linalg.norm(world.position(thing)[:2] - np.array(world.scene.tray)))

    def succeeded(distances: list[float]) -> bool:
        return max(distances[-2:]) == 0.0 if task == "grasp" else is_placed(world, thing)

    return TaskEpisode(world, task, seed, np.stack(images), allowed(steps), script, missing, succeeded)


def allowed(steps: list[int]) -> tuple[int, ...]:
    """Actions for each sub-goal, given after how many of its own the script had reached it: SLACK times as many in all."""
    return tuple(np.diff(np.ceil(SLACK * np.array([0, *steps]))).astype(int).tolist())


def list_of_steps(world: DemoWorld, actions: Actions) -> Iterator[tuple[int, bool]]:
    """Carry out actions; after each: how many there were, and whether it was the last."""
    number, action = 0, next(actions, None)
    while action is not None:
        world.step(action)
        number, action = number + 1, next(actions, None)
        yield number, action is None


def run(world: DemoWorld, actions: Actions) -> None:
    for _ in list_of_steps(world, actions):
        pass


def choose_thing(world: DemoWorld) -> Thing:
    """The object that the hand, as it is turned at the start, can take best."""
    return min(world.scene.things, key=lambda thing: abs(skills.grasp_yaw(world, thing) or 0.0))


def lifted(world: DemoWorld, thing: Thing) -> bool:
    return thing.name in skills.held_things(world)


def lifted_by(world: DemoWorld, thing: Thing, rest: float) -> float:
    return float(world.position(thing)[2]) - rest


def is_placed(world: DemoWorld, thing: Thing) -> bool:
    """In the tray and let go, as the event log of the demo world sees it."""
    return Director(world).situations[thing.name].in_tray
