"""Searching a sequence of actions of least energy by sampling (V-JEPA 2, sections 3.2 and B.2).

The searcher knows a function from actions to energies, and nothing of what computes it. Every iteration samples actions
around a mean, weighs them by their energies, and moves mean and spread to those of the weighted samples. The cross-entropy
method (`cem`) weighs the `top` samples alike and the others not at all; model-predictive path integral control (`mppi`)
weighs all by a Boltzmann factor. Nothing leaves the device before the plan is made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import UserError, require

Energy = Callable[[Float[Tensor, "s T a"]], Float[Tensor, " s"]]


@dataclass(frozen=True)
class ActionBounds:
    """Where actions must lie.

    The paper names an L1 ball of radius 0.075 m, "about 13 cm"; the released planner clips each axis to 0.075 m instead,
    a box whose corners are 13 cm from its centre.
    """

    constraint: Literal["l1_ball", "box"] = "l1_ball"
    """The paper's ball or the released planner's box, for the dimensions `moved`."""
    radius: float = 0.075
    """Of the ball, or half a side of the box; metres."""
    moved: tuple[int, ...] = (0, 1, 2)
    """Dimensions under the constraint."""
    limit: float = 0.75
    """Greatest size of every other dimension: the gripper's as released."""

    def __post_init__(self) -> None:
        require(self.radius > 0 and self.limit > 0, "bounds: radius and limit must be positive")


