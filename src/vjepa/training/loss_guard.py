"""The guard of every run: it ends where a loss, a gradient or a weight is no number, and names the clips.

It also says at the end whether the run diverged without such a number, and, if asked, where the loss jumps:

    --spike.factor 5 --spike.action skip
"""

import math
import statistics
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vjepa.data.clips import TrainingClips, WithImages
from vjepa.data.loader import ResumableLoader, draw_sample
from vjepa.errors import DataError, require
from vjepa.training.monitors import completes_step
from vjepa.training.optim import norm_of

BEGIN = 5
"""Losses at the beginning, with the least of which the end is compared."""
END = 20
"""Losses at the end, of which the median counts."""
MOST_LOSS = 10
"""A loss that ends at more than so many times its beginning diverged."""
LEAST_LOSS = 0.1
"""What a loss that begins lower counts as."""
MOST_GROWTH = 100
"""Weights whose norm ends at more than so many times its beginning diverged."""
LEAST_NORM = 1e-3
"""What a norm that begins lower counts as."""
SHOWN = 3
"""Clips that a sentence names; a file names all."""


@dataclass(frozen=True)
class SpikeConfig:
    """What counts as a jump of the loss, and what happens then."""

    factor: float = 5.0
    """A loss above so many times the median of the last ones is a jump."""
    window: int = 100
    """Steps of which the median is taken; before there are so many, nothing is judged."""
    action: Literal["warn", "skip", "stop"] = "warn"
    """Name the clips and go on; leave the step out; or end the run."""

    def __post_init__(self) -> None:
        require(self.factor > 1, f"spike.factor={self.factor} must be more than 1")
        require(self.window > 0, f"spike.window={self.window} must be 1 or more")


