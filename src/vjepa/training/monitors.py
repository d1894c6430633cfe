"""Monitors of every run: optimiser, speed and bad files in TensorBoard."""

import time
from collections.abc import Mapping
from pathlib import Path

import lightning as L
from torch import Tensor

from vjepa.data.means import sum_over_devices
from vjepa.data.module import too_many_bad
from vjepa.errors import DataError, counted
from vjepa.training.optim import norm_of


def is_logged(trainer: L.Trainer, steps: int) -> bool:
    """Whether the state after so many steps is logged: the first, and then every `log_every_n_steps`."""
    return steps == 1 or steps % trainer.log_every_n_steps == 0


def completes_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether this batch is the last that its optimiser step accumulates."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def completes_logged_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether this batch is the last of its optimiser step, and that step is logged."""
    return completes_step(trainer, batch_idx) and is_logged(trainer, trainer.global_step)


def mean_over_devices(trainer: L.Trainer, values: Mapping[str, float | int | Tensor]) -> dict[str, float]:
    """Each value averaged over all devices. Every process has to call it."""
    sums = sum_over_devices(trainer.strategy, values.values())
    return {name: total / trainer.world_size for name, total in zip(values, sums, strict=True)}


def write(trainer: L.Trainer, values: Mapping[str, float | Tensor], steps: int) -> None:
    """Log without Lightning's own bookkeeping, which would leave out the first step.

    What the first process gives is logged; `mean_over_devices` makes it that of all.
    """
    for logger in trainer.loggers:
        logger.log_metrics({name: float(value) for name, value in values.items()}, step=steps)


class OptimizerMonitor(L.Callback):
    """Logs learning rate, weight decay and gradient norm."""

    def on_train_start(self, trainer, stage) -> None:
        steps = int(trainer.estimated_stepping_batches)
        lr = stage.optim.lr
        if trainer.is_global_zero and steps < lr.warmup + lr.decay:
            ramps = f"model.optim.lr warms up over {lr.warmup} and decays over {lr.decay} steps"
            settings = [f"--model.optim.lr.{name}" for name in ("warmup", "decay") if getattr(lr, name)]
            print(f"note: {ramps}, but the run has only {steps}; lower {' and '.join(settings)}")

    def on_before_optimizer_step(self, trainer, stage, optimizer) -> None:
        step = trainer.global_step + 1
        if not is_logged(trainer, step):
            return
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        norm = norm_of(gradients)  # before clipping, which Lightning does next
        # Group 1 holds the vectors, whose weight decay is always 0.
        matrices = optimizer.param_groups[0]
        values = {
            "optim/grad_norm": norm,
            "optim/lr": matrices["lr"],
            "optim/weight_decay": matrices["weight_decay"],
        }
        write(trainer, values, step)


class SpeedMonitor(L.Callback):
    """Logs clips per second of all devices together, and their mean share of time spent waiting for data."""

    def on_train_start(self, trainer, stage) -> None:
        self.restart(trainer)

    def restart(self, trainer: L.Trainer) -> None:
        self.since = time.perf_counter()
        self.clips = 0
        self.waited = trainer.train_dataloader.waited

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        self.clips += len(batch.clip)
        if not completes_logged_step(trainer, batch_idx):
            return
        elapsed = time.perf_counter() - self.since
        waited = trainer.train_dataloader.waited - self.waited
        values = {"speed/clips_per_s": self.clips / elapsed, "speed/data_wait_share": waited / elapsed}
        means = mean_over_devices(trainer, values)
        means["speed/clips_per_s"] *= trainer.world_size
        write(trainer, means, trainer.global_step)
        self.restart(trainer)

    def on_validation_end(self, trainer, stage) -> None:
        if trainer.training:  # the time of a validation does not count
            self.restart(trainer)


