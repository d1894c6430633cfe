"""The report of rollout errors and of the use of actions: in TensorBoard, and the files after a test."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vjepa.evaluation.action_use import use_report, use_table
from vjepa.evaluation.rollout_error import error_table
from vjepa.evaluation.rollout_figure import error_figure, save_error_figure
from vjepa.evaluation.rollout_means import HeldOutErrors

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def show_report(writers: Iterable["SummaryWriter"], split: str, errors: HeldOutErrors, step: int) -> None:
    """Show the figure of the errors and the table of the use of actions among images and texts."""
    for writer in writers:
        figure = error_figure(errors.curves, f"step {step}")
        writer.add_figure(f"{split}/error_by_horizon", figure, step)
        writer.add_text(f"{split}/action_use_by_horizon", use_table(errors.use), step)


def write_report(errors: HeldOutErrors, out: Path) -> None:
    """Write `horizons.json` and `horizons.png` to the folder, and print both tables' content."""
    report = {"windows": errors.windows, "errors": errors.curves, "action_use": errors.use}
    (out / "horizons.json").write_text(json.dumps(report, indent=1))
    title = f"How far ahead is the prediction right? {errors.windows} held-out windows"
    save_error_figure(errors.curves, title, out / "horizons.png")
    print(error_table(errors.curves, errors.windows))
    print(use_report(errors.use, errors.grippers))
