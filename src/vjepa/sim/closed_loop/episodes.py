"""Closed-loop episodes in the demo world: who acts, what came of it, many of them over processes.

rows        model       the planner on the action-conditioned predictor
            untrained   the same on an encoder that was never trained, with a predictor trained on it in the same way
            clone       goal-conditioned behaviour cloning on the same episodes
            perfect     the planner on the simulator itself, distance measured between our encoder's tokens
            pixels      the same, distance measured between pixels
            random      actions drawn evenly from what the planner may choose
            still       no motion
            oracle      the world's own script
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from vjepa.errors import UserError, require
from vjepa.planning.cem import ActionBounds, CEMConfig
from vjepa.planning.mpc import MPCConfig
from vjepa.planning.world_model import WorldModel, WorldModelConfig
from vjepa.robots.schema import StateSchema, schema_from
from vjepa.sim.closed_loop.policies import (
    CloningPolicy,
    NoOpPolicy,
    PlanningPolicy,
    Policy,
    RandomPolicy,
    ScriptedPolicy,
    SimulatorModel,
)
from vjepa.sim.closed_loop.tasks import TaskEpisode, TaskName, start, within_reach
from vjepa.sim.recording.robot_episodes import RobotConfig
from vjepa.sim.world.env import DemoWorld, WorldConfig
from vjepa.sim.world.scene import SceneConfig
from vjepa.weights.export import read_frame_size, read_schema
from vjepa.weights.load import load_ac_predictor, load_encoder, load_policy

Row = Literal["model", "untrained", "clone", "perfect", "pixels", "random", "still", "oracle"]
ROWS: tuple[Row, ...] = ("model", "untrained", "clone", "perfect", "pixels", "random", "still", "oracle")
NUMBERS, GRIPPER = 7, 6
"""Of a state and of an action, and which of them is the gripper's."""


@dataclass(frozen=True)
class Weights:
    """Exports of the stages. A row whose files are not named is left out."""

    encoder: str = ""
    """Of the frozen encoder."""
    ac: str = ""
    """Of the AC stage on it."""
    untrained: str = ""
    """An encoder that was never trained."""
    untrained_ac: str = ""
    """The AC stage on that."""
    clone: str = ""
    """The clone stage on `encoder`."""


@dataclass(frozen=True)
class PlannerConfig:
    """The search of one action, as far as the tasks do not say it."""

    samples: int = 64
    """Actions drawn per iteration; the paper's 800."""
    iterations: int = 3
    """Rounds; the paper's 10."""
    top: int = 8
    """SampleAnswers that count; the paper's 10."""
    horizon: int = 1
    """Actions in a plan, of which the first is executed."""
    std: float = 0.05
    """Metres: spread with which a search begins."""
    bounds: ActionBounds = field(default_factory=lambda: ActionBounds(constraint="box"))
    """Where actions must lie."""
    scales: tuple[int, ...] = (1,)
    """Squares of tokens whose averages are compared with the goal's; the paper's energy is (1,)."""
    method: Literal["cem", "mppi"] = "cem"
    """How samples are weighed."""
    warm_start: bool = False
    """Begin each search where the last plan left off."""
    threshold: float | None = None
    """Energy below which the next sub-goal begins, instead of at the script's times."""
    pixel_samples: int = 16
    """Actions drawn per iteration in the simulator itself, where each is simulated and drawn."""

    def __post_init__(self) -> None:
        self.loop("grasp", switch=(1,))  # what these refuse is refused here, before anything is played
        WorldModelConfig(scales=self.scales)

    def search(self, task: TaskName) -> CEMConfig:
        """A reach moves the hand; the other tasks the gripper, too."""
        dims = (0, 1, 2) if task == "reach" else (0, 1, 2, GRIPPER)
        std = tuple(1.0 if dim == GRIPPER else self.std for dim in dims)
        return CEMConfig(
            method=self.method, samples=self.samples, iterations=self.iterations, top=self.top, horizon=self.horizon,
            bounds=self.bounds, searched=dims, mean=(0.0,) * len(dims), std=std,
        )  # fmt: skip

    def loop(self, task: TaskName, switch: tuple[int, ...]) -> MPCConfig:
        """Receding horizon over the task's sub-goals."""
        times = switch if self.threshold is None else ()
        return MPCConfig(
            self.search(task), switch=times, threshold=self.threshold, warm_start=self.warm_start
        )


@dataclass(frozen=True)
class Setting:
    """All that a worker needs to play episodes."""

    weights: Weights
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    size: int = 64
    """Height and width of the camera's pictures, pixels: those that the AC stage was trained on."""
    scene: SceneConfig = field(default_factory=lambda: RobotConfig(out=Path()).scene)
    """What worlds are drawn from; by default those of the robot episodes."""


class Job(NamedTuple):
    """One episode to play."""

    task: TaskName
    row: Row
    seed: int
    horizon: int | None = None
    """Actions in a plan, if not as in the setting."""
    azimuth: float | None = None
    """Degrees within which the camera is drawn, if not as in the setting."""


class Outcome(NamedTuple):
    """What came of it."""

    job: Job
    success: bool
    distance: float
    """Metres from success, at the end."""
    azimuth: float
    """Degrees between the camera and straight ahead of the robot."""
    actions: int
    calls: int
    """Actions whose consequences the policy computed."""
    seconds: float
    """That the policy thought, in all."""


def turned(scene: SceneConfig, azimuth: float) -> SceneConfig:
    """The same scenes, seen from within so many degrees of straight ahead."""
    return replace(scene, camera=replace(scene.camera, azimuth=azimuth))


