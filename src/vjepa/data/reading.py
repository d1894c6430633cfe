"""Which file each process is reading, so that one that does not answer, or ends its process, can be named.

A worker that is stuck inside a decoder or a dead network mount cannot speak for itself. So it writes down
what it opens in memory that the main process sees:

    WorkerNotes(8)     the notes of a loader's workers
    note_file(path)    this process begins to read a file
    note_file(None)    it is done
"""

import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

NOTE = np.dtype([("process", np.int64), ("since", np.float64), ("path", "S4096")])
"""Number of the process, the clock's time when it began to read, and what; no path while it reads nothing."""


class Read(NamedTuple):
    """A file that is being read."""

    path: str
    since: float
    """In seconds of `time.monotonic`, which all processes of a machine share."""


class WorkerNotes:
    """The notes of some processes, in memory that they share."""

    def __init__(self, processes: int) -> None:
        # A tensor, because torch hands its memory to workers that are forked and to those that are spawned.
        self.memory = torch.zeros(processes * NOTE.itemsize, dtype=torch.uint8).share_memory_()

    @property
    def notes(self) -> np.ndarray:
        return self.memory.numpy().view(NOTE)

    def read_by(self, process: int) -> Read | None:
        """What a process reads, or was reading when it ended."""
        return next((read_of(note) for note in self.notes if note["process"] == process), None)

    def oldest(self) -> Read | None:
        """The file that has been read for the longest time."""
        reads = [read for note in self.notes if (read := read_of(note))]
        return min(reads, key=lambda read: read.since, default=None)


class Process:
    """The notes of this process, and whom its main thread waits for."""

    note = np.zeros(1, NOTE)
    awaited: WorkerNotes | None = None
    """The workers whose batch the main thread waits for."""
    waits_since = math.inf
    """When it began to wait, in seconds of `time.monotonic`; infinite while it does not."""
    last: WorkerNotes | None = None
    """The workers that it has waited for most recently."""


def read_of(note: np.void) -> Read | None:
    path = bytes(note["path"])
    return Read(os.fsdecode(path), float(note["since"])) if path else None


def note_as(reading: WorkerNotes, worker: int) -> None:
    """This process is worker number `worker` of a loader, and takes its notes there."""
    Process.note = reading.notes[worker : worker + 1]
    Process.note["process"] = os.getpid()
    note_file(None)


def note_file(path: str | Path | None) -> None:
    """Write down that this process begins to read a file; None: it is done."""
    Process.note["since"] = time.monotonic()
    Process.note["path"] = b"" if path is None else os.fsencode(path)


def read_now() -> Read | None:
    """The file that this process, or a worker that it waits for, has been reading for the longest time."""
    own = read_of(Process.note[0])
    awaited = Process.awaited
    return own or (awaited.oldest() if awaited else None)
