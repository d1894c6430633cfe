"""The simulator as a world model whose energy compares true states: what planning can do without any images.

    world = TrueState(episode.world, episode.sub_goals, episode.thing)
    policy = PlanningPolicy(world, config, episode.goals, StateSchema(), episode.seed)

Where this fails, the tasks, their goals or the search are to blame, and no encoder or predictor can help.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from vjepa.planning.energy import Energy
from vjepa.sim.closed_loop.policies import imagined
from vjepa.sim.closed_loop.script_goals import Goals
from vjepa.sim.world.env import DemoWorld
from vjepa.sim.world.things import Thing

CLOSEDNESS = 0.05
"""Metres that opening a closed gripper counts for, beside the way of the hand."""
GRIPPER = 6
"""Dimension of a state that holds the closedness."""


def distance_to_go(states: Float[ndarray, "s Ds"], goal: Float[ndarray, " Ds"]) -> Float[ndarray, " s"]:
    """How far hands with the states (7,) are from a goal's state, in metres.

    The absolute differences of x, y and z are added, and `CLOSEDNESS` times that of closedness.
    """
    difference = np.abs(states - goal)
    return difference[:, :3].sum(axis=1) + CLOSEDNESS * difference[:, GRIPPER]


class TrueState:
    """A world model for `MPC` that simulates every plan, renders nothing, and knows the goals' true states.

    Its tokens are one number for each image: which of the goals it is. Images and measured states are
    ignored.

    Args:
        world: The episode's world, which is left as it was.
        goals: What the energy compares with.
        thing: The object whose place counts too; None for the hand alone.
    """

    def __init__(self, world: DemoWorld, goals: Goals, thing: Thing | None = None) -> None:
        self.world = world
        self.goals = goals
        self.thing = thing

    def encode(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        # MPC encodes all goals in one call, in their order.
        return torch.arange(len(image), dtype=torch.float32)[:, None, None]

    def energy(
        self, tokens: Float[Tensor, "1 n d"], state: Float[Tensor, "1 Ds"], goal: Float[Tensor, "1 n d"]
    ) -> Energy:
        """Metres from the goal after each plan: `distance_to_go`, and the way of the object if it counts."""
        number = int(goal)

        def energy_of(actions: Float[Tensor, "s T a"]) -> Float[Tensor, " s"]:
            metres = [self.after(plan, number) for plan in actions.double().numpy()]
            return torch.tensor(metres, dtype=actions.dtype)

        return energy_of

    def after(self, plan: Float[ndarray, "T a"], number: int) -> float:
        """Metres from goal `number` after the actions of a plan."""
        with imagined(self.world, plan):
            (distance,) = distance_to_go(self.world.simulation.state[None], self.goals.states[number])
            if self.thing is None:
                return float(distance)
            way = self.world.position(self.thing) - self.goals.objects[number]
            return float(distance + np.abs(way).sum())