class EpisodeRunner:
    """Plays episodes in one process; networks are loaded when they are first needed."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.loaded = setting, {}

    def world(self, azimuth: float | None) -> DemoWorld:
        scene = self.setting.scene if azimuth is None else turned(self.setting.scene, azimuth)
        return DemoWorld(WorldConfig(size=self.setting.size, scene=scene))

    def play(self, job: Job) -> Outcome | None:
        """None if the seed's world does not allow the task."""
        episode = start(job.task, job.seed, self.world(job.azimuth))
        if episode is None:
            return None
        policy, world = self.policy(job, episode), episode.world
        seen, distances, thought = world.observe(), [], 0.0
        for _ in range(episode.steps):
            before = time.perf_counter()
            action = policy.act(seen["image"], seen["state"])
            thought += time.perf_counter() - before
            seen = world.step(within_reach(world, action))[0]
            distances.append(episode.distance())
        success = episode.succeeded(distances)
        return Outcome(job, success, distances[-1], episode.azimuth, episode.steps, policy.calls, thought)

    def policy(self, job: Job, episode: TaskEpisode) -> Policy:
        planner = (
            self.setting.planner
            if job.horizon is None
            else replace(self.setting.planner, horizon=job.horizon)
        )
        mpc = planner.loop(job.task, episode.switch)
        search = mpc.planner
        match job.row:
            case "still":
                return NoOpPolicy()
            case "random":
                return RandomPolicy(search, episode.seed)
            case "oracle":
                return ScriptedPolicy(episode.script())
            case "clone":
                return CloningPolicy(self.encoder("encoder"), *self.clone(), episode.goals, episode.switch)
            case "perfect" | "pixels":
                few = replace(search, samples=planner.pixel_samples, top=min(search.top, 4))
                seen = (
                    (self.encoder("encoder"), planner.scales) if job.row == "perfect" else ()
                )  # pixels one by one
                world = SimulatorModel(episode.world, *seen)
                return PlanningPolicy(
                    world, replace(mpc, planner=few), episode.goals, StateSchema(), episode.seed
                )
        world = self.model(job.row)
        return PlanningPolicy(world, mpc, episode.goals, world.schema, episode.seed)

    def model(self, row: Row) -> WorldModel:
        names = ("encoder", "ac") if row == "model" else ("untrained", "untrained_ac")
        if row not in self.loaded:
            encoder, ac = (getattr(self.setting.weights, name) for name in names)
            size, ours = read_frame_size(ac), self.setting.size
            require(
                size in (None, ours),
                f"{ac} learned from frames of {size} pixels; set setting.size, now {ours}",
            )
            self.loaded[row] = world_model(encoder, ac, self.setting.planner.scales)
        return self.loaded[row]

    def encoder(self, name: str):
        if name not in self.loaded:
            self.loaded[name] = load_encoder(getattr(self.setting.weights, name)).eval()
        return self.loaded[name]

    def clone(self) -> tuple:
        if "clone" not in self.loaded:
            source = self.setting.weights.clone
            self.loaded["clone"] = load_policy(source).eval(), schema_from(read_schema(source, "policy"))
        return self.loaded["clone"]


def world_model(encoder: str, ac: str, scales: tuple[int, ...] = (1,)) -> WorldModel:
    """Raises UserError if the two do not belong together, or are not of an arm like the demo world's."""
    schema = schema_from(read_schema(ac))
    require(schema.state_dims == schema.action_dims == NUMBERS, f"{ac} is of a robot with states of {schema.state_dims} "
                  f"and actions of {schema.action_dims} numbers; the demo world's arm has {NUMBERS} of both")  # fmt: skip
    try:
        return WorldModel(
            load_encoder(encoder), load_ac_predictor(ac), WorldModelConfig(scales=scales), schema
        )
    except UserError as error:
        raise UserError(f"{encoder} and {ac}: {error}") from error


def rows_of(weights: Weights, wanted: Sequence[Row]) -> list[Row]:
    """The wanted rows whose weights are named; refuses files that are not there."""
    needs = {"model": ("encoder", "ac"), "untrained": ("untrained", "untrained_ac"), "clone": ("encoder", "clone"),
             "perfect": ("encoder",)}  # fmt: skip
    rows = [row for row in wanted if all(getattr(weights, name) for name in needs.get(row, ()))]
    for row in rows:
        for name in needs.get(row, ()):
            require(
                Path(getattr(weights, name)).exists(),
                f"weights.{name}={getattr(weights, name)} does not exist",
            )
    if not rows:
        raise UserError(f"none of the rows {list(wanted)} can be played: name their weights")
    return rows


# -- many episodes -----------------------------------------------------------------------------------------------------


def play_all(jobs: Sequence[Job], setting: Setting, workers: int) -> Iterator[tuple[Job, Outcome | None]]:
    """Jobs and their outcomes as they are played, in the jobs' order whatever the number of workers; None where the seed's
    world does not allow the task."""
    if workers < 2 or len(jobs) < 2:
        yield from zip(jobs, map(EpisodeRunner(setting).play, tqdm(jobs, "episodes")), strict=True)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=begin, initargs=(setting,)) as pool:
        yield from zip(jobs, tqdm(pool.map(play, jobs, chunksize=2), "episodes", len(jobs)), strict=True)


def begin(setting: Setting) -> None:
    """Once per worker process: one thread, because there is a worker for every core."""
    global player
    torch.set_num_threads(1)
    player = EpisodeRunner(setting)


def play(job: Job) -> Outcome | None:
    return player.play(job)


def seconds_per_action(outcomes: Sequence[Outcome]) -> float:
    return float(np.sum([o.seconds for o in outcomes]) / np.sum([o.actions for o in outcomes]))
