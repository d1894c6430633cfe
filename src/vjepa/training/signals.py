"""What a signal does to a training run: save after the current step, on all devices, and end.

| signal | sent by | exit status |
|---|---|---|
| SIGUSR1 | a scheduler, before the time of a job is up; also `trainer.max_time` | 75: start the same again |
| SIGTERM | a scheduler, or `kill` | 143 |
| SIGINT | Ctrl-C | 130 |

A second signal, more than a second later, ends the run at once. So does the first one before training begins
and in the test, where there is nothing to save.
"""

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies.launchers import subprocess_script

from vjepa.training.kept_checkpoints import save_now
from vjepa.training.monitors import completes_step
from vjepa.training.run_folder import RunFolder
from vjepa.training.watch import Stopped, Watch


class NoSignals:
    """In place of Lightning's own handlers, which save inside a step or wait for other processes."""

    received_sigterm = False

    def register_signal_handlers(self) -> None:
        pass

    def teardown(self) -> None:
        pass


def take_over(trainer: L.Trainer, watch: Watch) -> None:
    """Let the watch hear signals and look after processes, and not Lightning."""
    trainer._signal_connector = NoSignals()
    # Lightning's thread would end this process by SIGKILL, without a word, when another one has ended.
    subprocess_script._launch_process_observer = lambda processes: None
    watch.trainer = trainer


class StopOnSignal(Checkpoint):
    """Saves a checkpoint and ends the run, on all devices at the same step, if one of them got a signal.

    Lightning calls a Checkpoint after all other callbacks, whose states then know of the step.
    """

    def __init__(self, out: Path, watch: Watch) -> None:
        """
        Args:
            out: Folder of the run.
            watch: What hears the signals.
        """
        self.folder = RunFolder(out)
        self.watch = watch

    def setup(self, trainer, network, stage: str) -> None:
        self.watch.timeout = trainer.datamodule.timeout

    def on_train_start(self, trainer, stage) -> None:
        self.watch.defers = True

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        # All must save together, after a whole step.
        if completes_step(trainer, batch_idx) and self.is_requested(trainer):
            # Lightning's own way to stop validates once more, and counts the epoch as a whole one.
            raise self.saved(trainer)

    def on_validation_start(self, trainer, stage) -> None:
        # Devices may have one batch more or less, and all must ask each other equally often.
        batches = torch.tensor(sum(trainer.num_val_batches), device=stage.device)
        self.batches = int(trainer.strategy.reduce(batches, reduce_op="min"))

    def on_validation_batch_end(self, trainer, stage, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        # A validation may take an hour. The step before it is whole.
        self.batches -= 1
        if self.watch.defers and self.batches >= 0 and self.is_requested(trainer):
            raise self.saved(trainer)

    def on_test_start(self, trainer, stage) -> None:
        # The last checkpoint is kept by now.
        self.watch.release()

    def on_exception(self, trainer, stage, exception) -> None:
        if trainer.world_size > 1 and not isinstance(exception, Stopped):
            self.watch.leave(exception)

    def is_requested(self, trainer: L.Trainer) -> bool:
        """Whether any of the devices got a signal."""
        number = torch.tensor(self.watch.requested, device=trainer.strategy.root_device)
        number = int(trainer.strategy.reduce(number, reduce_op="max"))
        if number:
            self.watch.request(number)
        return bool(number)

    def saved(self, trainer: L.Trainer) -> Stopped:
        """Save a checkpoint of this step. What ends the run is returned."""
        step = trainer.global_step
        save_now(trainer, self.folder.checkpoint(step))
        return Stopped(
            self.watch.requested, f"stopped after step {step}; the same command continues from there"
        )
