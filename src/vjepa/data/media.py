"""What a decoder reads: a file of the machine, or media that are open in its place."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

from vjepa.data.stored import OpenMedia, Stored

Media = Path | OpenMedia
"""What a decoder reads: a file, or what is open for reading in its place."""


def opened(path: str | Path | Stored) -> Media:
    """What a decoder reads. Raises StorageError, or OSError, for what is no plain file."""
    return path.opened() if isinstance(path, Stored) else Path(path)


def ffmpeg_source(media: Media) -> str | BufferedIOBase:
    """What FFmpeg opens."""
    # With "file:" a colon in a name names no protocol, and FFmpeg opens no network address from a file.
    return f"file:{media}" if isinstance(media, Path) else media.ffmpeg


@contextmanager
def content_of(media: Media) -> Iterator[bytes | mmap.mmap]:
    """All bytes: mapped, where they are a file of their own."""
    with media.open("rb") as file:
        if not isinstance(media, Path):
            yield file.read()
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content
