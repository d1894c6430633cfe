"""Files that a command writes: checked before the work, and complete or not there after it.

check_outputs([out, gif], inputs=videos)
...
with complete_file(out) as unfinished:
    unfinished.write_text(page)
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

from vjepa.errors import UserError, require

MOST_PIXELS = 100_000_000
"""Pixels of an image that browsers and viewers still open; about 300 MB while it is drawn."""


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[str | Path] = ()) -> None:
    """Make the folders of files that will be written; None stands for a file that is not wanted.

    Raises UserError if one of them cannot be written, is one of the inputs, or stands there twice: before the
    work, not after it.
    """
    wanted = [path for path in outputs if path is not None]
    read = {Path(path).resolve() for path in inputs}
    for path in wanted:
        require(not path.is_dir(), f"{path} is a folder; name a file in it")
        require(path.is_file() or not path.exists(), f"{path} is no plain file; name another one")
        require(path.resolve() not in read, f"{path} is read and would be overwritten; name another output")
        check_folder(path.parent)
    places = {path.resolve() for path in wanted}
    several = f"{', '.join(map(str, wanted))}: each output needs a file of its own"
    require(len(places) == len(wanted), several)


def check_picture_size(pixels: int, what: str) -> None:
    """Raise UserError for an image of so many pixels that programs cannot show it. what: its settings."""
    sentence = f"{what} make an image of {pixels} pixels; give smaller numbers, for at most {MOST_PIXELS}"
    require(pixels <= MOST_PIXELS, sentence)


def check_folder(folder: Path) -> None:
    """Make a folder if it does not exist. Raises UserError if files cannot be written there."""
    require(not folder.is_file(), f"{folder} is a file; name a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Rights, a read-only disk and a full one show themselves only where a file is made.
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{folder} cannot be written to ({reason}); name another folder") from error


@contextmanager
def complete_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to. At the end of the block the file is moved to its place.

    If the block fails or is interrupted, nothing is left, and a file that was there before stays. The file is
    on the disk before it has its name, so that a machine without power does not leave an empty one.
    Raises UserError if `path` is a folder.
    """
    require(not path.is_dir(), f"{path} is a folder, and a file is written there; remove it, or rename it")
    target = path.resolve()  # where a link leads
    # Shortened, since a name may be as long as the file system takes. By chance, since processes of two
    # machines may have the same number.
    unfinished = target.with_name(f".{target.stem[:40]}.{uuid4().hex}{target.suffix}")
    try:
        yield unfinished
        sync(unfinished)
        unfinished.replace(target)
        sync_folder(target.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder, without which a loss of power takes a new file away."""
    try:
        sync(folder)
    except OSError as error:
        # Some network file systems cannot, and need not. A folder that lists no names cannot be opened.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            raise


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
