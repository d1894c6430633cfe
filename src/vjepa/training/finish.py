"""The end of a fit: keep the last checkpoint, test, check, export."""

from pathlib import Path

import lightning as L
from jsonargparse import Namespace
from lightning.pytorch.utilities.model_helpers import is_overridden

from vjepa.drawing.folder_lock import check_owned
from vjepa.training.closing_lines import closing_lines
from vjepa.training.export_info import training_facts
from vjepa.training.kept_checkpoints import save_now
from vjepa.training.label_free_monitor import LabelFreeMonitor
from vjepa.training.loss_guard import LossGuard
from vjepa.training.pretraining_monitors import ReadOutMonitor
from vjepa.training.run_folder import RunFolder
from vjepa.training.starting_point import check_not_beyond
from vjepa.weights.checkpoints import step_of
from vjepa.weights.export import export


def finish_fit(
    trainer: L.Trainer, model: L.LightningModule, folder: RunFolder, resumed: Path | None, settings: Namespace
) -> None:
    """Keep the last checkpoint, test if the stage has a test, and export; no export before the last step.

    resumed: The checkpoint that the fit continued from, if there was one.
    """
    steps = trainer.global_step
    check_not_beyond(resumed, steps, model.total_steps)
    if steps < max(model.total_steps, 1) or trainer.fast_dev_run:
        print(f"stopped after {steps} of {model.total_steps} steps, so nothing is exported")
        return
    # A run that has trained on may have removed the checkpoint that it began with.
    if resumed and resumed.exists() and step_of(resumed) == steps:
        end_training(trainer, model)
    keep_last_checkpoint(trainer, folder, steps)
    check_converged(trainer, folder)
    if is_overridden("test_step", model):
        trainer.test(model, datamodule=trainer.datamodule, verbose=False, weights_only=True)
    export_stage(trainer, model, folder, steps, settings)


def end_training(trainer: L.Trainer, model: L.LightningModule) -> None:
    """The last read-outs and files of a run that was stopped after its last step.

    Lightning trains nothing then, and calls none of the hooks at the end of training.
    """
    for callback in trainer.callbacks:
        if isinstance(callback, (ReadOutMonitor, LabelFreeMonitor)):
            callback.on_train_end(trainer, model)
    model.on_train_end()


def keep_last_checkpoint(trainer: L.Trainer, folder: RunFolder, steps: int) -> None:
    """Save a checkpoint of the last step, with the optimiser's state, which a cooldown takes over."""
    if trainer.strategy.broadcast(not folder.keeps(steps)):  # all ranks save together or none
        save_now(trainer, folder.checkpoint(steps))


def check_converged(trainer: L.Trainer, folder: RunFolder) -> None:
    """Raise UserError for a run that diverged, so that it is not exported as if it were done."""
    for callback in trainer.callbacks:
        if isinstance(callback, LossGuard):
            callback.check_converged(folder.path)


def export_stage(
    trainer: L.Trainer, model: L.LightningModule, folder: RunFolder, steps: int, settings: Namespace
) -> None:
    """Write the export last, since its existence says that the stage is done."""
    parts = model.parts()
    if not trainer.is_global_zero:
        export(folder.export, parts, {}, writes=False)
        return
    check_owned(folder.path)
    facts = training_facts(trainer.datamodule, folder, settings.licence)
    info = {"stage": folder.stage, "steps": steps, "seed": settings.seed_everything} | facts
    export(folder.export, parts, info)
    print(f"{folder.export} is written")
    print(closing_lines(folder.stage, trainer, folder.path))
