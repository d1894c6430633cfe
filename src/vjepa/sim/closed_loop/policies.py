"""What can act in the demo world, from what a camera and a robot see: an image (h, w, 3) uint8 and a state (7,).

Each is a function `act(image, state) -> action (7,)` for one episode; `calls` counts what it asked of its world model.
"""

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from vjepa.data.transforms import normalise
from vjepa.errors import require
from vjepa.models.ac_predictor import encode_frames
from vjepa.models.cloned_policy import ClonedPolicy
from vjepa.models.encoder import Encoder
from vjepa.planning.cem import CEMConfig, Energy
from vjepa.planning.mpc import MPC, MPCConfig, World
from vjepa.planning.world_model import distance
from vjepa.robots.schema import StateSchema
from vjepa.sim.world.env import STEPS, DemoWorld, between, moved


@runtime_checkable
class Policy(Protocol):
    calls: int
    """Actions whose consequences were computed, so far."""

    def act(self, image: ndarray, state: ndarray) -> ndarray: ...


class NoOpPolicy:
    """No motion."""

    calls = 0

    def act(self, image: ndarray, state: ndarray) -> ndarray:
        return np.zeros(7)


class RandomPolicy:
    """Actions drawn evenly from what the planner may choose."""

    calls = 0

    def __init__(self, config: CEMConfig, seed: int) -> None:
        self.config, self.random = config, np.random.default_rng([seed, 3])

    def act(self, image: ndarray, state: ndarray) -> ndarray:
        bounds, action = self.config.bounds, np.zeros(7)
        for dim in self.config.searched:
            most = bounds.radius if dim in bounds.moved else bounds.limit
            action[dim] = self.random.uniform(-most, most)
        size = np.abs(action[list(bounds.moved)]).sum()
        if bounds.constraint == "l1_ball" and size > bounds.radius:
            action[list(bounds.moved)] *= bounds.radius / size
        return action


class ScriptedPolicy:
    """The oracle: what the world's own script does, from its true state."""

    calls = 0

    def __init__(self, actions: Iterator[ndarray]) -> None:
        self.actions = actions

    def act(self, image: ndarray, state: ndarray) -> ndarray:
        return next(self.actions, np.zeros(7))


class PlanningPolicy:
    """Plans in a world model towards goal images, one action after another (section 4.2)."""

    def __init__(
        self, world: World, config: MPCConfig, goals: ndarray, schema: StateSchema, seed: int
    ) -> None:
        self.schema, self.calls = schema, 0
        self.mpc = MPC(world, config, frames(goals), torch.Generator().manual_seed(seed))

    def act(self, image: ndarray, state: ndarray) -> ndarray:
        before, search = self.mpc.plan, self.mpc.config.planner
        action = self.mpc.act(frames(image[None])[0], self.schema.wrap(torch.from_numpy(state).float()))
        self.calls += (
            0 if self.mpc.plan is before else (search.samples * search.iterations + 1) * search.horizon
        )
        return action.double().numpy()


def frames(images: UInt8[ndarray, "g h w c"]) -> Float[Tensor, "g c h w"]:
    """Images as networks take them."""
    return rearrange(
        normalise(rearrange(torch.from_numpy(images), "g h w c -> g 1 c h w")), "g c 1 h w -> g c h w"
    )


class CloningPolicy:
    """Does what the recorded episodes did on their way to such a goal; goals switch as the planner's do."""

    calls = 0

    def __init__(
        self,
        encoder: Encoder,
        policy: ClonedPolicy,
        schema: StateSchema,
        goals: ndarray,
        switch: tuple[int, ...],
    ) -> None:
        self.encoder, self.policy, self.schema = encoder, policy, schema
        self.goals, self.until, self.taken = self.encode(goals), list(accumulate(switch)), 0
        wanted, given = (policy.config.tokens, policy.config.token_width), tuple(self.goals.shape[1:])
        require(wanted == given, f"the cloned policy takes {wanted} tokens and channels of a frame, the encoder makes "
                      f"{given}; give the encoder, and setting.size, that it was trained with")  # fmt: skip

    @torch.no_grad()
    def encode(self, images: UInt8[ndarray, "g h w c"]) -> Float[Tensor, "g n d"]:
        return encode_frames(self.encoder, frames(images)[:, :, None])

    @torch.no_grad()
    def act(self, image: ndarray, state: ndarray) -> ndarray:
        goal = self.goals[[min(bisect_right(self.until, self.taken), len(self.goals) - 1)]]
        self.taken += 1
        where = self.schema.wrap(torch.from_numpy(state).float())[None]
        return self.schema.clip(self.policy(self.encode(image[None]), goal, where))[0].double().numpy()


class SimulatorModel:
    """The simulator itself as a world model: what planning can do if the model is perfect. Tokens are those of an encoder, or
    without one the pixels.

    It knows the world's true state, and ignores the state that it is given. Every imagined action is simulated, contacts and
    all, and undone.
    """

    def __init__(
        self, world: DemoWorld, encoder: Encoder | None = None, scales: tuple[int, ...] = (1,)
    ) -> None:
        self.world, self.encoder, self.scales = world, encoder, scales

    @torch.no_grad()
    def encode(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        if self.encoder is None:
            return rearrange(image, "b c h w -> b (h w) c")
        return encode_frames(self.encoder, image[:, :, None])

    def energy(
        self, tokens: Float[Tensor, "1 n d"], state: Float[Tensor, "1 Ds"], goal: Float[Tensor, "1 n d"]
    ) -> Energy:
        def of(actions: Float[Tensor, "s T a"]) -> Float[Tensor, " s"]:
            images = np.stack([self.after(plan) for plan in actions.double().numpy()])
            return distance(self.encode(frames(images)), goal, self.scales)

        return of

    def after(self, plan: Float[ndarray, "T a"]) -> UInt8[ndarray, "h w c"]:
        """What the camera would see after some actions."""
        world, simulation = self.world, self.world.simulation
        command, kept = world.command, simulation.snapshot()
        for action in plan:
            target = moved(world.command, action)
            simulation.follow(between(world.command, target), STEPS)
            world.command = target
        image = world.renderer(simulation.data).rgb
        world.command = command
        simulation.restore(kept)
        return image
