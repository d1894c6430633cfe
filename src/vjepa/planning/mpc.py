"""Closed loop: plan, execute the first action, look again, plan again (V-JEPA 2, sections 3.2 and 4.2)."""

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import require
from vjepa.planning.cem import CEMConfig, Energy, Plan, cem
from vjepa.planning.world_model import distance


@dataclass(frozen=True)
class MPCConfig:
    planner: CEMConfig = field(default_factory=CEMConfig)
    """How each plan is searched."""
    execute: int = 1
    """Actions of a plan that are executed before the next is made."""
    switch: tuple[int, ...] = ()
    """Actions spent on each sub-goal before the next one: the paper's 4, 10, 4 for pick and place. Empty: by `threshold`."""
    threshold: float | None = None
    """The next sub-goal begins when the observed tokens are closer than this to the present one's."""
    warm_start: bool = False
    """Begin each search at what is left of the last plan, instead of at the planner's mean."""

    def __post_init__(self) -> None:
        fits = 0 < self.execute <= self.planner.horizon
        require(
            fits,
            f"mpc.execute={self.execute} of a plan of {self.planner.horizon} actions; give 1 to its horizon",
        )
        both = bool(self.switch) and self.threshold is not None
        require(not both, "mpc: sub-goals switch by switch or by threshold; give one")


@runtime_checkable
class World(Protocol):
    """What the loop needs of a world model. A true simulator that measures pixels is one, too."""

    def encode(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]: ...

    def energy(
        self, tokens: Float[Tensor, "1 n d"], state: Float[Tensor, "1 Ds"], goal: Float[Tensor, "1 n d"]
    ) -> Energy: ...


class MPC:
    """A policy for one episode: images and states to actions, towards one goal image after another."""

    def __init__(
        self, world: World, config: MPCConfig, goals: Float[Tensor, "g c h w"], generator: torch.Generator
    ) -> None:
        """goals: normalised images, in the order in which they are to be reached.

        Raises UserError if there are no goals, or not one switch time for each.
        """
        require(len(goals) > 0, "a policy without a goal image has nothing to plan for; give one or more")
        moves_on = len(goals) == 1 or bool(config.switch) or config.threshold is not None
        require(
            moves_on,
            f"nothing says when the next of {len(goals)} goal images begins; give mpc.switch or threshold",
        )
        fits = not config.switch or len(config.switch) == len(goals)
        require(
            fits,
            f"mpc.switch={config.switch} for {len(goals)} goal images; give one number of actions for each",
        )
        self.world, self.config, self.generator = world, config, generator
        self.goals = world.encode(goals)
        self.goal = 0  # number of the present goal
        self.taken = 0  # actions so far
        self.plan: Plan | None = None  # the last one made
        self.left: Float[Tensor, "T a"] | None = None  # of it, not executed yet
        self.pending = 0  # actions of it still to execute before the next plan

    def act(self, image: Float[Tensor, "c h w"], state: Float[Tensor, " Ds"]) -> Float[Tensor, " a"]:
        """The action to execute now. `image` is normalised as the encoder takes it, `state` as the predictor was trained."""
        tokens = self.world.encode(image[None])
        self.choose_goal(tokens)
        if not self.pending:
            self.replan(tokens, state[None])
        action, self.left = self.left[0], self.left[1:]
        self.pending, self.taken = self.pending - 1, self.taken + 1
        return action

    def choose_goal(self, tokens: Float[Tensor, "1 n d"]) -> None:
        """On to the next sub-goal when its time has come or the present one is reached; the last one stays."""
        goal, last = self.goal, len(self.goals) - 1
        if self.config.switch:
            goal = bisect_right(list(accumulate(self.config.switch)), self.taken)
        elif self.config.threshold is not None:
            goal += bool(distance(tokens, self.goals[goal][None]) < self.config.threshold)
        if min(goal, last) != self.goal:
            self.goal, self.left, self.pending = (
                min(goal, last),
                None,
                0,
            )  # the old plan leads to the old goal

    def replan(self, tokens: Float[Tensor, "1 n d"], state: Float[Tensor, "1 Ds"]) -> None:
        energy = self.world.energy(tokens, state, self.goals[self.goal][None])
        self.plan = cem(energy, self.config.planner, generator=self.generator, start=self.start())
        self.left, self.pending = self.plan.actions, self.config.execute

    def start(self) -> Float[Tensor, "T a"] | None:
        """What is left of the last plan, and no motion after it."""
        if not self.config.warm_start or self.left is None:
            return None
        missing = self.config.planner.horizon - len(self.left)
        return torch.nn.functional.pad(self.left, (0, 0, 0, missing))
