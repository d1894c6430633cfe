"""One episode of a planner with its searches watched, and how its energy ranks actions along the script.

diagnosed = Diagnoser(setting).play(Job("grasp", "perfect", DEVELOPMENT))
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from vjepa.planning.cem import CEMConfig, cem
from vjepa.planning.energy import Energy
from vjepa.planning.mpc import World
from vjepa.sim.closed_loop.episodes import EpisodeRunner, Job
from vjepa.sim.closed_loop.planner_measures import (
    Grip,
    progress_share,
    rank_correlation,
)
from vjepa.sim.closed_loop.policies import PlanningPolicy, imagined, normalised, state_tensor
from vjepa.sim.closed_loop.script_goals import Moment, execute, goals_of, is_held, moment
from vjepa.sim.closed_loop.setting import Setting
from vjepa.sim.closed_loop.tasks import TaskEpisode, clip_to_workspace, start_episode
from vjepa.sim.closed_loop.true_state import GRIPPER, distance_to_go
from vjepa.sim.world.env import DemoWorld
from vjepa.sim.world.panda import OPENING
from vjepa.sim.world.things import Thing

AHEAD = (1, 5, 10)
"""How many actions of the script lead to the goals towards which an energy ranks actions."""
BESIDE = 0.02
"""Metres along the palm within which an object is between the fingers, as in `skills.held_things`."""

Ranks = list[float | None]
"""Rank correlations, None where one is not defined."""


class Diagnosed(NamedTuple):
    """What was measured in one episode, in types that JSON holds."""

    job: Job
    success: bool
    distance: float
    """Metres from success, at the end."""
    grips: list[Grip]
    """Hand and object at the start and after each action; from a file, as lists. Empty without an object."""
    to_go: list[float]
    """Metres to the present sub-goal before each search, by `distance_to_go`."""
    progress: list[float]
    """Share of the first iteration's samples that make progress to that sub-goal, for each search."""
    now: Ranks
    """Rank correlation of these samples' energies with their distances to go, for each search."""
    ahead: list[Ranks]
    """The same towards later moments of the script: for each number of `AHEAD`, from every moment of the
    script after which so many actions come."""


class Search(NamedTuple):
    """What was measured of the first iteration of one search."""

    to_go: float
    """Metres to the present sub-goal, before the action."""
    progress: float
    """Share of the samples that make progress."""
    rank: float | None
    """Rank correlation of their energies with their distances to go."""


class Stop(NamedTuple):
    """A moment of a script, to which the world can be brought back."""

    moment: Moment
    restore: tuple
    """Command of the arm, and snapshot of the simulation."""


class Watched:
    """A world model that keeps the first samples of its last search, and their energies."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.first: tuple[Float[Tensor, "s T a"], Float[Tensor, " s"]] | None = None

    def encode(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        return self.world.encode(image)

    def energy(
        self, tokens: Float[Tensor, "1 n d"], state: Float[Tensor, "1 Ds"], goal: Float[Tensor, "1 n d"]
    ) -> Energy:
        energy = self.world.energy(tokens, state, goal)
        self.first = None

        def energy_of(actions: Float[Tensor, "s T a"]) -> Float[Tensor, " s"]:
            energies = energy(actions)
            self.first = self.first or (actions, energies)
            return energies

        return energy_of


class Diagnoser:
    """Plays episodes of planners in one process, and measures them."""

    def __init__(self, setting: Setting) -> None:
        self.runner = EpisodeRunner(setting)

    def play(self, job: Job) -> Diagnosed | None:
        """Play one episode. Returns None if the seed's world does not allow the task."""
        episode = start_episode(job.task, job.seed, self.runner.world(job.azimuth))
        if episode is None:
            return None
        ahead = self.ranks_ahead(job, episode)

        # The script has moved the world, so it starts anew.
        episode = start_episode(job.task, job.seed, episode.world)
        distances = []
        searches = []
        grips = grip_of(episode)
        for search in act(episode, self.runner.policy(job, episode)):
            searches.append(search)
            distances.append(episode.distance())
            grips += grip_of(episode)

        success = episode.succeeded(distances)
        to_go, progress, now = map(list, zip(*searches, strict=True))
        return Diagnosed(job, success, distances[-1], grips, to_go, progress, now, ahead)

    def ranks_ahead(self, job: Job, episode: TaskEpisode) -> list[Ranks]:
        """`Diagnosed.ahead` of an episode at its start. The world is then at the end of the script."""
        policy = self.runner.policy(job, episode)
        stops = script_stops(episode)
        generator = torch.Generator().manual_seed(episode.seed)
        found: list[Ranks] = [[] for _ in AHEAD]
        for number in range(len(stops) - 1):
            samples = first_samples(policy.mpc.config.planner, generator)
            # Fewer than there are numbers in AHEAD, near the end of the script.
            later = [stops[number + steps].moment for steps in AHEAD if number + steps < len(stops)]
            back_to(episode.world, stops[number])
            model = self.runner.imagination(job.policy, episode._replace(sub_goals=goals_of(later)))
            ranks = ranks_towards(later, stops[number].moment, samples, model, policy, episode.world)
            for one, ranks_of_one in zip(ranks, found, strict=False):
                ranks_of_one.append(one)
        return found


