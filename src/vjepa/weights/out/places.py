"""Places where a file or a folder is written: whether it may be, and how it appears, whole or not at all.

check_not_read(out, [source])
with complete(out) as unfinished:
    unfinished.write_text("done")
"""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from vjepa.errors import UserError, require
from vjepa.weights.files import check_exists

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""What a scheduler, `kill`, or a closed terminal sends."""
MOST_LETTERS_OF_NAME = 40
"""Letters of a name that stand in that of a temporary folder, as a system takes names of 255 bytes."""


def check_named(out: Path) -> None:
    """Raise UserError for a path that names no file or folder of its own, such as `new/..`."""
    require(out.name not in ("", ".."), f"{str(out)!r} is not a new file's or folder's name; give one")
    # Also for a link in a circle.
    require(out.exists() or not out.is_symlink(), f"{out} is a link to nothing; name another output")


def check_not_read(out: Path, sources: Sequence[str | Path]) -> None:
    """Raise UserError for an output that is one of the sources, or lies in a folder that is one."""
    place = Path(os.path.realpath(out))  # Path.resolve would fail for links in a circle
    for source in sources:
        path = check_exists(source)
        # The files of a folder may be links to elsewhere, as in the hub's cache.
        files = path.iterdir() if path.is_dir() else []
        read = {os.path.realpath(file) for file in (source, path, *files)}
        require(str(place) not in read, f"{out} is read and would be overwritten; name another output")
        is_inside = path.is_dir() and place.is_relative_to(os.path.realpath(path))
        require(not is_inside, f"{out} lies in {path}, which is read; name an output elsewhere")


@contextmanager
def complete(out: Path) -> Iterator[Path]:
    """A path of the same name in a new folder beside `out`; a block that fails leaves nothing there.

    At the end of the block what was made in that folder is moved to its place, `out` last: it is there only
    when it is whole. Raises UserError where the disk is full, or the system refuses for another reason.
    """
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because only within one file system is renaming a single step. Its name is new, so
    # that two programs that write one file are not in each other's way.
    names = {"prefix": f"{out.name[:MOST_LETTERS_OF_NAME]}.", "suffix": ".unfinished"}
    with (
        ended_by_exception(),
        TemporaryDirectory(dir=out.parent, **names) as folder,
        failures_as_sentences(out, folder),
    ):
        # The name stays the same, because a large model names the file of its numbers, which lies beside it.
        unfinished = Path(folder) / out.name
        yield unfinished
        move_beside(unfinished, out)


def move_beside(unfinished: Path, out: Path) -> None:
    """Move a file or folder to its place, and before it whatever was made beside it."""
    others = [file for file in unfinished.parent.iterdir() if file != unfinished]
    if others:
        out.unlink(missing_ok=True)  # an older model must not read the new numbers
    for file in others:
        os.replace(file, out.parent / file.name)
    os.replace(unfinished, out)


@contextmanager
def failures_as_sentences(out: Path, folder: str) -> Iterator[None]:
    """Raise UserError for what the system refuses of what is written in `folder`, such as for a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename and folder not in str(error.filename):
            raise
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from error
    except RuntimeError as error:
        if "inline_container" not in str(error):  # where torch writes its files
            raise
        raise UserError(f"{out} cannot be written; the disk is full, or a quota is reached") from error


@contextmanager
def ended_by_exception() -> Iterator[None]:
    """Let a signal that ends the process end the block by SystemExit, so that what it made is removed."""
    is_main = threading.current_thread() is threading.main_thread()  # no other may set handlers
    # What someone else handles stays so; `nohup` ignores SIGHUP.
    unhandled = [number for number in ENDING_SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    taken = unhandled if is_main else []
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def end(number: int, frame: FrameType | None) -> None:
    """End the process with the status that shells give for the signal."""
    raise SystemExit(128 + number)
