"""AdamW, and schedules as pure functions of the step (V-JEPA 2, sections 2.4 and A.1)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vjepa.errors import UserError


@dataclass(frozen=True)
class Schedule:
    """A value over steps 1..total: a ramp from `start` to `peak`, then constant, then a decay to `final`.

    It is read before optimiser step number `step`, counted from 1. So the first step uses the value after one
    stride of the ramp, and the last step uses exactly `final`.
    """

    peak: float
    """The value between ramp and decay."""
    start: float | None = None
    """The value at the beginning of the ramp; the peak if not given."""
    warmup: int = 0
    """Steps of linear ramp."""
    final: float | None = None
    """The value at the last step; the peak if not given."""
    decay: int = 0
    """Last steps over which the value goes to `final`."""
    shape: Literal["linear", "cosine"] = "linear"
    """Shape of the decay."""

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.decay < 0:
            raise UserError(
                f"warmup={self.warmup} and decay={self.decay} are numbers of steps; neither can be negative"
            )
        if self.final is not None and self.decay == 0:
            raise UserError(
                f"final={self.final} is never reached with decay=0; give the number of steps of decay"
            )
        if self.start is not None and self.warmup == 0:
            raise UserError(
                f"start={self.start} is never used with warmup=0; give the number of steps of warm-up"
            )

    def at(self, step: int, total: int) -> float:
        """The value for optimiser step `step` of `total`."""
        start = self.peak if self.start is None else self.start
        final = self.peak if self.final is None else self.final
        if step < self.warmup:
            return start + (self.peak - start) * step / self.warmup
        # Counted from the end of the run, so that `final` is reached. The released cooldown's schedule is
        # longer than its run, so its rate stops at 1.06e-4 instead of the paper's 1e-6.
        if step <= total - self.decay:
            return self.peak
        progress = min((step - (total - self.decay)) / self.decay, 1.0)
        if self.shape == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return self.peak * (1 - progress) + final * progress


@dataclass(frozen=True)
class OptimConfig:
    """AdamW, and the schedules of its learning rate and weight decay."""

    # Peak and weight decay are those of the paper (section A.1).
    lr: Schedule = Schedule(peak=5.25e-4)
    """Learning rate. The default neither ramps nor decays, since a recipe may name single fields of it."""
    weight_decay: Schedule = Schedule(peak=0.04)
    """Decay of matrices; biases, norms and other vectors never decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's momentum of the gradient and of its square."""
    eps: float = 1e-8
    """AdamW's epsilon."""


def adamw(config: OptimConfig, *modules: nn.Module) -> torch.optim.AdamW:
    """One optimiser over all trainable parameters: matrices in group 0, vectors in group 1."""
    # Two groups, since vectors (biases, norms) must not decay: `set_step` tells them apart by their order.
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    return torch.optim.AdamW([{"params": matrices}, {"params": vectors}], betas=config.betas, eps=config.eps)


def set_step(
    optimizer: torch.optim.Optimizer,
    config: OptimConfig,
    step: int,
    total: int,
    learning_rates: Sequence[Schedule] = (),
) -> None:
    """Set learning rate and weight decay for optimiser step `step` (from 1) of `total`.

    learning_rates: one schedule for each pair (matrices, vectors) of parameter groups; if empty, there is one
    pair and it follows `config.lr`.
    """
    groups = optimizer.param_groups
    rates = learning_rates or [config.lr]
    for matrices, vectors, rate in zip(groups[::2], groups[1::2], rates, strict=True):
        matrices["lr"] = rate.at(step, total)
        vectors["lr"] = matrices["lr"]
        matrices["weight_decay"] = config.weight_decay.at(step, total)
        vectors["weight_decay"] = 0.0  # as in the papers: only matrices decay


def norm_of(tensors: Sequence[Tensor]) -> float:
    """The norm of all tensors together; under FSDP2 that of the whole ones, which all processes ask for."""
    norm = torch.nn.utils.get_total_norm(tensors)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
