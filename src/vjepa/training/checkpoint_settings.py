"""The settings of `checkpoint`, which are those of Lightning's ModelCheckpoint: which of them work here."""

from collections.abc import Mapping
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from vjepa.command.suggestions import did_you_mean
from vjepa.errors import UserError, require
from vjepa.training.monitors import completes_step
from vjepa.weights.checkpoints import FOLDER

WORKING = (
    *("filename", "monitor", "mode", "save_top_k", "save_last", "verbose", "auto_insert_metric_name"),
    *("every_n_train_steps", "train_time_interval", "every_n_epochs", "save_on_train_epoch_end"),
    "enable_version_counter",
)
REFUSED = {
    "dirpath": "checkpoints lie in the folder `checkpoints` of --out; give another --out",
    "save_weights_only": "a run cannot continue from weights alone; leave it out: the export holds them",
    "save_on_exception": "an error may come in the middle of a step, and from there a run does not continue "
    "exactly; leave it out, and lower checkpoint.every_n_train_steps",
}
"""Settings of ModelCheckpoint that are refused, and why."""


def check_checkpoint_settings(settings: Mapping[str, object]) -> None:
    """Raise UserError for a setting that would lose what a run needs to continue."""
    for name, reason in REFUSED.items():
        # `dirpath` is set from --out, and a parser does not show what was typed for it.
        if name != "dirpath" and settings[name]:
            raise UserError(f"checkpoint.{name}: {reason}")
    # Saved at a step, a checkpoint would be judged by the validation before it.
    monitor = settings["monitor"]
    require(
        not (monitor and monitor.startswith("val/") and settings["every_n_train_steps"]),
        f"checkpoint.monitor={monitor} is measured by a validation, and checkpoint.every_n_train_steps saves "
        "before it; give --checkpoint.every_n_train_steps null --checkpoint.every_n_epochs 1",
    )
    top = settings["save_top_k"]
    require(
        bool(monitor) or top in (-1, 0, 1),
        f"checkpoint.save_top_k={top} counts the best by checkpoint.monitor; for the newest {top} add "
        "--checkpoint.monitor step --checkpoint.mode max",
    )
    name = settings["filename"]
    check_filename(name)
    require(
        name is None or "{step" in name or bool(monitor) or settings["enable_version_counter"],
        f"checkpoint.filename={name} would write each checkpoint over the one before, and one of them may be "
        "damaged; put {step} into it",
    )


def check_filename(filename: str | None) -> None:
    """Raise UserError for the pattern of a name that Lightning cannot fill in, or that leads elsewhere."""
    numbers = {"step": torch.tensor(1), "epoch": torch.tensor(0)}
    try:
        name = Path(ModelCheckpoint(filename=filename).format_checkpoint_name(numbers))
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"checkpoint.filename={filename}: {error}; give a pattern such as '{{epoch}}-{{step:06d}}'"
        ) from error
    stays = not name.is_absolute() and not {"..", FOLDER} & {*name.parts[:-1]}
    require(
        stays,
        f"checkpoint.filename={filename}: a run continues from what lies in its own folder {FOLDER}; give a "
        f"name, or a path below that folder without .. and without another {FOLDER}",
    )


class MonitoredMetric(L.Callback):
    """Raises UserError if `checkpoint.monitor` names something that the recipe does not measure."""

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        # Lightning waits for the first validation, which may never come. Values are of complete steps.
        validates = trainer.num_val_batches and sum(trainer.num_val_batches)
        is_due = trainer.check_val_every_n_epoch in (None, 1)  # in every epoch, so that it is known by now
        if completes_step(trainer, batch_idx) and is_due and not validates:
            self.check(trainer, "; values of validation need data.val, and trainer.limit_val_batches above 0")

    def on_validation_end(self, trainer, stage) -> None:
        # A sanity check logs only a part of the values.
        if not trainer.sanity_checking:
            self.check(trainer, "")

    def check(self, trainer: L.Trainer, advice: str) -> None:
        measured = [*trainer.callback_metrics, "epoch", "step"]  # Lightning adds the last two
        for callback in trainer.checkpoint_callbacks:
            monitor = callback.monitor if isinstance(callback, ModelCheckpoint) else None
            require(
                monitor is None or monitor in measured,
                f"checkpoint.monitor={monitor} is not measured; measured are "
                f"{', '.join(measured)}{advice}{did_you_mean(str(monitor), measured)}",
            )