@dataclass(frozen=True)
class CEMConfig:
    """The paper's search. Tuples `mean` and `std` hold one number for each of the dimensions `searched`."""

    method: Literal["cem", "mppi"] = "cem"
    """How samples are weighed."""
    samples: int = 800
    """Sequences of actions drawn per iteration."""
    iterations: int = 10
    """Rounds of drawing and weighing."""
    top: int = 10
    """SampleAnswers that count, for `cem`."""
    temperature: float = 0.2
    """Energy that divides a weight by e, in standard deviations of the iteration's energies, for `mppi`."""
    horizon: int = 1
    """Actions in a sequence."""
    action_dim: int = 7
    """Numbers of an action."""
    searched: tuple[int, ...] = (0, 1, 2, 6)
    """Dimensions that vary: position and gripper. The others stay zero, or what the start says."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    """Where the search begins."""
    std: tuple[float, ...] = (0.075, 0.075, 0.075, 1.0)
    """Spread with which the search begins."""
    momentum_mean: float = 0.15
    """Share of the last mean that stays."""
    momentum_std: float = 0.15
    """Share of the last spread that stays."""
    bounds: ActionBounds = ActionBounds()
    """Where actions must lie."""

    def __post_init__(self) -> None:
        positive = (
            min(self.samples, self.iterations, self.top, self.horizon, self.action_dim) > 0
            and self.temperature > 0
        )
        require(
            positive, "cem: samples, iterations, top, temperature, horizon and action_dim must be positive"
        )
        require(self.top <= self.samples, f"cem.top={self.top} of {self.samples} samples; choose fewer")
        dims = (*self.searched, *self.bounds.moved)
        known = bool(self.searched) and all(0 <= dim < self.action_dim for dim in dims)
        require(known, f"cem: searched {self.searched} and bounds.moved {self.bounds.moved} must be among "
                      f"the {self.action_dim} dimensions of an action, counted from 0")  # fmt: skip
        if not len(self.searched) == len(self.mean) == len(self.std):
            raise UserError(
                f"cem: give one number of mean and of std for each searched dimension {self.searched}"
            )
        once = len(set(self.searched)) == len(self.searched) and all(
            0 < std < float("inf") for std in self.std
        )
        require(once, f"cem: searched {self.searched} once each, with a positive std, got {self.std}")
        stays = (self.momentum_mean, self.momentum_std)
        require(
            all(0 <= share < 1 for share in stays), f"cem: momentum {stays} must be shares from 0 to below 1"
        )


class Statistics(NamedTuple):
    """One number per iteration."""

    least: Float[Tensor, " iterations"]
    """Energy of the best sample."""
    weighted: Float[Tensor, " iterations"]
    """Mean energy of the samples that count, by their weights."""
    mean: Float[Tensor, " iterations"]
    """Mean energy of all samples."""
    std: Float[Tensor, " iterations"]
    """Spread after the iteration, averaged over what is searched."""


class Plan(NamedTuple):
    actions: Float[Tensor, "T a"]
    energy: Float[Tensor, ""]
    statistics: Statistics


def cem(
    energy: Energy,
    config: CEMConfig,
    *,
    generator: torch.Generator,
    start: Float[Tensor, "T a"] | None = None,
) -> Plan:
    """The mean of the search after its last iteration, as the released planner, which is not always the best sample.

    energy: of many sequences at once, on the generator's device; called once per iteration and once for the plan.
    generator: decides the samples, so the same seed gives the same plan.
    start: the mean to begin with instead of the config's, for example what is left of the last plan.
    Raises UserError if an energy is not finite or `start` is misshaped.
    """
    bounds = Limits(config, generator.device)
    mean, std = beginning(config, start, generator.device)
    history = []
    for _ in range(config.iterations):
        noise = torch.randn((config.samples, *mean.shape), generator=generator, device=generator.device)
        actions = bounds.project(mean + std * noise)
        energies = energy(actions)
        weight = weights(energies, config)
        chosen = torch.einsum("s,sta->ta", weight, actions)
        spread = torch.einsum("s,sta->ta", weight, (actions - chosen) ** 2).sqrt()
        mean, std = mean.lerp(chosen, 1 - config.momentum_mean), std.lerp(spread, 1 - config.momentum_std)
        std = torch.where(bounds.searched, std, 0)
        history.append(torch.stack([energies.min(), weight @ energies, energies.mean(), bounds.average(std)]))
    actions = bounds.project(mean)
    reached = energy(actions[None])[0]
    statistics = Statistics(*torch.stack(history, dim=1))
    finite = torch.isfinite(reached) & torch.isfinite(statistics.mean).all()
    require(
        bool(finite),
        "the energies of planned actions are not finite; look at the world model's inputs and weights",
    )
    return Plan(actions, reached, statistics)


def weights(energies: Float[Tensor, " s"], config: CEMConfig) -> Float[Tensor, " s"]:
    """What each sample counts; they sum to one."""
    if config.method == "cem":
        best = energies.topk(config.top, largest=False).indices
        return torch.zeros_like(energies).index_fill(0, best, 1 / config.top)
    unit = energies.std(correction=0).clamp_min(torch.finfo(energies.dtype).tiny)
    return torch.softmax(-energies / (config.temperature * unit), dim=0)


def beginning(
    config: CEMConfig, start: Float[Tensor, "T a"] | None, device: torch.device
) -> tuple[Float[Tensor, "T a"], Float[Tensor, "T a"]]:
    """Mean and spread before the first iteration."""
    shape = (config.horizon, config.action_dim)
    mean, std = torch.zeros(shape, device=device), torch.zeros(shape, device=device)
    mean[:, config.searched] = torch.tensor(config.mean, device=device)
    std[:, config.searched] = torch.tensor(config.std, device=device)
    if start is None:
        return mean, std
    require(
        tuple(start.shape) == shape,
        f"the start of a plan is {tuple(start.shape)}, expected {shape} (horizon, action)",
    )
    return start.to(mean), std


class Limits:
    """The bounds as tensors on the device, made once per plan so that the loop copies nothing there."""

    def __init__(self, config: CEMConfig, device: torch.device) -> None:
        dims = torch.arange(config.action_dim, device=device)
        self.searched = torch.isin(dims, torch.tensor(config.searched, device=device))
        self.moved = torch.isin(dims, torch.tensor(config.bounds.moved, device=device))
        self.limit = torch.where(self.moved, config.bounds.radius, config.bounds.limit)
        self.ball, self.radius = config.bounds.constraint == "l1_ball", config.bounds.radius

    def project(self, actions: Float[Tensor, "*s a"]) -> Float[Tensor, "*s a"]:
        """Actions within the bounds: shortened along their own direction to the ball, clipped to the box.

        Not the nearest point of the ball, which would lie on an axis far too often.
        """
        if self.ball:
            size = (actions.abs() * self.moved).sum(dim=-1, keepdim=True)
            actions = torch.where(self.moved, actions * (self.radius / size.clamp_min(self.radius)), actions)
        return actions.clamp(-self.limit, self.limit)

    def average(self, values: Float[Tensor, "T a"]) -> Float[Tensor, ""]:
        """The mean over searched dimensions."""
        return (values * self.searched).sum() / (self.searched.sum() * len(values))
