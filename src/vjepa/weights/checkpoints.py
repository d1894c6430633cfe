"""Lightning's checkpoints: which of a folder's `.ckpt` files a stage continues from, whatever its name."""

import zipfile
from functools import cache
from pathlib import Path

from vjepa.errors import announce, damage_as_error, require
from vjepa.weights.files import CheckpointError, check_exists
from vjepa.weights.pickles import read_pickle

FOLDER = "checkpoints"
"""The folder of a run in which its checkpoints lie."""
NEEDED = ("state_dict", "lr_schedulers", "callbacks", "loops")
"""What a run needs of a checkpoint beside the state of its optimiser, as Lightning calls it."""


def newest_checkpoint(folder: Path, up_to: float | int = float("inf")) -> Path | None:
    """The file of the most optimiser steps in a folder from which a run can continue exactly.

    up_to: The most steps that it may have. None if there is no such `.ckpt`. A file that is damaged in any
    way, and one that holds weights without the optimiser's state, is passed over, and a note names it. Raises
    CheckpointError if no other is left.
    """
    files = checkpoint_files(folder)
    steps = {file: step for file in files if (step := resumable_step(file)) is not None}
    # Copies of one step differ in nothing but their names.
    newest_first = sorted(steps, key=lambda file: (-steps[file], file.stem))
    young = [file for file in newest_first if steps[file] <= up_to]
    readable = next(filter(is_whole, young), None)
    if files and readable is None and up_to == float("inf"):
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
    """`step_of` a file with the state of an optimiser; None for any other file, which a note names.

    Of a large file little more than the names of its tensors is read.
    """
    try:
        return step_to_continue(file)
    except (CheckpointError, OSError) as error:
        return pass_over(file, error)


def step_to_continue(file: Path) -> int:
    """The step of a file from which a run can continue. Raises CheckpointError or OSError for others."""
    with damage_as_error(file, CheckpointError):
        require(file.is_file(), "it is no plain file")  # a pipe would not answer
        with file.open("rb"):
            pass  # the system says why a file cannot be read, which a reader of pickles does not
        checkpoint = read_pickle(file)
        step = checkpoint.get("global_step")
        require(type(step) is int and step >= 0, "it holds no number of steps")
        states = checkpoint.get("optimizer_states")
        require(bool(states), "it holds weights without the state of an optimiser")
        require(step == 0 or all(state["state"] for state in states), "the state of its optimiser is empty")
        missing = [name for name in NEEDED if name not in checkpoint]
        require(not missing, f"it lacks {', '.join(missing)}")
        return step


def pass_over(file: Path, error: Exception) -> None:
    """Name a file that no run continues from, and why, on stderr."""
    why = f"{file}: {error.strerror}" if isinstance(error, OSError) else str(error)
    announce(f"passed over as a checkpoint: {why}")


def step_of(file: Path) -> int:
    """The optimiser step after which a checkpoint was written, as its content says."""
    return int(read_pickle(file)["global_step"])


def is_whole(file: Path) -> bool:
    """Whether a zip file, as torch writes them, is complete and its checksums hold; a note names others."""
    try:
        state = file.stat()
        check_whole(file, state.st_size, state.st_mtime_ns)
    except (CheckpointError, OSError) as error:
        pass_over(file, error)
        return False
    return True


@cache
def check_whole(file: Path, size: int, written: int) -> None:
    """Raise CheckpointError or OSError unless all bytes of a file are there and as they were written.

    size, written: Of the file. A command asks several times, and reads the same file once.
    """
    with damage_as_error(file, CheckpointError), zipfile.ZipFile(file) as archive:
        broken = archive.testzip()  # reads all members against their checksums
        require(broken is None, f"it is damaged inside (in {broken})")


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
