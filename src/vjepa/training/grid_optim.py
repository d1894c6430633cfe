"""AdamW for a grid of heads that train side by side, each with a learning rate and a weight decay of its own.

heads = GridConfig(lr=(1e-4, 3e-4), weight_decay=(0.01, 0.1)).heads(optim)      # four pairs
optimizer = GridAdamW(optim, heads, ProbeGrid(probe, len(heads)))
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.errors import require
from vjepa.training.optim import OptimConfig


@dataclass(frozen=True)
class GridConfig:
    """Every learning rate with every weight decay: as many heads as pairs, all trained at once."""

    lr: tuple[float, ...] = ()
    """Peak learning rates; only `optim.lr.peak` if empty. Each follows the schedule of `optim.lr`, scaled."""
    weight_decay: tuple[float, ...] = ()
    """Peak weight decays; only `optim.weight_decay.peak` if empty. Each follows its schedule, scaled."""

    def heads(self, optim: OptimConfig) -> list[tuple[float, float]]:
        """(learning rate, weight decay) of every head. Raises UserError for a grid that no schedule fits."""
        check_scales("lr", self.lr, optim.lr.peak)
        check_scales("weight_decay", self.weight_decay, optim.weight_decay.peak)
        rates = self.lr or (optim.lr.peak,)
        decays = self.weight_decay or (optim.weight_decay.peak,)
        return [(rate, decay) for rate in rates for decay in decays]


def check_scales(name: str, values: tuple[float, ...], peak: float) -> None:
    """Raise UserError for negative values, or for values that are no multiples of a schedule's peak."""
    require(
        not values or (peak > 0 and min(values) >= 0),
        f"grid.{name}={list(values)} scales optim.{name}, so its peak ({peak}) must be positive",
    )


class GridAdamW(torch.optim.Optimizer):
    """AdamW over stacked parameters: their first axis counts heads, each with a rate and a decay of its own.

    AdamW works element by element, and its moments depend neither on the rate nor on the decay. So one
    optimiser takes the same steps as one AdamW for each head, if rate and decay are multiplied by one number
    per head.

    Args:
        config: Betas, epsilon, and the schedules that `set_step` reads.
        heads: (peak learning rate, peak weight decay) of every head.
        modules: Modules with stacked parameters. The matrices of a head decay, its vectors do not.
    """

    def __init__(self, config: OptimConfig, heads: list[tuple[float, float]], *modules: nn.Module) -> None:
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        matrices = [p for p in parameters if p.ndim > 2]  # one axis more than those of a head
        vectors = [p for p in parameters if p.ndim <= 2]
        self.betas = config.betas
        self.eps = config.eps
        # `set_step` sets one scheduled rate and decay for all heads. A head's own are multiples of them.
        self.rates = shares([rate for rate, _ in heads], config.lr.peak)
        self.decays = shares([decay for _, decay in heads], config.weight_decay.peak)
        defaults = {"lr": config.lr.peak, "weight_decay": config.weight_decay.peak}
        super().__init__([{"params": matrices}, {"params": vectors}], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        # Lightning's closure runs forward and backward, which this method's no_grad would prevent.
        with torch.enable_grad():
            loss = closure() if closure else None
        for group in self.param_groups:
            rates = group["lr"] * self.rates
            decays = group["weight_decay"] * self.decays
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, rates, decays)
        return loss

    def update(self, p: Tensor, lr: Float[Tensor, " p"], weight_decay: Float[Tensor, " p"]) -> None:
        """One step of decoupled weight decay and Adam, as `torch.optim.AdamW` takes it."""
        state = self.state[p]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["mean"] = torch.zeros_like(p)
            state["square"] = torch.zeros_like(p)
        state["step"] += 1
        step = state["step"].item()
        beta1, beta2 = self.betas

        # One number a head, along the first axis of the stacked parameter.
        per_head = (-1, *[1] * (p.ndim - 1))
        lr = lr.to(p).view(per_head)
        weight_decay = weight_decay.to(p).view(per_head)

        mean = state["mean"].lerp_(p.grad, 1 - beta1)
        square = state["square"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
        # Bias corrections where torch puts them, so that steps agree to rounding.
        deviation = (square.sqrt() / math.sqrt(1 - beta2**step)).add_(self.eps)
        p.mul_(1 - lr * weight_decay).sub_(lr / (1 - beta1**step) * mean / deviation)


def shares(values: list[float], peak: float) -> Float[Tensor, " p"]:
    """Each value as a multiple of the peak, to be multiplied by scheduled values; 0 if the peak is 0."""
    return torch.tensor([value / peak if peak else 0.0 for value in values])
