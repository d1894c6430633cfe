"""Checkpoints are written beside their place, and are complete or not there.

Lightning writes them by way of TMPDIR, which may be full or small where the run's own disk is not.
"""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from vjepa.errors import UserError

UNFINISHED = ".unfinished"
"""The file that is being written. A process that was killed leaves it, and the next one writes over it."""


class CheckpointFiles(TorchCheckpointIO):
    """Saves checkpoints without another folder than theirs. Loading and removing are Lightning's."""

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options: Any | None = None) -> None:
        """Raises UserError if the disk is full, or the folder cannot be written to; earlier files stay."""
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write(checkpoint, target)
        except (OSError, RuntimeError) as error:
            # torch's writer hides what the disk said behind an error of its own.
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            raise UserError(
                f"{target} cannot be written ({cause.strerror}); the earlier checkpoints are kept, and once "
                "this is mended, the same command continues from them"
            ) from error


def write(checkpoint: dict, target: Path) -> None:
    """Write beside `target`, then move to it."""
    unfinished = target.with_name(UNFINISHED)
    try:
        # An open file and not a path, for which torch does not say at all why it failed.
        with unfinished.open("wb") as file:
            torch.save(checkpoint, file)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
