"""Loggers of a run: TensorBoard in its folder, and tables that a second start does not delete."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from torch.utils.tensorboard.writer import FileWriter, SummaryWriter

from vjepa.weights.checkpoints import step_of

PAUSE = 60.0
"""Seconds between two tries to write curves that could not be written."""


def usual_logger(out: Path, resumed: Path | None) -> "Curves":
    """The logger of a recipe without one, for a run that continues from a checkpoint, if there is one."""
    # After a kill, TensorBoard may hold steps that the newest checkpoint does not.
    step = step_of(resumed) + 1 if resumed else None
    return Curves(out, name="", version="", default_hp_metric=False, purge_step=step)


class Curves(TensorBoardLogger):
    """TensorBoard's logger. A disk that is full costs curves, and does not end the run."""

    @property
    def experiment(self) -> SummaryWriter:
        writer = super().experiment
        # Other processes than the first have a stand-in that does nothing; a closed writer has no file.
        if isinstance(writer, SummaryWriter) and type(writer.file_writer) is FileWriter:
            writer.file_writer = LastingEvents(writer.file_writer)
            writer.all_writers = {writer.file_writer.get_logdir(): writer.file_writer}
        return writer


class LastingEvents(FileWriter):
    """Writes events in the place of another writer. What cannot be written is left out, with a warning."""

    def __init__(self, other: FileWriter) -> None:
        self.event_writer = other.event_writer
        self.next_try: float | None = None
        """When to open another file; None while all is well."""

    def add_event(self, event: Any, step: int | None = None, walltime: float | None = None) -> None:
        with self.losses_allowed():
            is_due = self.next_try is not None and time.monotonic() >= self.next_try
            if is_due and Path(self.get_logdir()).is_dir():  # a run's folder that is gone is not made anew
                # Another file, since the last record of the first one may be torn.
                self.event_writer = EventFileWriter(self.get_logdir())
                self.next_try = None
            super().add_event(event, step, walltime)

    def flush(self) -> None:
        with self.losses_allowed():
            super().flush()

    def close(self) -> None:
        with self.losses_allowed():
            super().close()

    @contextmanager
    def losses_allowed(self) -> Iterator[None]:
        """Warn, once for each time that the disk is full, and go on."""
        try:
            yield
        except OSError as error:
            now = time.monotonic()
            if self.next_try is None:
                print(
                    f"warning: {self.get_logdir()}: the curves of TensorBoard cannot be written "
                    f"({error.strerror}); the run goes on, and tries again every minute",
                    file=sys.stderr,
                )
            if self.next_try is None or now >= self.next_try:
                self.next_try = now + PAUSE


def keep_earlier_tables(trainer: L.Trainer) -> None:
    """Rename the tables of an earlier start, which Lightning's CSVLogger deletes, and say so."""
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        table = Path(logger.log_dir) / "metrics.csv" if isinstance(logger, CSVLogger) else None
        if table and table.exists():
            kept = next(name for number in range(1, 10**6) if not (name := numbered(table, number)).exists())
            table.rename(kept)
            print(f"{table} is of an earlier start, and is {kept} now")


def numbered(table: Path, number: int) -> Path:
    return table.with_name(f"metrics.{number}.csv")
