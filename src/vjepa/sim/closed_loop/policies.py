"""Policies of the demo world. Each one serves one episode.

A policy is called as `act(image, state) -> action`, with what a camera and a robot measure: an image (h, w,
3) uint8 and a state (7,). The action (7,) is the change of the hand's pose and of the gripper, as
`DemoWorld.step` takes it.
"""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from vjepa.data.transforms import normalise, resized
from vjepa.errors import require
from vjepa.models.cloned_policy import ClonedPolicy
from vjepa.models.encoder import Encoder, encode_frames
from vjepa.planning.cem import CEMConfig
from vjepa.planning.energy import Energy, distance
from vjepa.planning.mpc import MPC, MPCConfig, World
from vjepa.robots.schema import StateSchema
from vjepa.sim.world.env import ACTION_DIM, STEPS, DemoWorld, between, moved


@runtime_checkable
class Policy(Protocol):
    """What plays an episode. It may keep a state, so each episode gets a new one."""

    calls: int
    """Number of actions whose consequences were computed in a world model so far."""

    def act(self, image: ndarray, state: ndarray) -> ndarray: ...


class NoOpPolicy:
    """No motion."""

    calls = 0

    def act(self, image: ndarray, state: ndarray) -> ndarray:
        return np.zeros(ACTION_DIM)


class RandomPolicy:
    """Actions drawn uniformly from the planner's bounds."""

    calls = 0

    def __init__(self, config: CEMConfig, seed: int) -> None:
        self.config = config
        # Another stream than those that drew the scene (seed) and the goal ([seed, 2]).
        self.random = np.random.default_rng([seed, 3])

    def act(self, image: ndarray, state: ndarray) -> ndarray:
        bounds = self.config.bounds
        moved_dims = list(bounds.moved)
        action = np.zeros(ACTION_DIM)
        for dim in self.config.searched:
            # The bounds of motion and gripper differ, as in `vjepa.planning.bounds.Limits`.
            most = bounds.radius if dim in bounds.moved else bounds.limit
            action[dim] = self.random.uniform(-most, most)

        # Into the L1 ball as the planner does it: shorter, but in the same direction.
        size = np.abs(action[moved_dims]).sum()
        if bounds.constraint == "l1_ball" and size > bounds.radius:
            action[moved_dims] *= bounds.radius / size
        return action


class ScriptedPolicy:
    """The oracle: the script of the task, which reads the simulator's state."""

    calls = 0

    def __init__(self, actions: Iterator[ndarray]) -> None:
        self.actions = actions

    def act(self, image: ndarray, state: ndarray) -> ndarray:
        # Episodes last longer than the script. After its end the hand stands still.
        return next(self.actions, np.zeros(ACTION_DIM))


class PlanningPolicy:
    """Plans in a world model towards goal images, one after another (section 4.2)."""

    def __init__(
        self,
        world: World,
        config: MPCConfig,
        goals: UInt8[ndarray, "g h w c"],
        schema: StateSchema,
        seed: int,
        size: int | None = None,
    ) -> None:
        """size: Height and width, pixels, to which images are resized; None for as they are."""
        self.schema = schema
        self.size = size
        self.calls = 0
        self.mpc = MPC(world, config, normalised(goals, size), torch.Generator().manual_seed(seed))

    def act(self, image: ndarray, state: ndarray) -> ndarray:
        # One plan may serve for several actions, and only a new plan costs calls.
        last_plan = self.mpc.plan
        action = self.mpc.act(normalised(image[None], self.size)[0], state_tensor(state, self.schema))
        if self.mpc.plan is not last_plan:
            search = self.mpc.config.planner
            # Every iteration computes all samples, and the energy of the final plan is computed once more.
            self.calls += (search.samples * search.iterations + 1) * search.horizon
        return action.double().numpy()


