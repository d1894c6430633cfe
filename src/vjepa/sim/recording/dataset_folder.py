"""What the recorders share: a folder that is made in several runs, work over processes, checks of settings.

A folder's `config.json` is written first and `done.json` last. What lies between is written file by file,
each one completely or not at all, so that an interrupted run continues where it stopped.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from vjepa.drawing.folder_lock import owned
from vjepa.drawing.outputs import check_folder
from vjepa.errors import UserError, require

SPLITS = ("train", "val", "test")
MAX_SEEDS = 1_000_000
"""Number of seeds of a split. More recordings than this would use seeds of the next split."""
MOST_PIXELS = 4096
"""Side of an image in pixels: the largest that H.264 is sure to take."""
# Variables by which numpy's and other libraries are told how many threads to start.
THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def identity_of(settings: dict, version: int) -> dict:
    """What decides the recorded bytes: all settings but the folder and the number of workers."""
    return {key: value for key, value in settings.items() if key not in ("out", "workers")} | {
        "version": version
    }


@contextmanager
def claimed(out: Path, identity: dict) -> Iterator[bool]:
    """A folder that this process records alone. Yields whether it is finished; it is, after the block.

    Raises UserError if another process records there, or if the folder was begun with other settings.
    """
    check_folder(out)
    with owned(out):
        finished = claim(out, identity)
        if finished:
            print(f"{out} is complete: nothing to do")
        yield finished
        if not finished:
            write_text(out / "done.json", json.dumps(identity, indent=2))  # the last file of a folder


def claim(out: Path, identity: dict) -> bool:
    """Write `config.json`, or check that it has the same identity. True if the folder is finished.

    Raises UserError if the folder was begun with other settings.
    """
    identity = json.loads(json.dumps(identity))  # as it reads back: tuples become lists
    note = out / "config.json"
    if note.exists() and (recorded := json.loads(note.read_text())) != identity:
        changed = [key for key in identity if recorded.get(key) != identity[key]]
        changes = ", ".join(f"{key}={recorded.get(key)} (now {identity[key]})" for key in changed)
        raise UserError(f"{out} holds a demo world with {changes}: choose another folder or delete this one")
    write_text(note, json.dumps(identity, indent=2))
    return (out / "done.json").exists()


def write_text(path: Path, text: str) -> None:
    """Write a text and a line break, completely or not at all; the folder is made if it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because only a rename within a file system is atomic. Processes do not share a name.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text + "\n")
    temporary.replace(path)


def spread(work: Callable, jobs: Sequence, workers: int, what: str) -> None:
    """Call `work(job)` for every job under a progress bar, over processes if there are several workers."""
    with tqdm(total=len(jobs), desc=what, disable=not jobs) as bar:
        if workers == 1 or len(jobs) < 2:
            for job in jobs:
                work(job)
                bar.update()
            return

        # The processes share the cores, so each gets one thread. Libraries read this when a process starts.
        # So the processes are spawned: forked ones would inherit libraries that have read it already.
        for name in THREAD_COUNTS:
            os.environ.setdefault(name, "1")
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(work, jobs, chunksize=4):
                bar.update()


def check_size(size: int) -> None:
    """Raises UserError for a side of images (pixels) that codecs refuse, or that takes hours a clip."""
    expected = f"expected a multiple of 16 pixels, at most {MOST_PIXELS}, as encoders and codecs take"
    require(0 < size <= MOST_PIXELS and size % 16 == 0, f"size={size}: {expected}")


def check_recording(size: int, val: float, test: float, what: str) -> None:
    """Raises UserError if codecs refuse `size` (pixels), or if `val` and `test` are no shares of `what`."""
    check_size(size)
    require(
        val >= 0 and test >= 0 and val + test <= 1,
        f"val={val} and test={test} are shares of the {what}: expected 0 <= val + test <= 1",
    )