class LossGuard(L.Callback):
    """Raises DataError on all processes for a loss, a gradient or weights that are not finite.

    `check_converged` raises UserError for a run that diverged all the same.
    """

    def __init__(self, spike: SpikeConfig | None = None) -> None:
        self.spike = spike
        self.longest = max(END, spike.window if spike else 0)
        self.first: list[float] = []
        self.last: list[float] = []
        self.begin_norm = 0.0  # of all trained weights
        self.norm = 0.0
        self.losses: list[Tensor] = []  # of the batches of this step

    def state_dict(self) -> dict:
        return {name: getattr(self, name) for name in ("first", "last", "begin_norm", "norm")}

    def load_state_dict(self, state: dict) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def on_train_start(self, trainer, stage) -> None:
        self.begin_norm = self.begin_norm or norm_of(trained(stage))
        steps = int(trainer.estimated_stepping_batches)
        if self.spike and self.spike.window >= steps:
            stage.print(f"note: spike.window={self.spike.window} judges none of {steps} steps; lower it")

    def on_train_batch_start(self, trainer, stage, batch, batch_idx) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.losses = []

    def on_before_backward(self, trainer, stage, loss: Tensor) -> None:
        scale = trainer.scaler.get_scale() if trainer.scaler else 1.0
        # A stage may add up losses, of a number of tokens that differs from batch to batch.
        scale *= getattr(stage, "summed_losses", 1)
        self.losses.append(loss.detach() * trainer.accumulate_grad_batches / scale)

    def on_before_optimizer_step(self, trainer, stage, optimizer) -> None:
        # The mean over all processes: all of them see where one has no number, and end together.
        mean = trainer.strategy.reduce(torch.stack(self.losses).mean(), reduce_op="mean")
        loss = float(mean)
        gradient = norm_of([p.grad for p in trained(stage) if p.grad is not None])
        self.check_finite(trainer, "loss", loss)
        if trainer.scaler is None:  # a gradient scaler leaves out such steps itself
            self.check_finite(trainer, "gradient", gradient)
        if self.spike and len(self.last) >= self.spike.window:
            self.check_jump(trainer, stage, loss)
        self.last = [*self.last, loss][-self.longest :]
        self.first = [*self.first, loss][:BEGIN]

    def check_finite(self, trainer: L.Trainer, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise DataError(
                f"the {name} at step {trainer.global_step + 1} is {value}; lower model.optim.lr, set "
                "trainer.gradient_clip_val, or look at train/loss in TensorBoard for where it began"
                f"{self.blamed(trainer, trainer.global_step + 1)}"
            )

    def check_jump(self, trainer: L.Trainer, stage: L.LightningModule, loss: float) -> None:
        """Warn of a loss that jumped, leave its step out, or raise DataError, as the recipe says."""
        usual = statistics.median(self.last[-self.spike.window :])
        if loss <= self.spike.factor * usual:
            return
        step = trainer.global_step + 1
        what = f"the loss jumped to {loss:.4g} at step {step}, from a median of {usual:.4g}"
        what += self.blamed(trainer, step)
        if self.spike.action == "stop":
            raise DataError(f"{what}; spike.action=warn or skip goes on")
        if self.spike.action == "skip":
            for parameter in trained(stage):
                parameter.grad = None  # which AdamW passes over, moments included
        if trainer.is_global_zero:
            after = "its step is left out" if self.spike.action == "skip" else "the run goes on"
            print(f"warning: {what}; {after}", file=sys.stderr)

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        if not completes_step(trainer, batch_idx):
            return
        # Before a checkpoint is saved; the mean, so that a fault of one device ends the run on all of them.
        norm = torch.tensor(norm_of(trained(stage)), device=stage.device)
        self.norm = float(trainer.strategy.reduce(norm, reduce_op="mean"))
        if not math.isfinite(self.norm):
            raise DataError(
                f"the weights are not finite after step {trainer.global_step}; lower model.optim.lr"
                f"{self.blamed(trainer, trainer.global_step)}"
            )

    def blamed(self, trainer: L.Trainer, step: int) -> str:
        """The clips of this step, as the end of a sentence, and in a file. To be called on all processes."""
        own = suspects(trainer.train_dataloader, [bool(loss.isfinite()) for loss in self.losses])
        names = [trainer.strategy.broadcast(own, src=rank) for rank in range(trainer.world_size)]
        # Of the processes that know which of their batches it was; else of all.
        sure = [name for is_sure, found in names if is_sure for name in found]
        clips = sure or [name for _, found in names for name in found]
        file = Path(trainer.default_root_dir) / "suspect_clips.txt"
        if trainer.is_global_zero:
            with suppress(OSError), file.open("a") as lines:  # the sentence matters more than the file
                lines.writelines(f"step {step}: {name}\n" for name in clips)
        more = f" and {len(clips) - SHOWN} more" if len(clips) > SHOWN else ""
        return f"; clips of that step, listed in {file}: {', '.join(clips[:SHOWN])}{more}"

    def check_converged(self, out: Path) -> None:
        """Raise UserError for a finished run that is worth nothing, before it is exported."""
        # The least of the first, since a rate that is far too high shows itself within a few steps.
        begin = min(self.first, default=0.0)
        end = statistics.median(self.last[-END:] or [0.0])
        grown = self.norm / max(self.begin_norm, LEAST_NORM)
        says = [
            (end > MOST_LOSS * max(begin, LEAST_LOSS), f"its loss went from {begin:.4g} to {end:.4g}"),
            (grown > MOST_GROWTH, f"the norm of its weights is {grown:.2g} times that of the beginning"),
        ]
        reasons = [text for holds, text in says if holds]
        require(
            not reasons,
            f"{out}: the run diverged ({'; '.join(reasons)}), so it is not exported; its checkpoints stay; "
            "lower model.optim.lr, and train in another --out",
        )


def trained(stage: L.LightningModule) -> list[Tensor]:
    return [parameter for parameter in stage.parameters() if parameter.requires_grad]


def suspects(loader: ResumableLoader, finite: Sequence[bool]) -> tuple[bool, list[str]]:
    """The clips of this process's last batches whose loss is not finite, and True; else all, and False.

    finite: Of each batch of the step, whether its loss is.
    """
    numbers = [loader.batch_sampler.consumed - len(finite) + i for i in range(len(finite))]
    broken = [number for number, is_finite in zip(numbers, finite, strict=True) if not is_finite]
    samples = [k for number in broken or numbers for k in loader.batch_sampler.batch_at(number)]
    return bool(broken), [sample_name(loader.dataset, k) for k in samples]


def sample_name(samples: Dataset, k: int) -> str:
    """The file of a training clip, and its segment if it is one; the number of any other sample."""
    samples = samples.clips if isinstance(samples, WithImages) else samples
    if not isinstance(samples, TrainingClips):
        return f"sample {k}"

    def path(source: int, row: int, generator: np.random.Generator) -> str:
        samples.read(source, row, generator)  # raises DecodeError for a row that another one replaced
        found = samples.manifests[source].row(row)
        segment = "" if found.start is None else f" from {found.start:g} s"
        return f"{found.path}{segment}"

    return draw_sample(samples.mixture, k, path)[0] or f"sample {k}"
