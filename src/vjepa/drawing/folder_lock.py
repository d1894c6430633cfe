"""A folder that one process writes at a time, on whatever machine of a shared disk it runs.

    with owned(out):
        ...

The file `.lock` in the folder is locked, and says who holds it. The system lets go of the lock when the
process ends, however it ends, so a lock that was left behind keeps nobody out.
"""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from vjepa.errors import UserError, announce, require

NAME = ".lock"
PATIENCE = 2.0
"""Seconds to try: one that was killed takes a moment to end, and one that has begun, to write its name."""
HELD: dict[Path, int] = {}
"""The folders of this process -> the open lock file."""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system without locks answers."""


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Make the folder and keep other processes out of it while the block runs.

    Raises UserError if another process has it, or if it cannot be written to.
    """
    own(folder)
    try:
        yield
    finally:
        file = HELD.pop(folder.resolve())
        if is_same_file(file, folder / NAME):
            (folder / NAME).unlink()
        os.close(file)


def own(folder: Path) -> None:
    """Like `owned`, until this process ends. A folder that this process has already stays its own."""
    make(folder)
    place = folder.resolve()
    if place in HELD and is_same_file(HELD[place], place / NAME):
        return
    deadline = time.monotonic() + PATIENCE
    while (file := locked_file(folder)) is None:
        require(
            time.monotonic() < deadline,
            f"{folder} is in use by {holder(folder)}; wait until it ends, stop it, or choose another --out",
        )
        time.sleep(0.05)
    HELD[place] = file


def check_owned(folder: Path) -> None:
    """Raise UserError if a folder of this process was removed, and another process has made it anew."""
    file = HELD.get(folder.resolve())
    path = folder / NAME
    require(
        file is None or not path.exists() or is_same_file(file, path),
        f"{folder} was removed while this process wrote there, and now {holder(folder)} has it; this one "
        "ends, and writes nothing more",
    )


def make(folder: Path) -> None:
    """Make the folder, if it is not there. Raises UserError."""
    require(not os.path.isfile(folder), f"{folder} is a file; choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be a folder ({error.strerror}); choose another --out") from error


def locked_file(folder: Path) -> int | None:
    """The folder's lock file, open and locked; None if another process has it."""
    path = folder / NAME
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:  # the folder is being removed
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another --out") from error
    # Not `lockf`, which lets go as soon as this process closes the file anywhere, such as after a copy.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise UserError(f"{path} cannot be locked ({error.strerror}); choose another --out") from error
        announce(f"{folder}: this disk knows no locks, so nothing keeps a second process out of the folder")
    if not is_same_file(file, path):  # it was removed in between
        os.close(file)
        return None
    os.ftruncate(file, 0)
    since = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}"
    os.write(file, f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())
    return file


def forget() -> None:
    """Close the lock files in a process that was forked, such as a loader's worker.

    They are open there too, so a worker that outlives its killed parent would keep the lock for seconds.
    """
    for file in HELD.values():
        os.close(file)
    HELD.clear()


os.register_at_fork(after_in_child=forget)


def holder(folder: Path) -> str:
    """Who has the folder, as the lock file says."""
    try:
        return (folder / NAME).read_text(errors="replace")[:200].strip() or "another process"
    except OSError:
        return "another process"


def is_same_file(file: int, path: Path) -> bool:
    """Whether an open file is still the one at this path."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
