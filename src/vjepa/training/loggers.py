"""Loggers of a run: TensorBoard in its folder, and tables that a second start does not delete."""

from pathlib import Path

import lightning as L
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from vjepa.weights.checkpoints import step_of


def usual_logger(out: Path, resumed: Path | None) -> TensorBoardLogger:
    """The logger of a recipe without one, for a run that continues from a checkpoint, if there is one."""
    # After a kill, TensorBoard may hold steps that the newest checkpoint does not.
    step = step_of(resumed) + 1 if resumed else None
    return TensorBoardLogger(out, name="", version="", default_hp_metric=False, purge_step=step)


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