class DataHealth(L.Callback):
    """Counts files that cannot be decoded, lists them in `bad_files.txt`, and stops if they are too many.

    At the end of a run, also of one that was interrupted, a line says how much was left out.
    """

    def __init__(self, out: Path) -> None:
        self.file = out / "bad_files.txt"
        self.episodes = out / "left_out_episodes.txt"  # which robot data write
        self.draws = 0
        self.failed = 0
        # Of this device and this step. They are added up over devices when the step is complete, so that a
        # checkpoint holds the counts of all devices, and a resumed run goes on with them on any number.
        self.pending = [0, 0]
        self.last = ""
        self.excluded = 0
        # What an interrupted run has listed is not listed again.
        self.named = set(self.file.read_text().splitlines()) if self.file.exists() else set()

    def state_dict(self) -> dict[str, int]:
        # A resumed run goes on counting, so that the share of bad files is that of the whole run.
        return {"draws": self.draws, "failed": self.failed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.draws = state["draws"]
        self.failed = state["failed"]

    def on_train_batch_start(self, trainer, stage, batch, batch_idx) -> None:
        self.write_down(batch.bad)
        if batch.lost:
            raise DataError(
                f"several draws in a row could not be decoded, listed in {self.file}, "
                f"the last: {batch.bad[-1]}"
            )
        # Every failed draw was replaced by another draw, so both count; images are draws too.
        images = getattr(batch, "images", None)
        self.pending[0] += len(batch.index) + len(batch.bad) + (0 if images is None else len(images))
        self.pending[1] += len(batch.bad)
        self.last = f", the last: {batch.bad[-1]}" if batch.bad else self.last

    def on_before_optimizer_step(self, trainer, stage, optimizer) -> None:
        """Add up the counts of all devices. Raises DataError on each of them if too many draws failed."""
        draws, failed = map(int, sum_over_devices(trainer.strategy, self.pending))
        self.pending = [0, 0]
        self.draws += draws
        self.failed += failed
        if is_logged(trainer, trainer.global_step + 1):
            write(trainer, {"data/bad_draws": float(self.failed)}, trainer.global_step + 1)

        limit = trainer.datamodule.max_bad_share
        if too_many_bad(self.failed, self.draws, limit):
            raise DataError(
                f"{self.failed} of {self.draws} draws could not be decoded, more than "
                f"data.max_bad_share={limit}; they are listed in {self.file}{self.last}"
            )

    def on_validation_batch_start(self, trainer, stage, batch, batch_idx, dataloader_idx=0) -> None:
        self.excluded += batch.lost
        # A sanity check names no files: the first validation reads the same ones again.
        self.write_down([] if trainer.sanity_checking else batch.bad)

    def on_test_batch_start(self, trainer, stage, batch, batch_idx, dataloader_idx=0) -> None:
        self.on_validation_batch_start(trainer, stage, batch, batch_idx)

    def on_validation_end(self, trainer, stage) -> None:
        [excluded] = sum_over_devices(trainer.strategy, [self.excluded])
        self.excluded = 0
        if excluded and not trainer.sanity_checking:
            lost = counted(int(excluded), "clip")
            stage.print(f"{lost} could not be decoded, which the score leaves out; see {self.file}")

    def on_test_end(self, trainer, stage) -> None:
        self.on_validation_end(trainer, stage)

    def on_train_end(self, trainer, stage) -> None:
        draws = f"{self.failed:,} of {self.draws:,} draws, listed in {self.file}"
        left_out = [draws] if self.failed else []
        if self.episodes.exists():
            episodes = len(self.episodes.read_text().splitlines())
            left_out.append(f"{counted(episodes, 'episode')}, listed in {self.episodes}")
        if left_out:
            stage.print(f"left out: {'; '.join(left_out)}")

    def write_down(self, bad: list[str]) -> None:
        """Append the reasons that this process has not written yet."""
        new = set(bad) - self.named
        if not new:
            return
        self.named |= new
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as file:
            file.writelines(reason + "\n" for reason in sorted(new))