def act(episode: TaskEpisode, policy: PlanningPolicy) -> Iterator[Search]:
    """The same steps as in `EpisodeRunner.play`. Yields the measures of each search, after its action."""
    world = episode.world
    watched = Watched(policy.mpc.world)
    policy.mpc.world = watched
    observation = world.observe()
    for _ in range(episode.steps):
        action = policy.act(observation["image"], observation["state"])
        search = judge(watched, world, episode.sub_goals.states[policy.mpc.goal])
        observation = world.step(clip_to_workspace(world, action))[0]
        yield search


def judge(watched: Watched, world: DemoWorld, goal: Float[ndarray, " Ds"]) -> Search:
    """Measures of the search that has just been made in a world, towards the goal's true state (7,)."""
    samples, energies = watched.first
    (before,) = distance_to_go(world.simulation.state[None], goal).tolist()
    after = distance_to_go(states_after(world, samples), goal)
    return Search(before, progress_share(before, after), rank_correlation(energies.double().numpy(), after))


def ranks_towards(
    goals: list[Moment],
    present: Moment,
    samples: Float[Tensor, "s T a"],
    model: World,
    policy: PlanningPolicy,
    world: DemoWorld,
) -> Ranks:
    """For each goal, the rank correlation of the samples' energies with their distances to go."""
    states = states_after(world, samples)
    tokens = model.encode(normalised(present.image[None], policy.size))
    state = state_tensor(present.state, policy.schema)[None]
    ranks = []
    goal_tokens = model.encode(normalised(np.stack([goal.image for goal in goals]), policy.size))
    for goal, wanted in zip(goals, goal_tokens, strict=True):
        energies = model.energy(tokens, state, wanted[None])(samples)
        ranks.append(rank_correlation(energies.double().numpy(), distance_to_go(states, goal.state)))
    return ranks


def states_after(world: DemoWorld, plans: Float[Tensor, "s T a"]) -> Float[ndarray, "s Ds"]:
    """The robot's true states (7,) after each of the plans; the world is left as it was."""
    states = []
    for plan in plans.double().numpy():
        with imagined(world, plan):
            states.append(world.simulation.state)
    return np.stack(states)


def first_samples(config: CEMConfig, generator: torch.Generator) -> Float[Tensor, "s T a"]:
    """What a search draws in its first iteration."""
    drawn = []

    def keep(actions: Float[Tensor, "s T a"]) -> Float[Tensor, " s"]:
        drawn.append(actions)
        return torch.zeros(len(actions))

    cem(keep, replace(config, iterations=1), generator=generator)
    return drawn[0]


def script_stops(episode: TaskEpisode) -> list[Stop]:
    """The start of an episode, and the world after each action of the task's script."""
    world = episode.world
    stops = [stop_of(world, episode.thing)]
    for _ in execute(world, episode.script()):
        stops.append(stop_of(world, episode.thing))
    return stops


def stop_of(world: DemoWorld, thing: Thing | None) -> Stop:
    return Stop(moment(world, thing), (world.command, world.simulation.snapshot()))


def back_to(world: DemoWorld, stop: Stop) -> None:
    """Bring the world to a moment of its script."""
    world.command, snapshot = stop.restore
    world.simulation.restore(snapshot)


def grip_of(episode: TaskEpisode) -> list[Grip]:
    """Hand and object now, after a step of the world; empty if the task has no object."""
    thing = episode.thing
    if thing is None:
        return []
    simulation = episode.world.simulation
    x, y, z = np.abs(simulation.in_hand(thing.name))
    # The palm faces z: the fingertips are within the height of the object.
    between = x < BESIDE and y < OPENING / 2 and z < thing.size[2]
    closedness = float(simulation.state[GRIPPER])
    distance = float(np.linalg.norm((x, y, z)))
    return [Grip(closedness, is_held(episode.world, thing), bool(between), distance)]