class CloningPolicy:
    """Goal-conditioned behaviour cloning: acts as the recorded episodes did on their way to a goal image.

    `switch` says how many actions are spent on each goal, as for the planner.
    """

    calls = 0

    def __init__(
        self,
        encoder: Encoder,
        policy: ClonedPolicy,
        schema: StateSchema,
        goals: UInt8[ndarray, "g h w c"],
        switch: tuple[int, ...],
        size: int | None = None,
    ) -> None:
        """Raises UserError if the cloned policy was trained on tokens of another shape."""
        self.size = size
        self.encoder = encoder
        self.policy = policy
        self.schema = schema
        self.goals = self.encode(goals)  # once, because goals do not change
        self.goal_ends = list(accumulate(switch))
        self.actions_taken = 0

        expected = (policy.config.tokens, policy.config.token_width)
        given = tuple(self.goals.shape[1:])
        require(
            expected == given,
            f"the cloned policy takes {expected} tokens and channels of a frame, the encoder makes {given}; "
            "give the encoder, and setting.size, that it was trained with",
        )

    @torch.no_grad()
    def encode(self, images: UInt8[ndarray, "g h w c"]) -> Float[Tensor, "g n d"]:
        return encode_frames(self.encoder, normalised(images, self.size)[:, :, None])

    @torch.no_grad()
    def act(self, image: ndarray, state: ndarray) -> ndarray:
        # The goal in whose span of actions we are, as in `MPC.choose_goal`; the last goal stays.
        goal = min(bisect_right(self.goal_ends, self.actions_taken), len(self.goals) - 1)
        self.actions_taken += 1
        states = state_tensor(state, self.schema)[None]
        action = self.policy(self.encode(image[None]), self.goals[[goal]], states)
        # A regression may leave the range of values that the gripper and the motion allow.
        return self.schema.clip(action)[0].double().numpy()


class SimulatorModel:
    """The simulator as a world model, which shows what planning can do if the model is perfect.

    Tokens are those of the encoder. Without an encoder they are the pixels. The simulator knows the true
    state of the world and ignores the measured one. It simulates every imagined action, contacts included,
    and undoes it.
    """

    def __init__(
        self, world: DemoWorld, encoder: Encoder | None = None, scales: tuple[int, ...] = (1,)
    ) -> None:
        self.world = world
        self.encoder = encoder
        self.scales = scales

    @torch.no_grad()
    def encode(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        if self.encoder is None:
            return rearrange(image, "b c h w -> b (h w) c")
        return encode_frames(self.encoder, image[:, :, None])

    def energy(
        self, tokens: Float[Tensor, "1 n d"], state: Float[Tensor, "1 Ds"], goal: Float[Tensor, "1 n d"]
    ) -> Energy:
        """Equation 5 with true images in place of predicted tokens."""

        def energy_of(actions: Float[Tensor, "s T a"]) -> Float[Tensor, " s"]:
            images = np.stack([self.after(plan) for plan in actions.double().numpy()])
            return distance(self.encode(normalised(images)), goal, self.scales)

        return energy_of

    def after(self, plan: Float[ndarray, "T a"]) -> UInt8[ndarray, "h w c"]:
        """What the camera would see after the actions of a plan; the world is left as it was."""
        with imagined(self.world, plan):
            return self.world.renderer(self.world.simulation.data).rgb


@contextmanager
def imagined(world: DemoWorld, plan: Float[ndarray, "T a"]) -> Iterator[None]:
    """Within the block the world is as after the actions of a plan; then it is as before, to the bit.

    Contacts are the exception: until the next step, the physics still lists those of the imagined moment.
    """
    simulation = world.simulation
    command = world.command
    snapshot = simulation.snapshot()
    try:
        # Not `world.step`, which would count the actions and render an image after each.
        for action in plan:
            target = moved(world.command, action)
            simulation.follow(between(world.command, target), STEPS)
            world.command = target
        yield
    finally:
        world.command = command
        simulation.restore(snapshot)


def normalised(images: UInt8[ndarray, "g h w c"], size: int | None = None) -> Float[Tensor, "g c h w"]:
    """Images uint8 as networks take them: channels first, floats, normalised; resized to `size` if given."""
    if size is not None and size != images.shape[1]:
        images = resized(images, (size, size))  # as recordings are, whose images are of the same camera
    clips = normalise(rearrange(torch.from_numpy(images), "g h w c -> g 1 c h w"))
    return rearrange(clips, "g c 1 h w -> g c h w")


def state_tensor(state: Float[ndarray, " Ds"], schema: StateSchema) -> Float[Tensor, " Ds"]:
    """A measured state as networks take it, with angles in the schema's range."""
    return schema.wrap(torch.from_numpy(state).float())
