"""AdamW, and schedules as pure functions of the step (V-JEPA 2, sections 2.4 and A.1)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.errors import UserError


@dataclass(frozen=True)
class Schedule:
    """A value over steps 1..total: a ramp from `start` to `peak`, then constant, then a decay to `final`.

    Read before optimiser step number `step` (counted from 1), so the first step takes one stride of the ramp, and the last
    step uses exactly `final`.
    """

    peak: float
    """The value between ramp and decay."""
    start: float | None = None
    """The value the ramp leaves from; the peak if not given."""
    warmup: int = 0
    """Steps of linear ramp."""
    final: float | None = None
    """The value at the last step; the peak if not given."""
    decay: int = 0
    """Last steps over which the value goes to `final`."""
    shape: Literal["linear", "cosine"] = "linear"
    """Form of the decay."""

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.decay < 0:
            raise UserError(f"warmup={self.warmup} and decay={self.decay} are numbers of steps; neither can be negative")
        if self.final is not None and self.decay == 0:
            raise UserError(f"final={self.final} is never reached with decay=0; give the number of steps of decay")
        if self.start is not None and self.warmup == 0:
            raise UserError(f"start={self.start} is never used with warmup=0; give the number of steps of warm-up")

    def at(self, step: int, total: int) -> float:
        """The value for optimiser step `step` of `total`."""
        start = self.peak if self.start is None else self.start
        final = self.peak if self.final is None else self.final
        if step < self.warmup:
            return start + (self.peak - start) * step / self.warmup
        if step <= total - self.decay:
            return self.peak
        progress = min((step - (total - self.decay)) / self.decay, 1.0)
        if self.shape == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return self.peak * (1 - progress) + final * progress


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and what its step does."""

    lr: Schedule = Schedule(peak=5.25e-4)
    """Learning rate. A recipe that names a schedule's fields keeps the others' defaults, so no default ramps or decays."""
    weight_decay: Schedule = Schedule(peak=0.04)
    """Decay of matrices; biases, norms and other vectors never decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's momentum of the gradient and of its square."""
    eps: float = 1e-8
    """AdamW's epsilon."""


def adamw(config: OptimConfig, *modules: nn.Module) -> torch.optim.AdamW:
    """One optimiser over all trainable parameters: matrices in group 0, vectors in group 1."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    matrices, vectors = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    return torch.optim.AdamW([{"params": matrices}, {"params": vectors}], betas=config.betas, eps=config.eps)


def set_step(optimizer: torch.optim.Optimizer, config: OptimConfig, step: int, total: int) -> None:
    """Learning rate and weight decay for optimiser step `step` (from 1) of `total`."""
    matrices, vectors = optimizer.param_groups
    matrices["lr"] = vectors["lr"] = config.lr.at(step, total)
    matrices["weight_decay"], vectors["weight_decay"] = config.weight_decay.at(step, total), 0.0


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
                raise UserError(f"grid.{name}={list(wanted)} scales optim.{name}, so its peak ({peak}) must be positive")
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
        super().__init__([{"params": matrices}, {"params": vectors}], {"lr": config.lr.peak, "weight_decay": peak})

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
