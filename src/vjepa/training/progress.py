"""One line of progress for every stage: `step 412/2000  0:51 left  loss 0.57`.

A terminal shows one line that changes. A file or a pipe, such as the log of a CI job, gets a new line at
every tenth of the run, and at least every ten minutes.
"""

import math
import shutil
import sys
import time
from io import StringIO

from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from vjepa.training.monitors import completes_step
from vjepa.training.step_timer import StepTimer, clock

SLOW_DATA = 0.1
"""Share of waiting for data from which the line shows it."""
TENTH = 0.1
"""Share of the run, or of an evaluation, between two lines in a log."""
QUIET_SECONDS = 10.0
"""Shortest time between two lines in a log."""
LONGEST_SILENCE = 600.0
"""Longest time between two lines in a log, in seconds."""


class StepProgress(ProgressBar):
    """Shows steps while training, and batches while validating and testing."""

    def __init__(self) -> None:
        super().__init__()
        self.is_enabled = True
        self.timer = StepTimer()
        self.line: Line | None = None

    def disable(self) -> None:
        self.is_enabled = False

    def enable(self) -> None:
        self.is_enabled = True

    def print(self, *values: object, **settings: object) -> None:
        """Print above the line that changes."""
        with tqdm.external_write_mode(file=sys.stdout):
            print(*values, **settings)

    def on_train_start(self, trainer, stage) -> None:
        self.total = trainer.estimated_stepping_batches
        self.pauses = 0.0
        self.text = ""
        self.first = trainer.global_step
        self.timer.restart(trainer.train_dataloader.waited)
        self.line = Line(self.is_enabled)
        if self.line.changes:  # the first step may take long
            self.line.show(f"step {self.first}/{self.total}", 0.0)

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        if not completes_step(trainer, batch_idx):
            return
        self.timer.tick(trainer.train_dataloader.waited)
        step = trainer.global_step
        share = step / self.total
        if self.line.is_due(share) or step == self.total:
            # Lightning divides the loss by the number of accumulated batches before callbacks see it.
            loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
            # A stage of many heads adds up their losses; the mean can be compared with that of one head.
            loss /= getattr(stage, "summed_losses", 1)
            self.text = self.training_line(step, loss)
            self.line.show(self.text, share)

    def training_line(self, step: int, loss: float) -> str:
        """What is shown after `step` steps."""
        parts = [f"step {step}/{self.total}", f"{clock(self.seconds_left(step))} left", f"loss {loss:.3g}"]
        if math.isinf(self.total):
            parts[:2] = [f"step {step}"]
        if self.timer.wait_share > SLOW_DATA:
            parts.append(f"waiting for data {self.timer.wait_share:.0%} of the time")
        return "  ".join(parts)

    def seconds_left(self, step: int) -> float:
        """From the recent steps, and from the time that validation has taken so far."""
        pause = self.pauses / max(step - self.first, 1)
        return (self.total - step) * (self.timer.seconds + pause) if math.isfinite(self.total) else math.inf

    def on_train_end(self, trainer, stage) -> None:
        self.line.close()
        self.line = None

    def on_exception(self, trainer, stage, exception) -> None:
        if self.line:
            self.line.close()

    def on_validation_start(self, trainer, stage) -> None:
        self.begin_evaluation(trainer.num_val_batches)

    def on_validation_batch_end(self, trainer, stage, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.count_batch("validation")

    def on_validation_end(self, trainer, stage) -> None:
        self.end_evaluation()
        if trainer.training:
            self.line.restore(self.text)
            self.pauses += time.perf_counter() - self.began
            self.timer.restart(trainer.train_dataloader.waited)

    def on_test_start(self, trainer, stage) -> None:
        self.begin_evaluation(trainer.num_test_batches)

    def on_test_batch_end(self, trainer, stage, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.count_batch("test")

    def on_test_end(self, trainer, stage) -> None:
        self.end_evaluation()

    def begin_evaluation(self, batches: list[int | float]) -> None:
        """Count batches from 0. batches: how many each loader has."""
        self.began = time.perf_counter()
        self.batches = sum(batches)
        self.batch = 0
        # While training there is a line already.
        self.owns_line = self.line is None
        self.line = self.line or Line(self.is_enabled)

    def count_batch(self, phase: str) -> None:
        self.batch += 1
        share = self.batch / self.batches
        if self.line.is_due(share):
            left = (time.perf_counter() - self.began) * (1 / share - 1)
            self.line.show(f"{phase} {self.batch}/{self.batches}  {clock(left)} left", share)

    def end_evaluation(self) -> None:
        if self.owns_line:
            self.line.close()
            self.line = None


class Line:
    """A line that changes on a terminal, or now and then a new line in a log."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.changes = sys.stderr.isatty()
        # tqdm erases the line where something else is printed, and cuts what is wider than the terminal.
        place = sys.stderr if enabled and self.changes else StringIO()
        self.bar = tqdm(bar_format="{desc}", file=place, ncols=shutil.get_terminal_size().columns)
        self.shown_at = time.perf_counter()
        self.shown_share = 0.0

    def is_due(self, share: float | int) -> bool:
        """Whether to show the line now. share: of the run or of the evaluation that is done."""
        if not self.enabled:
            return False
        silence = time.perf_counter() - self.shown_at
        if self.changes:
            return silence >= self.bar.mininterval
        # The share falls where a validation begins, or the training goes on.
        moved = abs(share - self.shown_share) >= TENTH
        return silence >= LONGEST_SILENCE or (silence >= QUIET_SECONDS and moved)

    def show(self, text: str, share: float | int) -> None:
        if self.enabled and self.changes:
            self.bar.set_description_str(text)
        elif self.enabled:
            print(text, file=sys.stderr, flush=True)
        self.shown_at = time.perf_counter()
        self.shown_share = share

    def restore(self, text: str) -> None:
        """Show again, on a terminal, what an evaluation has replaced."""
        if self.enabled and self.changes:
            self.bar.set_description_str(text)

    def close(self) -> None:
        self.bar.close()
