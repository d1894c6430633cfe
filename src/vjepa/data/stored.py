"""Media that are no plain files: objects in a storage, and members of tar shards, local or in a storage.

media = Stored("s3://bucket/a.mp4")
with media.opened() as file:
    file.open().read(4096)
"""

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from io import BufferedIOBase, BufferedReader
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vjepa.data.byte_files import MemoryFile, RangedFile, WindowFile, first_and_last
from vjepa.data.file_cache import Held, held, kept
from vjepa.data.reading import note_file
from vjepa.data.storage import (
    BLOCK,
    Status,
    StorageConfig,
    StorageError,
    check_same,
    is_address,
    read_range,
    status,
)

IN_MEMORY = 64 * 2**20
"""Most bytes of a member that is read as a whole, so that its digest can be compared, without a cache."""
HEADER = 512
"""Bytes before a member of a tar file: its name, its size, and here its digest too."""


@dataclass(frozen=True)
class Stored:
    """What a row of a manifest names, if it is no plain file."""

    address: str
    """Of the file, or of the shard that holds it: `s3://bucket/a.mp4`, or the path of a local shard."""
    member: str = ""
    """The name of a file in a shard; empty for a file of its own."""
    offset: int = 0
    """Where the member begins, in bytes."""
    size: int | None = None
    """Its bytes; None for a file of its own."""
    digest: str = ""
    """That of the member's content, as shards of this program hold it; empty for those of others."""
    config: StorageConfig = field(default=StorageConfig(), compare=False)

    def __str__(self) -> str:
        return f"{self.address}: {self.member}" if self.member else self.address

    def __fspath__(self) -> str:
        """For its name and for comparisons: no file has this path."""
        return str(self)

    @property
    def name(self) -> str:
        return PurePosixPath(self.member or self.address).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    def resolve(self) -> "Stored":
        """Itself: no links lead to it."""
        return self

    def is_file(self) -> bool:
        """Whether it can be opened as a path can: it cannot."""
        return False

    def opened(self) -> "OpenMedia":
        """The media, open for reading. Raises StorageError, or OSError."""
        note_file(str(self))
        if not is_address(self.address):
            return OpenMedia(self, *local_window(self))
        if self.digest:
            return self._fetched(f"{self.digest} {self.size}", self.size)
        state = status(self.address, self.config)
        if self.size is not None:
            return self._fetched(f"{self.address} {self.offset} {state} {self.size}", self.size, state)
        return self._fetched(f"{self.address} {state.size} {state.version}", state.size, state)

    def _fetched(self, key: str, size: int, state: Status | None = None) -> "OpenMedia":
        """From the disk, where it is kept; if there is no room for that, from memory or by ranges.

        state: That of the file, if it is known."""
        name = hashlib.sha256(key.encode()).hexdigest()[:32] + self.suffix.lower()
        file = held(self.config.folder, name) or kept(self.config, name, size, self._write)
        if file is not None:
            return OpenMedia(self, lambda: file.path.open("rb"), size, file.path.stat().st_mtime_ns, file)
        if self.digest and size <= IN_MEMORY:
            content = b"".join(self._blocks())
            return OpenMedia(self, lambda: BufferedReader(MemoryFile(content, self.name)), size, 0)
        state = state or status(self.address, self.config)
        if self.digest:
            self._check_header()
        ranged = partial(RangedFile, self.address, self.offset, size, self.name, self.config, state)
        return OpenMedia(self, lambda: BufferedReader(ranged()), size, 0)

    def _write(self, target: Path) -> None:
        """Copy the content into a file."""
        with target.open("r+b") as file:  # its bytes are reserved
            file.writelines(self._blocks())

    def _blocks(self) -> Iterator[bytes]:
        """The content. Raises StorageError, at the end, if it is not what a row of shards says."""
        digest = hashlib.sha256()
        before = None if self.size is not None else status(self.address, self.config)
        end = before.size if before else self.offset + self.size
        if self.digest:
            self._check_header()
        for start in range(self.offset, end, BLOCK):
            block = read_range(self.address, start, min(start + BLOCK, end), self.config)
            digest.update(block)
            yield block
        if before:
            check_same(self.address, before, self.config)
        if self.digest and digest.hexdigest()[: len(self.digest)] != self.digest:
            raise StorageError(OTHER_CONTENT)

    def _check_header(self) -> None:
        check_header(self, read_range(self.address, header_of(self), self.offset, self.config))

    def edges(self, count: int) -> tuple[int, bytes, bytes]:
        """Its size, and its first and last `count` bytes. Raises StorageError, or OSError."""
        if not is_address(self.address):
            with self.opened() as media, media.open() as file:
                return media.size, *first_and_last(file, media.size, count)
        size = self.size if self.size is not None else status(self.address, self.config).size
        first = self.offset
        end = first + size
        begin = read_range(self.address, first, min(first + count, end), self.config)
        last = begin if size <= count else read_range(self.address, end - count, end, self.config)
        return size, begin, last


OTHER_CONTENT = "the shard holds another file there than its index says; pack the videos again"


class FileState(NamedTuple):
    """What `stat` says of media."""

    st_size: int
    st_mtime_ns: int


class OpenMedia:
    """Media that are open for reading. They have what a decoder asks of a path; outside `with`, `close` them.

    reopen: A new file of bytes, from the start. size: Bytes. changed: When, in nanoseconds.
    held: The copy on disk, which stays as long as this is open.
    """

    def __init__(
        self,
        media: Stored,
        reopen: Callable[[], BufferedIOBase],
        size: int,
        changed: int,
        held: Held | None = None,
    ) -> None:
        self.media = media
        self.reopen = reopen
        self.size = size
        self.changed = changed
        self.held = held

    def __str__(self) -> str:
        return str(self.media)

    def __hash__(self) -> int:
        return hash(self.media)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpenMedia) and self.media == other.media

    def __enter__(self) -> "OpenMedia":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.held:
            self.held.close()

    @property
    def suffix(self) -> str:
        return self.media.suffix

    @property
    def ffmpeg(self) -> str | BufferedIOBase:
        """What FFmpeg reads: a path, or a file of bytes."""
        return f"file:{self.held.path}" if self.held else self.reopen()

    def exists(self) -> bool:
        return True

    def is_file(self) -> bool:
        return True

    def stat(self) -> FileState:
        return FileState(self.size, self.changed)

    def open(self, mode: str = "rb") -> BufferedIOBase:
        return self.reopen()


def local_window(media: Stored) -> tuple[Callable[[], BufferedIOBase], int, int]:
    """How a member of a local shard is opened, its size, and when the shard changed."""
    state = os.stat(media.address)
    if media.offset + media.size > state.st_size:
        raise StorageError(f"the shard is cut off: it has {state.st_size} bytes; pack the videos again")
    if media.digest:
        with open(media.address, "rb") as file:
            file.seek(header_of(media))
            check_header(media, file.read(HEADER))
    return (
        lambda: BufferedReader(WindowFile(media.address, media.offset, media.size, media.name)),
        media.size,
        state.st_mtime_ns,
    )


def header_of(media: Stored) -> int:
    """Where the header of a member begins. Raises StorageError."""
    if media.offset < HEADER:
        begin = f"the index says that it begins at byte {media.offset} of the shard, where its header lies"
        raise StorageError(f"{begin}; pack the videos again")
    return media.offset - HEADER


def check_header(media: Stored, header: bytes) -> None:
    """Raise StorageError unless the header in the shard is that of the member that the index names."""
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        info = None
    if info is None or (info.size, info.uname) != (media.size, media.digest):
        raise StorageError(OTHER_CONTENT)
