"""Closed-loop episodes in the demo world: a policy acts in a task, and the simulator decides how it ended.

    runner = EpisodeRunner(Setting(PolicyWeights(encoder="encoder.safetensors", ac="ac.safetensors")))
    outcome = runner.play(Job("reach", "model", seed=0))

`parallel` plays many of them, `setting` says which policies there are.
"""

import time
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch

from vjepa.errors import require
from vjepa.models.cloned_policy import ClonedPolicy
from vjepa.models.encoder import Encoder
from vjepa.planning.load import load_reader, load_world_model
from vjepa.planning.mpc import MPCConfig, World
from vjepa.planning.reading_world import Reader, ReadingWorld
from vjepa.planning.world_model import WorldModel, WorldModelConfig
from vjepa.robots.schema import StateSchema
from vjepa.sim.closed_loop.policies import (
    CloningPolicy,
    NoOpPolicy,
    PlanningPolicy,
    Policy,
    RandomPolicy,
    ScriptedPolicy,
    SimulatorModel,
)
from vjepa.sim.closed_loop.setting import SIMULATORS, PolicyName, Setting, completed
from vjepa.sim.closed_loop.tasks import TaskEpisode, TaskName, clip_to_workspace, start_episode
from vjepa.sim.closed_loop.true_state import TrueState
from vjepa.sim.world.env import ACTION_DIM, DemoWorld, WorldConfig
from vjepa.weights.export import read_acting
from vjepa.weights.files import check_same_encoder
from vjepa.weights.load import load_encoder, load_policy
from vjepa.weights.settings import settings


class Job(NamedTuple):
    """One episode to play."""

    task: TaskName
    policy: PolicyName
    seed: int
    horizon: int | None = None
    """Actions in a plan; None for as many as in the setting."""
    azimuth: float | None = None
    """Largest angle of the camera in degrees; None for that of the setting."""


class Outcome(NamedTuple):
    """How an episode ended."""

    job: Job
    success: bool
    distance: float
    """Metres from success, at the end."""
    azimuth: float
    """Degrees between the camera and straight ahead of the robot."""
    actions: int
    """Number of actions that the policy took."""
    calls: int
    """Number of actions whose consequences the policy computed."""
    seconds: float
    """Time that the policy took for all actions together."""


Played = TypeVar("Played", bound=tuple)
"""What is kept of an episode: an `Outcome`, or another NamedTuple that begins with the job."""


