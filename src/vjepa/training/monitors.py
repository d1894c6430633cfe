"""Monitors of every run: optimiser, speed and bad files in TensorBoard, and a clean end on a signal."""

import signal
import time
from collections.abc import Mapping
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from vjepa.data.clips import Batch
from vjepa.data.module import too_many_bad
from vjepa.errors import DataError, counted


def is_logged(trainer: L.Trainer, steps: int) -> bool:
    """Whether the state after so many steps is logged: the first, and then every `log_every_n_steps`."""
    return steps == 1 or steps % trainer.log_every_n_steps == 0


def completes_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether this batch is the last that its optimiser step accumulates."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def completes_logged_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether this batch is the last of its optimiser step, and that step is logged."""
    return completes_step(trainer, batch_idx) and is_logged(trainer, trainer.global_step)


def write(trainer: L.Trainer, values: Mapping[str, float | Tensor], steps: int) -> None:
    """Log without Lightning's own bookkeeping, which would leave out the first step."""
    for logger in trainer.loggers:
        logger.log_metrics({name: float(value) for name, value in values.items()}, step=steps)


class OptimizerMonitor(L.Callback):
    """Logs learning rate, weight decay and gradient norm. Raises DataError if the gradient is not finite."""

    def on_fit_start(self, trainer, stage) -> None:
        steps = int(trainer.estimated_stepping_batches)
        lr = stage.optim.lr
        if trainer.is_global_zero and steps < lr.warmup + lr.decay:
            ramps = f"optim.lr warms up over {lr.warmup} and decays over {lr.decay} steps"
            settings = [f"--model.optim.lr.{name}" for name in ("warmup", "decay") if getattr(lr, name)]
            print(f"note: {ramps}, but the run has only {steps}; lower {' and '.join(settings)}")

    def on_before_optimizer_step(self, trainer, stage, optimizer) -> None:
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        norm = torch.nn.utils.get_total_norm(gradients)  # before clipping, which Lightning does next
        step = trainer.global_step + 1

        # Checked at every step, before weights reach a checkpoint. A gradient scaler skips such steps itself.
        if trainer.scaler is None and not torch.isfinite(norm):
            raise DataError(
                f"the gradient at step {step} is {norm}; lower optim.lr, set trainer.gradient_clip_val, "
                "or look at train/loss in TensorBoard for where it began"
            )
        if not is_logged(trainer, step):
            return
        # Group 1 holds the vectors, whose weight decay is always 0.
        matrices = optimizer.param_groups[0]
        values = {
            "optim/grad_norm": norm,
            "optim/lr": matrices["lr"],
            "optim/weight_decay": matrices["weight_decay"],
        }
        write(trainer, values, step)


class SpeedMonitor(L.Callback):
    """Logs clips per second over all devices, and the share of time spent waiting for data."""

    def on_train_start(self, trainer, stage) -> None:
        self.restart(trainer)

    def restart(self, trainer: L.Trainer) -> None:
        self.since = time.perf_counter()
        self.clips = 0
        self.waited = trainer.train_dataloader.waited

    def on_train_batch_end(self, trainer, stage, outputs, batch: Batch, batch_idx) -> None:
        # Of this device: the other ones are assumed to be as fast.
        self.clips += len(batch.clip)
        if not completes_logged_step(trainer, batch_idx):
            return
        elapsed = time.perf_counter() - self.since
        waited = trainer.train_dataloader.waited - self.waited
        values = {
            "speed/clips_per_s": self.clips * trainer.world_size / elapsed,
            "speed/data_wait_share": waited / elapsed,
        }
        write(trainer, values, trainer.global_step)
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
        self.excluded = 0
        # What an interrupted run has listed is not listed again.
        self.named = set(self.file.read_text().splitlines()) if self.file.exists() else set()

    def state_dict(self) -> dict[str, int]:
        # A resumed run goes on counting, so that the share of bad files is that of the whole run.
        return {"draws": self.draws, "failed": self.failed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.draws = state["draws"]
        self.failed = state["failed"]

    def on_train_batch_start(self, trainer, stage, batch: Batch, batch_idx) -> None:
        # Every failed draw was replaced by another draw, so both count.
        self.draws += len(batch.clip) + len(batch.bad)
        self.failed += len(batch.bad)
        self.write_down(batch.bad)
        if is_logged(trainer, trainer.global_step + 1):
            write(trainer, {"data/bad_draws": float(self.failed)}, trainer.global_step + 1)
        self.check_share(batch, trainer.datamodule.max_bad_share)

    def check_share(self, batch: Batch, limit: float) -> None:
        """Raise DataError if a clip of the batch has no replacement, or too many of all draws failed."""
        if batch.lost:
            raise DataError(
                f"several draws in a row could not be decoded, listed in {self.file}, "
                f"the last: {batch.bad[-1]}"
            )
        if too_many_bad(self.failed, self.draws, limit):
            raise DataError(
                f"{self.failed} of {self.draws} draws could not be decoded, more than "
                f"data.max_bad_share={limit}; they are listed in {self.file}, the last: {batch.bad[-1]}"
            )

    def on_validation_batch_start(self, trainer, stage, batch: Batch, batch_idx, dataloader_idx=0) -> None:
        self.excluded += batch.lost
        # A sanity check names no files: the first validation reads the same ones again.
        self.write_down([] if trainer.sanity_checking else batch.bad)

    def on_test_batch_start(self, trainer, stage, batch: Batch, batch_idx, dataloader_idx=0) -> None:
        self.on_validation_batch_start(trainer, stage, batch, batch_idx)

    def on_validation_end(self, trainer, stage) -> None:
        if self.excluded and not trainer.sanity_checking:
            lost = counted(self.excluded, "clip")
            print(f"{lost} could not be decoded, which the score leaves out; see {self.file}")
        self.excluded = 0

    def on_test_end(self, trainer, stage) -> None:
        self.on_validation_end(trainer, stage)

    def on_train_end(self, trainer, stage) -> None:
        counts = torch.tensor([self.failed, self.draws], device=stage.device)
        failed, draws = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        left_out = [f"{failed:,} of {draws:,} draws, listed in {self.file}"] if failed else []
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


class StopOnSignal(L.Callback):
    """Ends the run after its current step, with a checkpoint, on Ctrl-C or SIGTERM (sent by schedulers)."""

    def __init__(self, out: Path) -> None:
        self.folder = out / "checkpoints"
        self.requested = False

    def on_train_start(self, trainer, stage) -> None:
        # Lightning has registered its own handlers by now, and these replace them.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.request_stop)

    def request_stop(self, number: int, frame: object) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        self.requested = True

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        # The signal may have reached one process alone, but all must save together, after a whole step.
        if not completes_step(trainer, batch_idx):
            return
        if trainer.strategy.reduce_boolean_decision(self.requested, all=False):
            checkpoint = self.folder / f"step={trainer.global_step}.ckpt"
            trainer.save_checkpoint(checkpoint, weights_only=False)
            trainer.should_stop = True
