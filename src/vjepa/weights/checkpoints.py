"""Lightning's checkpoints: which of a folder's `step=N.ckpt` files a stage resumes from."""

import re
import zipfile
from pathlib import Path

from vjepa.weights.files import CheckpointError, check_exists


def newest_checkpoint(folder: Path) -> Path | None:
    """The readable `step=N.ckpt` of the highest N in a folder, or None if there is no `step=N.ckpt`.

    A file that was cut off by a kill is passed over. Raises CheckpointError if no checkpoint can be read.
    """
    steps = {}
    for path in folder.glob("step=*.ckpt"):
        # Names such as step=7-v1.ckpt are somebody's copies.
        if match := re.fullmatch(r"step=(\d+)", path.stem):
            steps[path] = int(match[1])

    newest_first = sorted(steps, key=lambda path: -steps[path])
    readable = next(filter(is_complete_archive, newest_first), None)
    if steps and readable is None:
        raise CheckpointError(f"none of the checkpoints in {folder} can be read; remove them to start anew")
    return readable


def is_complete_archive(file: Path) -> bool:
    """Whether a zip file, as torch writes them, is complete and its checksums hold."""
    # The list of a zip file's members is at its end, so a file that was cut off has none.
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return archive.testzip() is None  # reads all members against their checksums


def checkpoint_in(source: str | Path) -> Path:
    """The newest checkpoint in a folder of them; any other file or Hugging Face directory as it is.

    Raises CheckpointError if the source does not exist or the folder holds no readable checkpoint.
    """
    path = check_exists(source)
    # A Hugging Face directory is one source of weights, not a folder of checkpoints.
    if not path.is_dir() or (path / "config.json").is_file():
        return path
    newest = newest_checkpoint(path)
    if newest is None:
        raise CheckpointError(f"{path} holds no readable step=N.ckpt; run the stage that writes it first")
    return newest
