"""Checkpoints."""

import re
import zipfile
from pathlib import Path

from vjepa.weights.files import CheckpointError, existing


def newest_checkpoint(folder: Path) -> Path | None:
    """The readable `step=N.ckpt` of the highest N in a folder; a file cut off by a kill is passed over."""
    numbered = {path: re.fullmatch(r"step=(\d+)", path.stem) for path in folder.glob("step=*.ckpt")}
    by_step = sorted(
        (path for path, match in numbered.items() if match), key=lambda path: -int(numbered[path][1])
    )
    whole = next(filter(is_whole, by_step), None)
    if by_step and whole is None:
        raise CheckpointError(f"none of the checkpoints in {folder} can be read; remove them to start anew")
    return whole


def is_whole(archive: Path) -> bool:
    """Whether a zip file is complete and its checksums hold."""
    if not zipfile.is_zipfile(archive):
        return False
    with zipfile.ZipFile(archive) as members:
        return members.testzip() is None


def checkpoint_in(source: str | Path) -> Path:
    """The newest checkpoint in a folder of them; any other source, a Hugging Face directory too, is returned as it is."""
    source = existing(source)
    if not source.is_dir() or (source / "config.json").is_file():
        return source
    newest = newest_checkpoint(source)
    if newest is None:
        raise CheckpointError(f"{source} holds no readable step=N.ckpt; run the stage that writes it first")
    return newest
