"""Lightning's checkpoints: which of a folder's `.ckpt` files a stage continues from, whatever its name."""

import zipfile
from pathlib import Path

from vjepa.errors import UserError
from vjepa.weights.files import CheckpointError, check_exists, read_pickle

FOLDER = "checkpoints"
"""The folder of a run in which its checkpoints lie."""


def newest_checkpoint(folder: Path) -> Path | None:
    """The file of the most optimiser steps in a folder from which a run can continue exactly.

    None if there is no `.ckpt`. A file that was cut off by a kill, and one that holds weights without the
    optimiser's state, is passed over. Raises CheckpointError if no other is left.
    """
    files = checkpoint_files(folder)
    steps = {file: step for file in files if (step := resumable_step(file)) is not None}
    # Copies of one step differ in nothing but their names.
    newest_first = sorted(steps, key=lambda file: (-steps[file], file.stem))
    readable = next(filter(is_complete_archive, newest_first), None)
    if files and readable is None:
        raise CheckpointError(
            f"none of the checkpoints in {folder} can be continued from, since they cannot be read or hold "
            "weights alone; remove them to start anew"
        )
    return readable


def checkpoint_files(folder: Path) -> list[Path]:
    """The `.ckpt` files in a folder and below it, but not those of runs that lie below it."""
    # A metric in a name, such as `val/loss`, makes a folder of a part of the name.
    return [file for file in folder.rglob("*.ckpt") if FOLDER not in file.relative_to(folder).parts[:-1]]


def resumable_step(file: Path) -> int | None:
    """`step_of` a file with the state of an optimiser; None for any other file."""
    try:
        checkpoint = read_pickle(file)
    except UserError:
        return None
    step = checkpoint.get("global_step")
    return step if isinstance(step, int) and "optimizer_states" in checkpoint else None


def step_of(file: Path) -> int:
    """The optimiser step after which a checkpoint was written, as its content says."""
    return int(read_pickle(file)["global_step"])


def is_complete_archive(file: Path) -> bool:
    """Whether a zip file, as torch writes them, is complete and its checksums hold."""
    # The list of a zip file's members is at its end, so a file that was cut off has none.
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return archive.testzip() is None  # reads all members against their checksums


def checkpoint_in(source: str | Path) -> Path:
    """The newest checkpoint in a folder of them, or of a stage; any other file or directory as it is.

    A stage's folder without checkpoints stands for its export. Raises CheckpointError if the source does not
    exist or the folder holds no readable checkpoint.
    """
    inside = Path(source).expanduser() / FOLDER
    path = check_exists(inside if checkpoint_files(inside) else source)
    # A Hugging Face directory is one source of weights, not a folder of checkpoints.
    if not path.is_dir() or (path / "config.json").is_file():
        return path
    newest = newest_checkpoint(path)
    if newest is None:
        raise CheckpointError(f"{path} holds no checkpoint; give a folder of .ckpt files, or a file")
    return newest
