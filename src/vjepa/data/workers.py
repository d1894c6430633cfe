"""The processes of a loader: which signals reach them, and what is said when one of them fails."""

import atexit
import ctypes
import math
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from typing import Protocol, runtime_checkable

from vjepa.data.reading import Process, WorkerNotes, note_as
from vjepa.errors import DataError, UserError

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Signals that end a run after its step. A scheduler sends them to every process of a job."""
AGAIN = "the same command continues from what was saved"
CAUSES = {
    "Killed": "most likely because memory ran out; take fewer workers, or smaller batches or clips",
    "Bus error": "because shared memory (/dev/shm) ran out; make it larger, or take fewer workers",
}
"""What torch says about a worker's end -> why, and what to do."""


@runtime_checkable
class Loading(Protocol):
    """What a loader knows of its workers."""

    reading: WorkerNotes
    timeout: float


def begin_worker(reading: WorkerNotes, worker: int) -> None:
    """Called in every worker before it reads anything."""
    note_as(reading, worker)
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """Let the kernel end this process when the one that started it ends, however it ends."""
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def kill_workers() -> None:
    """End the workers of this process at once, also those that are stuck."""
    for child in active_children():
        if child.daemon:
            child.kill()


def give_up_workers() -> None:
    """The same for a main thread that needs them no more."""
    workers = [child for child in active_children() if child.daemon]
    # torch would raise an error for a worker that was killed.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    kill_workers()
    for worker in workers:
        worker.join(1.0)  # one that waits for a dead disk cannot even be killed
    signal.signal(signal.SIGCHLD, handler)


# Before that of `multiprocessing`, which would send them SIGTERM and wait for ever.
atexit.register(give_up_workers)


@contextmanager
def failures_as_errors(loader: Loading | None = None) -> Iterator[None]:
    """Raise DataError, with the file if it is known, where a worker does not answer, or has ended.

    loader: The one that is waited for inside; None where a worker's end may be noticed anywhere.
    """
    if loader is not None:
        Process.awaited = loader.reading
        Process.last = loader.reading
        Process.waits_since = time.monotonic()
    try:
        yield
    except UserError as error:
        if not str(error).startswith("Caught "):
            raise
        # torch writes the worker's traceback into the text, and the error itself into its last line.
        last = str(error).removesuffix(r"\n").rpartition(r"\n")[2]
        raise UserError(last.partition(": ")[2]) from error
    except RuntimeError as error:
        # While the main thread waits, torch raises a second error for the same worker, which says less.
        cause = error.__cause__ if isinstance(error.__cause__, RuntimeError) else error
        sentence = failure_of(str(cause), loader)
        if sentence is None:
            raise
        give_up_workers()  # torch would wait 5 seconds for each
        raise DataError(sentence) from error
    finally:
        Process.awaited = None
        Process.waits_since = math.inf


def failure_of(text: str, loader: Loading | None) -> str | None:
    """What torch's error of a worker means; None for another error."""
    reading = Process.last if loader is None else loader.reading
    if loader is not None and text.startswith("DataLoader timed out"):
        return workers_unanswered(reading, loader.timeout)
    found = re.match(r"DataLoader worker \(pid(?:\(s\))? (\d+)", text)
    return ended(int(found[1]), text, reading) if found else None


def workers_unanswered(reading: WorkerNotes, seconds: float) -> str:
    """The sentence for workers that do not hand over a batch."""
    read = reading.oldest()
    return unanswered(f"{read.path} does not answer" if read else "the data workers do not answer", seconds)


def unanswered(what: str, seconds: float) -> str:
    """The sentence for a file, or workers, that take longer than `seconds`."""
    return (
        f"{what} within {seconds:g} seconds; look at its disk or network, leave it out, or raise the timeout "
        f"(data.timeout in a recipe, --timeout of a command); {AGAIN}"
    )


def ended(process: int, text: str, reading: WorkerNotes | None) -> str:
    """The sentence for a worker that was killed or crashed. text: torch's."""
    how = re.search(r"killed by signal: ([\w ]+?)\. |exit code (\d+)", text)
    end = (how[1] or f"exit code {how[2]}") if how else "unexpectedly"
    read = reading.read_by(process) if reading else None
    while_reading = f" while it read {read.path}" if read else ""
    default = "leave that file out, or convert it" if read else "its message may be above"
    advice = CAUSES.get(end, default)
    return f"a data worker (process {process}) ended ({end}){while_reading}: {advice}; {AGAIN}"
