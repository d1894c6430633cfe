"""The settings of `checkpoint`, which are those of Lightning's ModelCheckpoint: which of them work here."""

from collections.abc import Mapping

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from vjepa.errors import UserError, require

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


class MonitoredMetric(L.Callback):
    """Raises UserError if `checkpoint.monitor` names something that the recipe never measures."""

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        # Lightning waits for the first validation, where it says itself what is measured and what is not.
        if trainer.num_val_batches and sum(trainer.num_val_batches):
            return
        for callback in trainer.checkpoint_callbacks:
            monitor = callback.monitor if isinstance(callback, ModelCheckpoint) else None
            require(
                monitor is None or monitor in trainer.callback_metrics,
                f"checkpoint.monitor={monitor} is not measured: this recipe has no validation; leave it out, "
                "or give data.val",
            )
