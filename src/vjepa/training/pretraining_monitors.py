"""Pretraining monitors."""

import lightning as L
import torch
from jaxtyping import Int
from torch import Tensor

from vjepa.data.clips import ClipConfig
from vjepa.evaluation import collapse as metrics
from vjepa.evaluation.readouts import ReadOutConfig, labelled_clips, read_out
from vjepa.models.grid import Grid
from vjepa.objectives import ema
from vjepa.objectives.masks import View
from vjepa.training.monitors import ends_step, write


class CollapseMonitor(L.Callback):
    """Whether the target's features still tell tokens apart, from the first step on."""

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        if not ends_step(trainer, batch_idx):
            return
        target = outputs["target"]
        values = {
            "train/loss": outputs["l1"],
            "collapse/feature_std": metrics.feature_std(target),
            "collapse/effective_rank": metrics.effective_rank(target),
            "collapse/token_cosine": metrics.token_cosine(target),
            "collapse/loss_over_mean": outputs["l1"] / metrics.mean_baseline(target),
            "optim/ema_momentum": stage.momentum.at(trainer.global_step, stage.total_steps),
            "collapse/target_context_l1": outputs["gap"],
            "collapse/target_weights_rms": ema.distance(stage.target, stage.encoder),
        }
        write(trainer, values, trainer.global_step)


class ReadOut(L.Callback):
    """Read-outs of the target encoder while it trains, from step 0 (a random encoder) on: what the loss cannot tell."""

    def __init__(
        self,
        train: str,
        val: str,
        clip: ClipConfig,
        every: int = 100,
        limit: int = 400,
        readout: ReadOutConfig = ReadOutConfig(),
    ) -> None:
        """
        Args:
            train: Labelled manifest to fit the read-outs on.
            val: Labelled manifest to score them on.
            clip: What one clip is.
            every: Steps between two read-outs.
            limit: Most clips of either manifest that are used, evenly spread.
            readout: What is read, and how.
        """
        self.train, self.val, self.clip = train, val, clip
        self.every, self.limit, self.readout = every, limit, readout

    def on_fit_start(self, trainer, stage) -> None:
        columns = (*self.readout.classes, *self.readout.numbers)
        self.fitted = labelled_clips(self.train, self.clip, self.limit, columns)
        self.scored = labelled_clips(self.val, self.clip, self.limit, columns)

    def on_train_batch_start(self, trainer, stage, batch, batch_idx) -> None:
        first_micro_batch = batch_idx % trainer.accumulate_grad_batches == 0
        if first_micro_batch and trainer.global_step % self.every == 0:
            self.read(trainer, stage)

    def on_train_end(self, trainer, stage) -> None:
        self.read(trainer, stage)

    def read(self, trainer: L.Trainer, stage: L.LightningModule) -> None:
        if trainer.is_global_zero:
            found = read_out(stage.target, self.fitted, self.scored, self.readout)
            write(trainer, {f"readout/{name}": value for name, value in found.items()}, trainer.global_step)


class LossByDistance(L.Callback):
    """Validation loss by how many time steps of the grid lie between a predicted token and the nearest kept one of its clip:
    what is seen at the same moment (0) is filled in, what is not is foreseen."""

    def on_validation_start(self, trainer, stage) -> None:
        self.sums: dict[int, list[float]] = {}

    def on_validation_batch_end(self, trainer, stage, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        for view, error in (outputs or {}).get("errors", ()):
            distance = time_distance(view, outputs["grid"])
            for step in distance.unique().tolist():
                found = error[distance == step]
                total = self.sums.setdefault(step, [0.0, 0.0])
                total[0] += float(found.sum())
                total[1] += found.numel()

    def on_validation_end(self, trainer, stage) -> None:
        if not trainer.sanity_checking:
            means = {
                f"val/loss_{step}_steps_from_kept": error / count
                for step, (error, count) in sorted(self.sums.items())
            }
            write(trainer, means, trainer.global_step)


def time_distance(view: View, grid: Grid) -> Int[Tensor, "b m"]:
    """Time steps between each dropped token and the nearest moment of which its clip keeps any token."""
    times = torch.arange(grid[0], device=view.keep.device)
    kept = (view.keep // (grid[1] * grid[2]))[..., None] == times
    to_kept = (
        (times[:, None] - times).abs().float().masked_fill(~kept.any(dim=1)[:, None], torch.inf).amin(dim=-1)
    )
    return to_kept.long().gather(1, view.drop // (grid[1] * grid[2]))
