"""The one error of a video file that cannot be decoded, and how PyAV's many errors become it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from vjepa.errors import UserError


class DecodeError(UserError):
    """A file that cannot be decoded: `path` says which, `reason` says why."""

    def __init__(self, path: str | Path, reason: str) -> None:
        # Both go to the base class, so that the error survives being pickled out of a worker process.
        super().__init__(path, reason)
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot decode {self.path}: {self.reason}"


@contextmanager
def as_decode_error(path: Path) -> Iterator[None]:
    """Raise whatever goes wrong inside as a DecodeError of `path`."""
    try:
        yield
    except DecodeError:
        raise
    except Exception as error:  # PyAV raises at least six unrelated types on broken files
        raise DecodeError(path, reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """What an error of PyAV or of the system says, in a few words."""
    # Some of these errors have an empty text; their type says at least something.
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    damaged = isinstance(error, av.InvalidDataError | EOFError)
    return f"corrupt, cut off or no video: {words}" if damaged else words
