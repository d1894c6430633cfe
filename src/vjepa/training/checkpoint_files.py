"""Checkpoints are written beside their place. Each is complete and on the disk, or it is not there.

Lightning writes them by way of TMPDIR, which may be full or small where the run's own disk is not. A disk
that is full, or a folder that is gone for a while, does not end a run: the run warns, and tries again at its
next save.
"""

import errno
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from vjepa.drawing.outputs import sync, sync_folder
from vjepa.weights.checkpoints import FOLDER

UNFINISHED = ".unfinished"
"""How the name of a file ends while it is written. What a killed process leaves, the next save removes."""


class CheckpointFiles(TorchCheckpointIO):
    """Saves a checkpoint by way of its own folder alone. Loading is Lightning's.

    A save that fails raises nothing: only the first process writes, and the others would wait for it for
    ever. `failure` says why it failed, and all processes read that (`vjepa.training.kept_checkpoints`).
    """

    failure: str | None = None
    """Why the last save failed; None if it did not."""
    tries_again = True
    """Whether a later save of the run makes up for one that fails, so that a warning is enough."""

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options: Any | None = None) -> None:
        self.failure = None
        try:
            write(checkpoint, Path(path))
        except (OSError, RuntimeError) as error:
            # torch's writer hides what the disk said behind an error of its own.
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            self.failure = f"{path} cannot be written ({cause.strerror}); the earlier checkpoints are kept"
        if self.failure and self.tries_again:
            print(
                f"warning: {self.failure}; the run goes on, and tries again at its next save", file=sys.stderr
            )

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a file, unless the one that should replace it could not be written."""
        if not self.failure:
            Path(path).unlink(missing_ok=True)


def write(checkpoint: dict, target: Path) -> None:
    """Write beside `target`, wait until the disk has it, and move it there. Raises OSError."""
    make_folder(target.parent)
    # A name of its own, so that no other process writes into it; shortened, since a name may be too long.
    unfinished = target.with_name(f".{target.stem[:40]}.{uuid4().hex[:8]}{UNFINISHED}")
    try:
        # An open file and not a path, for which torch does not say at all why it failed.
        with unfinished.open("wb") as file:
            torch.save(checkpoint, file)
        sync(unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(target.parent)


def make_folder(folder: Path) -> None:
    """Make the folder of a checkpoint, and remove what killed processes left in it and beside it."""
    top = next((parent for parent in (folder, *folder.parents) if parent.name == FOLDER), folder)
    # The folder of the run itself is not made: where it is gone, a disk was unmounted, or it was removed.
    if top.name == FOLDER and not top.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"the folder {top.parent} is gone")
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in top.rglob(f"*{UNFINISHED}"):
        leftover.unlink(missing_ok=True)