class EpisodeRunner:
    """Plays episodes in one process. Networks are loaded when they are first needed, and kept."""

    def __init__(self, setting: Setting) -> None:
        self.setting = completed(setting)
        self.world_models: dict[str, WorldModel] = {}  # by the file of the predictor
        self.readers: dict[str, Reader] = {}  # by their file

    def play(self, job: Job) -> Outcome | None:
        """Play one episode. Returns None if the seed's world does not allow the task."""
        episode = start_episode(job.task, job.seed, self.world(job.azimuth, job.policy))
        if episode is None:
            return None

        policy = self.policy(job, episode)
        world = episode.world
        observation = world.observe()
        distances = []
        seconds = 0.0
        for _ in range(episode.steps):
            before = time.perf_counter()
            action = policy.act(observation["image"], observation["state"])
            seconds += time.perf_counter() - before  # without the simulation of the step itself
            # All policies are clipped alike, so none can leave the box that training has seen.
            observation = world.step(clip_to_workspace(world, action))[0]
            distances.append(episode.distance())

        success = episode.succeeded(distances)
        return Outcome(job, success, distances[-1], episode.azimuth, episode.steps, policy.calls, seconds)

    def world(self, azimuth: float | None = None, policy: PolicyName = "model") -> DemoWorld:
        """A world of the setting; the camera stands within `azimuth` degrees, if that is given."""
        # Simulators render every imagined action. They need no larger picture than the encoder takes.
        size = self.setting.size if policy in SIMULATORS else self.setting.picture
        scene = self.setting.scene
        if azimuth is not None:
            scene = replace(scene, camera=replace(scene.camera, azimuth=azimuth))
        return DemoWorld(WorldConfig(size=size, scene=scene))

    def policy(self, job: Job, episode: TaskEpisode) -> Policy:
        """The job's policy, ready for the first action of the episode."""
        planner = self.setting.planner
        if job.horizon is not None:
            planner = replace(planner, horizon=job.horizon)
        config = planner.mpc(job.task, episode.switch)

        match job.policy:
            case "still":
                return NoOpPolicy()
            case "random":
                return RandomPolicy(config.planner, episode.seed)
            case "oracle":
                return ScriptedPolicy(episode.script())
            case "clone":
                return CloningPolicy(
                    self.encoder, *self.cloned_policy, episode.goals, episode.switch, self.setting.size
                )
        model = self.imagination(job.policy, episode)
        if isinstance(model, ReadingWorld):
            # A reader looks at the whole pictures, in which the fingers are a few pixels wide.
            return PlanningPolicy(model, config, episode.goals, model.world.schema, episode.seed)
        if isinstance(model, WorldModel):
            return PlanningPolicy(model, config, episode.goals, model.schema, episode.seed, self.setting.size)
        return self.simulator_policy(model, config, episode)

    def imagination(self, name: PolicyName, episode: TaskEpisode) -> World:
        """In what a planner imagines its actions: a world model, or the episode's own simulator."""
        match name:
            case "perfect":
                return SimulatorModel(episode.world, self.encoder, self.setting.planner.scales)
            case "pixels":
                # Pixels are compared one by one: averages over squares are for tokens.
                return SimulatorModel(episode.world)
            case "true_state" | "true_object":
                by_time = self.setting.planner.threshold is None
                require(by_time, f"planner.threshold compares tokens, and {name} has none; leave it out")
                thing = episode.thing if name == "true_object" else None
                return TrueState(episode.world, episode.sub_goals, thing)
        # What is left are "model", with its two parts "tokens" and "state", and "untrained".
        return self.world_model(name) if self.reader(name) is None else self.reading_world(name, episode)

    def simulator_policy(self, simulator: World, config: MPCConfig, episode: TaskEpisode) -> PlanningPolicy:
        """The planner on the simulator. It draws fewer plans, because each one is simulated and rendered."""
        samples = self.setting.planner.pixel_samples
        # At most 4 count, because the 8 of the model's planner would be half of the usual 16 samples.
        search = replace(config.planner, samples=samples, top=min(config.planner.top, 4))
        config = replace(config, planner=search)
        return PlanningPolicy(simulator, config, episode.goals, StateSchema(), episode.seed)

    def reading_world(self, name: PolicyName, episode: TaskEpisode) -> ReadingWorld:
        """The world model of a policy, whose energy also compares the arm's state."""
        config = self.setting.planner.state
        if name == "state":
            config = replace(config, tokens=0.0)
        extrinsics = torch.from_numpy(episode.world.scene.camera.extrinsics).float()
        return ReadingWorld(self.world_model(name), self.reader(name), extrinsics, config)

    def reader(self, name: PolicyName) -> Reader | None:
        """What reads the arm's state for a policy; None for the paper's energy."""
        weights = self.setting.weights
        source = {"tokens": "", "untrained": weights.untrained_state}.get(name, weights.state)
        if not source:
            return None
        if source not in self.readers:
            self.readers[source] = load_reader(source, self.world_model(name).encoder)
        return self.readers[source]

    def world_model(self, name: PolicyName) -> WorldModel:
        """The world model of the policy "untrained", or of the others that plan with one.

        Raises UserError if its predictor was trained on frames of another size than the setting's.
        """
        weights = self.setting.weights
        pretrained = name != "untrained"
        encoder, ac = (
            (weights.encoder, weights.ac) if pretrained else (weights.untrained, weights.untrained_ac)
        )
        if ac not in self.world_models:
            trained_on = read_acting(ac).size  # None: the export does not say
            size = self.setting.size
            require(
                trained_on in (None, size),
                f"{ac} learned from frames of {trained_on} pixels; set setting.size, now {size}",
            )
            config = WorldModelConfig(scales=self.setting.planner.scales)
            self.world_models[ac] = check_arm(load_world_model(encoder, ac, config, size), ac)
        return self.world_models[ac]

    @cached_property
    def encoder(self) -> Encoder:
        """The pretrained encoder, for "clone" and "perfect"."""
        return load_encoder(self.setting.weights.encoder).eval()

    @cached_property
    def cloned_policy(self) -> tuple[ClonedPolicy, StateSchema]:
        """The cloned policy, and the schema of the states that it was trained on."""
        source = self.setting.weights.clone
        acting = read_acting(source, "policy")
        check_same_encoder(self.encoder, acting.encoder_digest, source)
        return load_policy(source).eval(), settings(StateSchema, acting.schema)


def check_arm(world: WorldModel, ac: str) -> WorldModel:
    """The world model. Raises UserError if it is not of an arm like the demo world's."""
    schema = world.schema
    require(
        schema.state_dims == schema.action_dims == ACTION_DIM,
        f"{ac} is of a robot with states of {schema.state_dims} and actions of {schema.action_dims} numbers; "
        f"the demo world's arm has {ACTION_DIM} of both",
    )
    return world
