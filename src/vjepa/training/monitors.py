"""What a run tells about itself in TensorBoard: optimiser, speed, data health, collapse, read-outs."""

import signal
import time
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from vjepa.data.clips import Batch
from vjepa.data.loader import GRACE
from vjepa.errors import DataError


def due(trainer: L.Trainer, steps: int) -> bool:
    """Whether the state after so many steps is logged: the first, and then every `log_every_n_steps`."""
    return steps == 1 or steps % trainer.log_every_n_steps == 0


def write(trainer: L.Trainer, values: dict[str, float | Tensor], steps: int) -> None:
    """Past Lightning's own bookkeeping, which would leave out the first step."""
    for logger in trainer.loggers:
        logger.log_metrics({name: float(value) for name, value in values.items()}, step=steps)


def ends_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether this micro-batch was the last of its optimiser step, and that step is logged."""
    whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
    return whole and due(trainer, trainer.global_step)


class OptimizerMonitor(L.Callback):
    """Learning rate, weight decay, gradient norm."""

    def on_fit_start(self, trainer, stage) -> None:
        steps, lr = int(trainer.estimated_stepping_batches), stage.optim.lr
        if trainer.is_global_zero and steps < lr.warmup + lr.decay:
            print(
                f"note: optim.lr warms up over {lr.warmup} and decays over {lr.decay} steps, but the run has only {steps}"
            )

    def on_before_optimizer_step(self, trainer, stage, optimizer) -> None:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        if trainer.scaler is None and not torch.isfinite(
            norm
        ):  # every step, before it can reach a checkpoint
            raise DataError(
                f"the gradient at step {trainer.global_step + 1} is {norm}; lower optim.lr, set trainer.gradient_clip_val, "
                "or look at train/loss in TensorBoard for where it began"
            )
        if not due(trainer, trainer.global_step + 1):
            return
        matrices = optimizer.param_groups[0]
        values = {
            "optim/grad_norm": norm,
            "optim/lr": matrices["lr"],
            "optim/weight_decay": matrices["weight_decay"],
        }
        write(trainer, values, trainer.global_step + 1)


class SpeedMonitor(L.Callback):
    """Clips per second over all devices, and the share of time spent waiting for data, since the last logged step."""

    def on_train_start(self, trainer, stage) -> None:
        self.restart(trainer)

    def restart(self, trainer: L.Trainer) -> None:
        self.since, self.clips, self.waited = time.perf_counter(), 0, trainer.train_dataloader.waited

    def on_train_batch_end(self, trainer, stage, outputs, batch: Batch, batch_idx) -> None:
        self.clips += len(batch.clip)
        if not ends_step(trainer, batch_idx):
            return
        elapsed, waited = time.perf_counter() - self.since, trainer.train_dataloader.waited - self.waited
        rate = self.clips * trainer.world_size / elapsed
        write(
            trainer,
            {"speed/clips_per_s": rate, "speed/data_wait_share": waited / elapsed},
            trainer.global_step,
        )
        self.restart(trainer)

    def on_validation_end(self, trainer, stage) -> None:
        if trainer.training:  # the time of a validation belongs to nobody
            self.restart(trainer)


class DataHealth(L.Callback):
    """Counts files that could not be decoded, names them in `bad_files.txt`, and stops when they are too many."""

    def __init__(self, out: Path) -> None:
        self.file = out / "bad_files.txt"
        self.draws = self.failed = self.excluded = 0
        self.named: set[str] = set()

    def state_dict(self) -> dict[str, int]:
        return {"draws": self.draws, "failed": self.failed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.draws, self.failed = state["draws"], state["failed"]

    def on_train_batch_start(self, trainer, stage, batch: Batch, batch_idx) -> None:
        self.draws += len(batch.clip) + len(batch.bad)
        self.failed += len(batch.bad)
        self.write_down(batch.bad)
        if due(trainer, trainer.global_step + 1):
            write(trainer, {"data/bad_draws": float(self.failed)}, trainer.global_step + 1)
        limit = trainer.datamodule.max_bad_share
        if batch.lost:
            raise DataError(
                f"several draws in a row could not be decoded, listed in {self.file}, the last: {batch.bad[-1]}"
            )
        if self.failed > limit * max(self.draws, GRACE):
            raise DataError(
                f"{self.failed} of {self.draws} draws could not be decoded, more than data.max_bad_share={limit}; they are "
                f"listed in {self.file}, the last: {batch.bad[-1]}"
            )

    def on_validation_batch_start(self, trainer, stage, batch: Batch, batch_idx, dataloader_idx=0) -> None:
        self.excluded += batch.lost
        self.write_down([] if trainer.sanity_checking else batch.bad)

    def on_test_batch_start(self, trainer, stage, batch: Batch, batch_idx, dataloader_idx=0) -> None:
        self.on_validation_batch_start(trainer, stage, batch, batch_idx)

    def on_validation_end(self, trainer, stage) -> None:
        if self.excluded and not trainer.sanity_checking:
            print(
                f"{self.excluded} clips could not be decoded and are left out of the score; see {self.file}"
            )
        self.excluded = 0

    def on_test_end(self, trainer, stage) -> None:
        self.on_validation_end(trainer, stage)

    def write_down(self, bad: list[str]) -> None:
        new = set(bad) - self.named
        if new:
            self.named |= new
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a") as file:
                file.writelines(reason + "\n" for reason in sorted(new))


class StopOnSignal(L.Callback):
    """Ctrl-C or SIGTERM (a spot machine, a scheduler) ends the run after its current step, with a checkpoint of that step."""

    def __init__(self, out: Path) -> None:
        self.folder, self.asked = out / "checkpoints", False

    def on_train_start(self, trainer, stage) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.ask)

    def ask(self, number: int, frame: object) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        self.asked = True

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if not (whole_step and trainer.strategy.reduce_boolean_decision(self.asked, all=False)):
            return
        trainer.save_checkpoint(self.folder / f"step={trainer.global_step}.ckpt", weights_only=False)
        trainer.should_stop = True
