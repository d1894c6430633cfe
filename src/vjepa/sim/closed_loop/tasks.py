"""Tasks of the demo world (V-JEPA 2, section 4.2): their starts, their goal images, and what success is.

reach               the hand goes where the goal image shows it; success: within 5 cm at the end
grasp               an object is lifted; success: 5 cm above its place after each of the last two actions
reach_with_object   a held object goes where the goal image shows it; success: held, and within 5 cm
pick_and_place      an object is carried into the tray by three goal images; success: it lies there, let go

Success is read from the simulator after the last action, never from images or tokens. A seed decides an
episode: the same world, start and goals for every policy. Goals are images of the same world after a script,
which is then undone. No policy can send the hand out of the box in which episodes were recorded.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from vjepa.sim.closed_loop.script_goals import (
    Goals,
    Moment,
    execute_all,
    goals_of,
    goals_of_script,
    is_above_tray,
    is_held,
    is_over,
    is_placed,
    moment,
)
from vjepa.sim.recording.wander import REACH_HIGH, REACH_LOW
from vjepa.sim.world import skills
from vjepa.sim.world.env import DemoWorld
from vjepa.sim.world.skills import Actions
from vjepa.sim.world.things import Thing

TaskName = Literal["reach", "grasp", "reach_with_object", "pick_and_place"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)

FIRST_SEED = 2**43
"""First seed of the evaluated worlds: all recorded clips and robot episodes have smaller ones."""
DEVELOPMENT = 2**32
"""First number, as `start_episode` counts them, of the worlds in which planners are diagnosed. Protocols that
score count from 0, and `vjepa plan` takes numbers below 2**31: no decision is made on a world that scores."""
NEAR = 0.05
"""Metres within which a goal is reached."""
CLOSE = 0.025
"""Metres within which a goal is reached well."""
START_DISTANCE = (0.10, 0.25)
"""Smallest and largest distance in metres between start and goal of a reach, so that no start is solved."""
FREE = 0.13
"""Metres above the table from which on the hand touches nothing."""
REACH_STEPS = 10
"""Number of actions of a reach."""
LIFTED = 0.05
"""Metres above its first place from which on an object counts as lifted."""


class TaskEpisode(NamedTuple):
    """A world at its start, and what a policy has to reach in it."""

    world: DemoWorld
    task: TaskName
    seed: int
    sub_goals: Goals
    """What is to be reached, with its true states."""
    thing: Thing | None
    """The object of the task; a reach has none."""
    script: Callable[[], Actions]
    """Makes the actions of the oracle, from the start of the episode."""
    distance: Callable[[], float]
    """Present distance of the hand or of the object from success, metres."""
    succeeded: Callable[[list[float]], bool]
    """Whether the episode ends well, given the distances after every action."""

    @property
    def goals(self) -> UInt8[ndarray, "g h w 3"]:
        """Goal images in their order."""
        return self.sub_goals.images

    @property
    def switch(self) -> tuple[int, ...]:
        """Actions to spend on each goal."""
        return self.sub_goals.switch

    @property
    def steps(self) -> int:
        """Actions of the episode."""
        return sum(self.switch)

    @property
    def azimuth(self) -> float:
        """Degrees between the camera and straight ahead of the robot."""
        camera = self.world.scene.camera
        x, y, _ = np.subtract(camera.position, camera.target)
        return float(abs(np.degrees(np.arctan2(y, x))))


def start_episode(task: TaskName, seed: int, world: DemoWorld) -> TaskEpisode | None:
    """Episode number `seed` of a task, or None if the world of this seed does not allow the task."""
    seed += FIRST_SEED
    world.reset(seed=seed)
    if task == "reach":
        return reach(world, seed)
    # The other tasks need an object.
    if not world.scene.things:
        return None
    if task == "grasp":
        return grasp(world, seed)
    if task == "reach_with_object":
        return reach_with_object(world, seed)
    return None if world.scene.tray is None else pick_and_place(world, seed)


def clip_to_workspace(world: DemoWorld, action: ndarray) -> ndarray:
    """The action (7,) cut so that the hand is not sent out of the box in which episodes were recorded."""
    position = world.command.position
    action = action.copy()
    action[:3] = np.clip(position + action[:3], REACH_LOW, REACH_HIGH) - position
    return action


def reach(world: DemoWorld, seed: int) -> TaskEpisode:
    """The goal image is rendered with the arm at the goal. No motion leads there, so nothing is touched."""
    # Another stream than the one that drew the scene from the same seed.
    goal = draw_goal(np.random.default_rng([seed, 2]), world.simulation.state[:3])
    shown = moment_of_hand_at(world, goal)
    world.reset(seed=seed)
    return TaskEpisode(
        world,
        "reach",
        seed,
        goals_of([shown], (REACH_STEPS,)),
        thing=None,
        script=lambda: skills.go(world, goal),
        distance=lambda: float(np.linalg.norm(world.simulation.state[:3] - goal)),
        succeeded=lambda distances: distances[-1] <= NEAR,
    )


def grasp(world: DemoWorld, seed: int) -> TaskEpisode | None:
    """Two goals: the object is held, and the object is lifted. None if the script fails."""
    thing = choose_thing(world)
    rest = float(world.position(thing)[2])

    def script() -> Actions:
        return skills.lift(world, thing)

    def distance() -> float:
        return max(0.0, LIFTED - (float(world.position(thing)[2]) - rest))

    def succeeded(distances: list[float]) -> bool:
        # Twice, so that a moment in the air does not count.
        return max(distances[-2:]) == 0.0

    # The script proves that the task can be solved, and gives its goal images. Then the world starts anew.
    goals = goals_of_script(world, thing, script(), (is_held, is_over))
    if goals is None or distance() > 0:
        return None
    world.reset(seed=seed)
    return TaskEpisode(world, "grasp", seed, goals, thing, script, distance, succeeded)


def reach_with_object(world: DemoWorld, seed: int) -> TaskEpisode | None:
    """The lift of the object belongs to the set-up: the episode begins where it ends. None if it fails."""
    thing = choose_thing(world)
    execute_all(world, skills.lift(world, thing))
    if not is_held(world, thing):
        return None

    goal = draw_goal(np.random.default_rng([seed, 2]), world.simulation.state[:3])
    execute_all(world, skills.go(world, goal))
    shown = moment(world, thing)
    target = shown.place  # of the object, which may have slipped a little in the hand

    # The same lift again, after a reset: the simulation is deterministic.
    world.reset(seed=seed)
    execute_all(world, skills.lift(world, thing))
    return TaskEpisode(
        world,
        "reach_with_object",
        seed,
        goals_of([shown], (REACH_STEPS,)),
        thing,
        script=lambda: skills.go(world, goal),
        distance=lambda: float(np.linalg.norm(world.position(thing) - target)),
        succeeded=lambda distances: distances[-1] <= NEAR and is_held(world, thing),
    )


def pick_and_place(world: DemoWorld, seed: int) -> TaskEpisode | None:
    """Three goals: held, above the tray, placed in it. None if the script fails."""
    thing = choose_thing(world)

    def script() -> Actions:
        return skills.put_in_tray(world, thing)

    def distance() -> float:
        # Along the table only: the height of a placed object depends on its size.
        return float(np.linalg.norm(world.position(thing)[:2] - np.array(world.scene.tray)))

    def succeeded(distances: list[float]) -> bool:
        return is_placed(world, thing)

    goals = goals_of_script(world, thing, script(), (is_held, is_above_tray, is_over))
    if goals is None or not is_placed(world, thing):
        return None
    world.reset(seed=seed)
    if is_placed(world, thing):  # solved before it begins
        return None
    return TaskEpisode(world, "pick_and_place", seed, goals, thing, script, distance, succeeded)


def draw_goal(random: np.random.Generator, hand: ndarray) -> ndarray:
    """Where the hand is to go (3,), metres: above all objects, and at `START_DISTANCE` from where it is."""
    # Within the recorded box, so that training has seen such positions.
    low = np.maximum(REACH_LOW, (-np.inf, -np.inf, FREE))
    while True:
        goal = random.uniform(low, REACH_HIGH)
        if START_DISTANCE[0] <= np.linalg.norm(goal - hand) <= START_DISTANCE[1]:
            return goal


def moment_of_hand_at(world: DemoWorld, position: ndarray) -> Moment:
    """What there would be if the hand were at a position (3,). The caller resets the world."""
    world.simulation.place(world.command._replace(position=position))
    return moment(world)


def choose_thing(world: DemoWorld) -> Thing:
    """The object for which the hand, as it is turned at the start, has to turn least."""
    # Planners do not search the yaw, so they cannot take what needs a turn. Round things, with a yaw of
    # None, need no turn.
    return min(world.scene.things, key=lambda thing: abs(skills.grasp_yaw(world, thing) or 0.0))
