"""Model-predictive control: plan, execute the first actions, observe, plan again (V-JEPA 2, section 3.2).

Several goal images, one after the other, are the sub-goals of section 4.2.

    policy = MPC(world, MPCConfig(), goals, torch.Generator().manual_seed(0))
    action = policy.act(image, state)     # once per time step
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import require
from vjepa.planning.cem import CEMConfig, Plan, cem
from vjepa.planning.energy import Energy, distance


@dataclass(frozen=True)
class MPCConfig:
    """How plans are searched and executed, and when the next sub-goal begins."""

    planner: CEMConfig = field(default_factory=CEMConfig)
    """The search for each plan."""
    execute: int = 1
    """Actions of a plan that are executed before the next is made."""
    switch: tuple[int, ...] = ()
    """Actions spent on each sub-goal before the next one: the paper's 4, 10, 4 for pick and place. Empty: by
    `threshold`."""
    threshold: float | None = None
    """The next sub-goal begins when the observed tokens are closer than this to the present one's."""
    warm_start: bool = False
    """Begin each search at what is left of the last plan, instead of at the planner's mean."""

    def __post_init__(self) -> None:
        horizon = self.planner.horizon
        require(
            0 < self.execute <= horizon,
            f"mpc.execute={self.execute} of a plan of {horizon} actions; give 1 to its horizon",
        )
        both = bool(self.switch) and self.threshold is not None
        known = self.threshold is None or self.threshold >= 0
        require(known, f"mpc: threshold={self.threshold} is an energy, which is never negative")
        require(not both, "mpc: sub-goals switch by switch or by threshold; give one")


@runtime_checkable
class World(Protocol):
    """What the loop needs from a world model; a simulator that compares images can stand in for one."""

    def encode(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]: ...

    def energy(
        self, tokens: Float[Tensor, "1 n d"], state: Float[Tensor, "1 Ds"], goal: Float[Tensor, "1 n d"]
    ) -> Energy: ...


class MPC:
    """A policy for one episode: images and states to actions, towards one goal image after another.

    goal           number of the present goal
    actions_taken  how many `act` has returned so far
    plan           the last one made
    remaining      actions of that plan that have not been executed
    pending        how many of these will be executed before the next plan
    """

    def __init__(
        self, world: World, config: MPCConfig, goals: Float[Tensor, "g c h w"], generator: torch.Generator
    ) -> None:
        """goals: Normalised images, in the order in which they are to be reached.

        Raises UserError if there are no goals, or not one switch time for each.
        """
        check_goals(config, len(goals))
        self.world = world
        self.config = config
        self.generator = generator
        self.goals = world.encode(goals)  # once for the whole episode
        self.goal = 0
        self.actions_taken = 0
        self.plan: Plan | None = None
        self.remaining: Float[Tensor, "T a"] | None = None
        self.pending = 0

    def act(self, image: Float[Tensor, "c h w"], state: Float[Tensor, " Ds"]) -> Float[Tensor, " a"]:
        """The action to execute now.

        image: Normalised as the encoder takes it.
        state: Wrapped by the schema, as in training.
        """
        tokens = self.world.encode(image[None])
        # Before the plan: a new goal drops the old plan and sets `pending` to 0.
        self.choose_goal(tokens)
        if not self.pending:
            self.replan(tokens, state[None])
        action = self.remaining[0]
        self.remaining = self.remaining[1:]
        self.pending -= 1
        self.actions_taken += 1
        return action

    def choose_goal(self, tokens: Float[Tensor, "1 n d"]) -> None:
        """Go on to the next sub-goal when its time has come or the present one is reached."""
        goal = self.goal
        if self.config.switch:
            # From the right: after exactly the goal's number of actions its time is over.
            goal = bisect_right(list(accumulate(self.config.switch)), self.actions_taken)
        elif self.config.threshold is not None:
            goal += bool(distance(tokens, self.goals[goal][None]) < self.config.threshold)
        goal = min(goal, len(self.goals) - 1)  # the last one stays

        if goal != self.goal:
            self.goal = goal
            # The rest of the plan leads to the old goal.
            self.remaining = None
            self.pending = 0

    def replan(self, tokens: Float[Tensor, "1 n d"], state: Float[Tensor, "1 Ds"]) -> None:
        """Search a new plan from here to the present goal."""
        energy = self.world.energy(tokens, state, self.goals[self.goal][None])
        self.plan = cem(energy, self.config.planner, generator=self.generator, start=self.start())
        self.remaining = self.plan.actions
        self.pending = self.config.execute

    def start(self) -> Float[Tensor, "T a"] | None:
        """The mean to begin the next search with: what is left of the last plan, then no motion."""
        if not self.config.warm_start or self.remaining is None:
            return None
        # Zeros at the end: no motion, for the steps that the last plan did not reach.
        missing = self.config.planner.horizon - len(self.remaining)
        return torch.nn.functional.pad(self.remaining, (0, 0, 0, missing))


def check_goals(config: MPCConfig, goals: int) -> None:
    """Raises UserError unless the config says when each of so many goal images begins."""
    require(goals > 0, "a policy without a goal image has nothing to plan for; give one or more")
    require(
        goals == 1 or bool(config.switch) or config.threshold is not None,
        f"nothing says when the next of {goals} goal images begins; give mpc.switch or threshold",
    )
    require(
        len(config.switch) in (0, goals),
        f"mpc.switch={config.switch} for {goals} goal images; give one number of actions for each",
    )
