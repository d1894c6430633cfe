"""Copies of files in a storage, on the local disk: as many bytes as are allowed, shared by all processes.

A file that is open is locked, so that no other process removes it. The kernel releases the lock when a
process ends, whatever ends it.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple
from uuid import uuid4

from vjepa.data.storage import StorageConfig, StorageError

SWEPT_TO = 0.8
"""Share of the allowed bytes that stays when files are removed."""
UNSWEPT = 0.001
"""Share of the allowed bytes that a process adds before it looks through the folder again."""
LEFT = 3600.0
"""Seconds after which an unfinished file is one that a killed process has left."""

ADDED: dict[Path, int] = {}
"""Bytes that this process has added to a folder since it last looked through it."""


class Held(NamedTuple):
    """A copy that no process removes until it is closed."""

    path: Path
    lock: BinaryIO

    def close(self) -> None:
        self.lock.close()


def held(folder: Path, name: str) -> Held | None:
    """The copy of that name, if there is one."""
    path = folder / "media" / name
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return None
    with suppress(OSError):  # where a file system has no locks, `removed` removes nothing either
        fcntl.flock(file, fcntl.LOCK_SH)
    state = os.fstat(file.fileno())
    # Removed between the two lines: the file is still open, but it has no name that FFmpeg could open.
    if not path.exists() or path.stat().st_ino != state.st_ino:
        file.close()
        return None
    # The time of the last use decides what is removed first. File systems need not keep it themselves.
    os.utime(path, ns=(time.time_ns(), state.st_mtime_ns))
    return Held(path, file)


def kept(config: StorageConfig, name: str, size: int, write: Callable[[Path], None]) -> Held | None:
    """A new copy, which `write` makes; None if there is no room for so many bytes.

    Raises StorageError if the folder cannot be written to."""
    folder = config.folder / "media"
    unfinished = folder / f".{name}.{uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # As large as it will be, so that other processes see what is taken.
        with unfinished.open("wb") as file:
            file.truncate(size)
        if not has_room(folder, config.limit, size):
            return None
        write(unfinished)
        unfinished.replace(folder / name)
    except OSError as error:
        advice = "give storage.cache another folder, or storage.cache_gb 0"
        raise StorageError(f"{folder} cannot be written to ({error.strerror}); {advice}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()
    return held(config.folder, name)


def has_room(folder: Path, limit: int, size: int) -> bool:
    """Whether a file of this size, which is in the folder already, may stay. Removes others for it."""
    if size > limit:
        return False
    ADDED[folder] = ADDED.get(folder, limit) + size
    if ADDED[folder] <= UNSWEPT * limit:
        return True
    ADDED[folder] = 0
    return swept(folder, max(SWEPT_TO * limit, size)) <= limit


def swept(folder: Path, limit: float) -> int:
    """Remove files that were not used for the longest time, until no more than `limit` bytes are there.

    Returns the bytes that are left, which may be more, since files that are open stay."""
    files = sorted(files_in(folder), key=lambda file: file[1].st_atime_ns)
    total = sum(state.st_size for _, state in files)
    for path, state in files:
        unfinished = path.name.startswith(".")
        if unfinished and time.time() - state.st_mtime < LEFT:
            continue
        if (total > limit or unfinished) and removed(path):
            total -= state.st_size
    return total


def removed(path: Path) -> bool:
    """Remove a file, unless a process has it open."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except FileNotFoundError:  # another process was faster
        return True
    except OSError:  # it is in use
        return False
    return True


def files_in(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for entry in os.scandir(folder):
        try:
            yield Path(entry.path), entry.stat()
        except FileNotFoundError:  # renamed or removed just now
            continue
