"""Grid optim."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.errors import UserError
from vjepa.training.optim import OptimConfig


@dataclass(frozen=True)
class GridConfig:
    """Every learning rate with every weight decay: as many heads as pairs, all trained at once."""

    lr: tuple[float, ...] = ()
    """Peak learning rates; `optim.lr.peak` alone if empty. Each follows the schedule of `optim.lr`, scaled."""
    weight_decay: tuple[float, ...] = ()
    """Peak weight decays; `optim.weight_decay.peak` alone if empty. Each follows its schedule, scaled."""

    def heads(self, optim: OptimConfig) -> list[tuple[float, float]]:
        """(learning rate, weight decay) of every head. Raises UserError for a grid that no schedule can be scaled to."""
        peaks = ("lr", self.lr, optim.lr.peak), ("weight_decay", self.weight_decay, optim.weight_decay.peak)
        for name, wanted, peak in peaks:
            if wanted and (peak <= 0 or min(wanted) < 0):
                raise UserError(
                    f"grid.{name}={list(wanted)} scales optim.{name}, so its peak ({peak}) must be positive"
                )
        rates, decays = self.lr or (optim.lr.peak,), self.weight_decay or (optim.weight_decay.peak,)
        return [(rate, decay) for rate in rates for decay in decays]


class GridAdamW(torch.optim.Optimizer):
    """AdamW over parameters whose first axis counts heads, each head with a learning rate and a weight decay of its own.

    AdamW works element by element and its moments know neither rate nor decay. So one optimiser over stacked parameters, its
    rate and decay multiplied by one number a head, takes the very steps that one AdamW for each head would take.

    Args:
        config: Betas, epsilon, and the schedules that `set_step` reads.
        heads: (peak learning rate, peak weight decay) of every head.
        modules: Whose parameters are stacked; matrices of a head decay, its vectors do not.
    """

    def __init__(self, config: OptimConfig, heads: list[tuple[float, float]], *modules: nn.Module) -> None:
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        matrices, vectors = [p for p in parameters if p.ndim > 2], [p for p in parameters if p.ndim <= 2]
        self.betas, self.eps = config.betas, config.eps
        self.rates = torch.tensor([rate / config.lr.peak if config.lr.peak else 0.0 for rate, _ in heads])
        peak = config.weight_decay.peak
        self.decays = torch.tensor([decay / peak if peak else 0.0 for _, decay in heads])
        super().__init__(
            [{"params": matrices}, {"params": vectors}], {"lr": config.lr.peak, "weight_decay": peak}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        with torch.enable_grad():
            loss = closure() if closure else None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, group["lr"] * self.rates, group["weight_decay"] * self.decays)
        return loss

    def update(self, p: Tensor, lr: Float[Tensor, " p"], weight_decay: Float[Tensor, " p"]) -> None:
        state = self.state[p]
        if not state:
            state |= {"step": torch.tensor(0.0), "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        state["step"] += 1
        (beta1, beta2), step = self.betas, state["step"].item()
        lr, weight_decay = (value.to(p).view(-1, *[1] * (p.ndim - 1)) for value in (lr, weight_decay))
        mean = state["mean"].lerp_(p.grad, 1 - beta1)
        square = state["square"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
        size = (square.sqrt() / math.sqrt(1 - beta2**step)).add_(self.eps)
        p.mul_(1 - lr * weight_decay).sub_(lr / (1 - beta1**step) * mean / size)
