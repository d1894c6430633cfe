"""Searching for a sequence of actions of least energy by sampling (V-JEPA 2, sections 3.2 and B.2).

    plan = cem(energy, CEMConfig(horizon=2), generator=torch.Generator().manual_seed(0))
    plan.actions      # T a

The search knows a function from actions to energies, and nothing of what computes it. Every iteration samples
actions around a mean, weighs them by their energies, and moves mean and spread to those of the weighted
samples. The cross-entropy method (`cem`) gives the `top` samples equal weights and the others none.
Model-predictive path integral control (`mppi`) weighs all samples by a Boltzmann factor. Nothing leaves the
device before the plan is made.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import require
from vjepa.planning.bounds import ActionBounds, Limits
from vjepa.planning.energy import Energy


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
    """Samples of least energy that decide the next mean and spread, for `cem`."""
    temperature: float = 0.2
    """For `mppi`: more energy by this much divides a sample's weight by e. In standard deviations of the
    iteration's energies."""
    horizon: int = 1
    """Actions in a sequence."""
    action_dim: int = 7
    """Numbers of an action."""
    # Without rotation, as in the released planner.
    searched: tuple[int, ...] = (0, 1, 2, 6)
    """Dimensions that vary: position and gripper. The others stay zero, or what `start` says."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    """Mean of the first samples."""
    std: tuple[float, ...] = (0.075, 0.075, 0.075, 1.0)
    """Spread of the first samples."""
    momentum_mean: float = 0.15
    """Share of the last mean that stays."""
    momentum_std: float = 0.15
    """Share of the last spread that stays."""
    bounds: ActionBounds = ActionBounds()
    """Where actions must lie."""

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_dimensions()

    def _check_numbers(self) -> None:
        counts = (self.samples, self.iterations, self.top, self.horizon, self.action_dim)
        require(
            min(counts) > 0 and self.temperature > 0,
            "cem: samples, iterations, top, temperature, horizon and action_dim must be positive",
        )
        require(self.top <= self.samples, f"cem.top={self.top} of {self.samples} samples; choose fewer")
        shares = (self.momentum_mean, self.momentum_std)
        require(
            all(0 <= share < 1 for share in shares),
            f"cem: momentum {shares} must be shares from 0 to below 1",
        )

    def _check_dimensions(self) -> None:
        dims = (*self.searched, *self.bounds.moved)
        known = bool(self.searched) and all(0 <= dim < self.action_dim for dim in dims)
        require(
            known,
            f"cem: searched {self.searched} and bounds.moved {self.bounds.moved} must be among the "
            f"{self.action_dim} dimensions of an action, counted from 0",
        )
        require(
            len(self.searched) == len(self.mean) == len(self.std),
            f"cem: give one number of mean and of std for each searched dimension {self.searched}",
        )
        once = len(set(self.searched)) == len(self.searched)
        positive = all(0 < std < float("inf") for std in self.std)
        require(
            once and positive,
            f"cem: searched {self.searched} once each, with a positive std, got {self.std}",
        )


class Statistics(NamedTuple):
    """One number per iteration."""

    least: Float[Tensor, " iterations"]
    """Energy of the best sample."""
    weighted: Float[Tensor, " iterations"]
    """Mean energy of the samples, weighted."""
    mean: Float[Tensor, " iterations"]
    """Mean energy of the samples, unweighted."""
    std: Float[Tensor, " iterations"]
    """Spread of the actions after the iteration, averaged over what is searched."""


class Plan(NamedTuple):
    """The result of a search."""

    actions: Float[Tensor, "T a"]
    energy: Float[Tensor, ""]
    """Energy of these actions."""
    statistics: Statistics


def cem(
    energy: Energy,
    config: CEMConfig,
    *,
    generator: torch.Generator,
    start: Float[Tensor, "T a"] | None = None,
) -> Plan:
    """Search for the actions of least energy. The plan is the last mean, as in the released planner.

    Single samples may have been better than the mean.

    energy: Of many sequences at once, on the generator's device; called once per iteration and once for the
        plan.
    generator: Decides the samples, so the same seed gives the same plan.
    start: The first mean instead of the config's, for example what is left of the last plan.

    Raises UserError if an energy is not finite or `start` is misshaped.
    """
    device = generator.device
    limits = Limits(config.bounds, config.action_dim, device)
    searched = torch.isin(torch.arange(config.action_dim), torch.tensor(config.searched)).to(device)
    mean, std = initial_distribution(config, start, device)
    history = []
    for _ in range(config.iterations):
        noise = torch.randn((config.samples, *mean.shape), generator=generator, device=device)
        # Projected first, so that energies and statistics are of actions that can be executed.
        actions = limits.project(mean + std * noise)
        energies = energy(actions)
        weights = sample_weights(energies, config)
        mean, std = update(mean, std, actions, weights, config)
        # Projection may have changed the other dimensions too: the ball shortens all that are `moved`.
        std = torch.where(searched, std, 0)
        spread = std.sum() / (searched.sum() * config.horizon)
        # Left on the device: the host waits for no iteration.
        weighted = (weights * energies).sum()
        history.append(torch.stack([energies.min(), weighted, energies.mean(), spread]))

    # A share of the first mean is in the last one, and may lie outside the bounds.
    actions = limits.project(mean)
    plan = Plan(actions, energy(actions[None])[0], Statistics(*torch.stack(history, dim=1)))
    check_finite(plan)
    return plan


def initial_distribution(
    config: CEMConfig, start: Float[Tensor, "T a"] | None, device: torch.device
) -> tuple[Float[Tensor, "T a"], Float[Tensor, "T a"]]:
    """Mean and spread before the first iteration. Raises UserError if `start` is misshaped."""
    shape = (config.horizon, config.action_dim)
    mean = torch.zeros(shape, device=device)
    std = torch.zeros(shape, device=device)  # stays 0 in dimensions that are not searched
    mean[:, config.searched] = torch.tensor(config.mean, device=device)
    std[:, config.searched] = torch.tensor(config.std, device=device)
    if start is None:
        return mean, std

    require(
        tuple(start.shape) == shape,
        f"the start of a plan is {tuple(start.shape)}, expected {shape} (horizon, action)",
    )
    return start.to(mean), std


def sample_weights(energies: Float[Tensor, " s"], config: CEMConfig) -> Float[Tensor, " s"]:
    """The weight of each sample; they sum to one."""
    if config.method == "cem":
        best = energies.topk(config.top, largest=False).indices
        return torch.zeros_like(energies).index_fill(0, best, 1 / config.top)
    # In units of the spread, so that one temperature suits energies of any size. Equal energies have no
    # spread; the smallest number instead of zero then gives equal weights.
    spread = energies.std(correction=0).clamp_min(torch.finfo(energies.dtype).tiny)
    return torch.softmax(-energies / (config.temperature * spread), dim=0)


def update(
    mean: Float[Tensor, "T a"],
    std: Float[Tensor, "T a"],
    actions: Float[Tensor, "s T a"],
    weights: Float[Tensor, " s"],
    config: CEMConfig,
) -> tuple[Float[Tensor, "T a"], Float[Tensor, "T a"]]:
    """Mean and spread of the weighted samples, with a share of the last ones."""
    # Under autocast the products would be in half precision, and actions are metres and radians.
    with torch.autocast(actions.device.type, enabled=False):
        sample_mean = torch.einsum("s,sta->ta", weights, actions)
        sample_std = torch.einsum("s,sta->ta", weights, (actions - sample_mean) ** 2).sqrt()
    mean = mean.lerp(sample_mean, 1 - config.momentum_mean)
    std = std.lerp(sample_std, 1 - config.momentum_std)
    return mean, std


def check_finite(plan: Plan) -> None:
    """Raises UserError if an energy of the search was not finite."""
    # Asked once, at the end, because the host waits for the device here. One energy that is not finite makes
    # the mean of its iteration so too.
    finite = torch.isfinite(plan.energy) & torch.isfinite(plan.statistics.mean).all()
    require(
        bool(finite),
        "the energies of planned actions are not finite; look at the world model's inputs and weights",
    )
