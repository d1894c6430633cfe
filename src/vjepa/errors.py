"""The base of all errors that a command shows as one sentence instead of a traceback, and notes in one line.

    require(batch_size > 0, f"data.batch_size={batch_size} must be 1 or more")
    announce("train.csv is read as cp1252")

Each kind of file has its own subclass: ManifestError, DecodeError, TrajectoryError, CheckpointError.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import parent_process
from pathlib import Path

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Where torchrun, Lightning and Slurm tell a process its number."""

MOST_WORKERS = 1024
"""Processes of one command. More are a typing error, and would take the machine's memory."""

MOST_LETTERS = 1500
"""Letters of a sentence. A longer one quotes a file at length, and is cut in its middle."""


class UserError(ValueError):
    """A mistake in a recipe or in data. Its text says what is wrong, where, what was expected, what to do."""

    def __init__(self, sentence: str) -> None:
        super().__init__(one_line(sentence))


def one_line(text: str) -> str:
    """A text as one line that does nothing to a terminal: control characters stand as Python writes them."""
    if len(text) > MOST_LETTERS:
        half = MOST_LETTERS // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class DataError(UserError):
    """Training data that is not fit to train on."""


def require(condition: bool, sentence: str) -> None:
    """Raise UserError with the sentence unless the condition holds."""
    if not condition:
        raise UserError(sentence)


@contextmanager
def damage_as_error(
    source: str | Path, kind: type[UserError] = UserError, advice: str = "give another file"
) -> Iterator[None]:
    """Raise whatever a damaged or foreign file makes go wrong inside as one sentence about `source`.

    Every reader of files that others may have written goes through this boundary. Errors of the system that
    name a file pass, and so do a missing package and too little memory.
    """
    try:
        yield
    except UserError as error:
        named = Path(source).name in str(error)
        if named and isinstance(error, kind):
            raise
        raise kind(str(error) if named else f"{source}: {error}") from error
    except ImportError:
        raise
    except Exception as error:  # readers raise errors of any kind on broken files
        if (isinstance(error, OSError) and error.filename) or is_out_of_memory(error):
            raise
        raise kind(f"{source}: {damage_in_words(error)}; {advice}") from error


def damage_in_words(error: Exception) -> str:
    """What an error of a library says of the file that was read."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"it cannot be read ({error.strerror})"
    if isinstance(error, RecursionError):
        return "its content is damaged, or of another program (values within values, without an end)"
    words = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
    what = f"it lacks {str(error)[:200]}" if isinstance(error, KeyError) else words
    return f"its content is damaged, or of another program ({what})"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory, of the machine or of the GPU."""
    # torch has a class of its own for a GPU, and none for the machine.
    words = ("OutOfMemoryError", "can't allocate memory")
    of_torch = isinstance(error, RuntimeError) and any(word in repr(error) for word in words)
    return of_torch or isinstance(error, MemoryError)


def counted(number: int, noun: str) -> str:
    """`1 clip`, or `2 clips`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def check_positive(**options: float | int | None) -> None:
    """Raise UserError for an option of a command that is 0 or less; None stands for one that is not given."""
    for name, value in options.items():
        require(value is None or value > 0, f"--{name} {value} must be more than 0")


def check_workers(workers: int, least: int = 0) -> None:
    """Raise UserError for a number of processes that no machine can start."""
    require(
        least <= workers <= MOST_WORKERS, f"--workers {workers}: give {least} to {MOST_WORKERS} processes"
    )


def check_seed(seed: int) -> None:
    """Raise UserError for a seed that torch or numpy would refuse."""
    require(0 <= seed < 2**32, f"--seed {seed}: give a whole number from 0 to {2**32 - 1}")


def not_downloaded(begin: bytes) -> str | None:
    """What a download left in place of a file, by its first bytes, and what to do; None for other files."""
    if begin.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|!--|html|\?xml|svg)", begin, re.IGNORECASE):
        return "a web page, not the file itself; download it again"
    return None


@cache
def announce(sentence: str) -> None:
    """Print a note on stderr, once in a run: not again in its worker processes and other ranks."""
    is_first = all(os.environ.get(name, "0") == "0" for name in RANKS)
    if is_first and parent_process() is None:
        print(f"note: {sentence}", file=sys.stderr)
