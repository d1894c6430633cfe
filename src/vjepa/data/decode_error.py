"""The one error of a video file that cannot be decoded, and how PyAV's many errors become it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from vjepa.data.frame_size import too_large
from vjepa.data.storage import StorageError
from vjepa.data.stored import OpenMedia, Stored
from vjepa.errors import UserError, not_downloaded

NO_VIDEO = {
    rb"RIFF.{4}WEBP.*ANIM": "an animated WebP, which FFmpeg cannot read: convert it to GIF, APNG or MP4",
    rb"[\t\n\r -~]{20,}\Z": "a text, no video",
}
"""What a file is that FFmpeg cannot read, by a pattern of its first bytes."""


class DecodeError(UserError):
    """A file that cannot be decoded: `path` says which, `reason` says why."""

    def __init__(self, path: str | Path | Stored | OpenMedia, reason: str) -> None:
        super().__init__(f"cannot decode {path}: {reason}")
        media = path.media if isinstance(path, OpenMedia) else path  # an open file cannot be pickled
        self.path = Path(media) if isinstance(media, str) else media
        self.reason = reason

    def __reduce__(self) -> tuple:
        # An error is pickled out of a worker process, by default with its sentence as the only argument.
        return DecodeError, (self.path, self.reason)


@contextmanager
def as_decode_error(path: Path | Stored | OpenMedia) -> Iterator[None]:
    """Raise whatever goes wrong inside as a DecodeError of `path`."""
    try:
        yield
    except DecodeError:
        raise
    except StorageError as error:
        raise DecodeError(path, str(error)) from error
    except Exception as error:  # PyAV raises at least six unrelated types on broken files
        raise DecodeError(path, what_else(path) or reason_of(error)) from error


def what_else(path: Path | Stored | OpenMedia) -> str | None:
    """What lies in place of a video, if its first bytes tell."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            begin = file.read(2**16)
            large = too_large(file)
    except (OSError, StorageError):
        return None
    known = (what for mark, what in NO_VIDEO.items() if re.match(mark, begin, re.DOTALL))
    return not_downloaded(begin) or next(known, large)


def reason_of(error: Exception) -> str:
    """What an error of PyAV or of the system says, in a few words."""
    # Some of these errors have an empty text; their type says at least something.
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    damaged = isinstance(error, av.InvalidDataError | EOFError)
    return f"corrupt, cut off or no video: {words}" if damaged else words
