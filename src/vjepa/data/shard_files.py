"""Tar shards: how one is written, and the folder or storage that they go to."""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from vjepa.data.row_digest import DIGITS
from vjepa.data.storage import (
    BLOCK,
    StorageConfig,
    StorageError,
    answer,
    check_place,
    check_protocol,
    is_address,
    joined,
    protocol_of,
    read_range,
    status,
)
from vjepa.data.stored import HEADER, Stored
from vjepa.drawing.outputs import check_folder, complete_file
from vjepa.errors import UserError

PACKED = np.dtype([("offset", np.int64), ("size", np.int64), ("digest", f"S{DIGITS}")])
"""Where a video lies in its shard: its first byte, its bytes, and the digest of its content."""
STORAGE = StorageConfig()


class Member(NamedTuple):
    """What a shard holds of one video."""

    name: str
    media: Path | Stored
    size: int
    changed: int
    notes: str
    """Which rows show it, as JSON."""
    label: int | None
    """Theirs, if they have one and the same."""

    @property
    def identity(self) -> tuple:
        """What decides the bytes in the shard."""
        return self.name, str(self.media), *self[2:]


def size_of(media: Path | Stored) -> tuple[int, int] | str:
    """The bytes of a video, and when it changed; or why it cannot be read."""
    try:
        if isinstance(media, Stored) and is_address(media.address) and media.size is None:
            return status(media.address, media.config).size, 0
        if isinstance(media, Stored):
            return media.size, 0
        state = media.stat()
    except StorageError as error:
        return str(error)
    except OSError as error:
        return error.strerror
    except ValueError:
        return "a NUL character in its path; correct the row"
    if not media.is_file():
        return "no file"
    return (state.st_size, state.st_mtime_ns) if state.st_size else "the file is empty"


def write_shard(target: Path, videos: Sequence[Member]) -> np.ndarray:
    """Write a tar file of videos and their notes, and return where the videos lie. Raises UserError."""
    packed = []
    with target.open("wb") as tar:
        for video in videos:
            with opened(video.media) as file:
                packed.append(append(tar, video.name, file, video.size))
            if packed[-1][1] != video.size:
                raise UserError(f"{video.media} changed while it was packed; start again")
            key = Path(video.name).stem
            append(tar, f"{key}.json", io.BytesIO(video.notes.encode()))
            if video.label is not None:
                append(tar, f"{key}.cls", io.BytesIO(str(video.label).encode()))
        # Two empty blocks end an archive, and its length is a whole number of records.
        tar.write(bytes(2 * HEADER))
        tar.write(bytes(-tar.tell() % tarfile.RECORDSIZE))
    return np.array(packed, PACKED)


def opened(media: Path | Stored) -> io.BufferedIOBase:
    """A video, open for reading. Raises UserError."""
    try:
        return media.opened().open() if isinstance(media, Stored) else media.open("rb")
    except (OSError, ValueError) as error:
        raise UserError(f"{media}: {error}") from error


def append(
    tar: io.BufferedIOBase, name: str, file: io.BufferedIOBase, most: int | None = None
) -> tuple[int, int, bytes]:
    """Add a file to a tar file; return where it begins, its bytes, and the digest of its content.

    most: Bytes that it has; given for videos, whose digest is put into the header as well."""
    header = tar.tell()
    tar.write(bytes(HEADER))
    digest = hashlib.sha256()
    size = 0
    while block := file.read(BLOCK):
        digest.update(block)
        tar.write(block)
        size += len(block)
    tar.write(bytes(-size % HEADER))
    text = digest.hexdigest()[:DIGITS]
    # The same for every packing: no times, and no owner but, for videos, the digest in place of a name.
    info = tarfile.TarInfo(name)
    info.size = size
    info.uname = "" if most is None else text
    block = info.tobuf(tarfile.GNU_FORMAT)
    assert len(block) == HEADER, f"{name} and its {size} bytes need more than one header"
    tar.seek(header)
    tar.write(block)
    tar.seek(0, os.SEEK_END)
    return header + HEADER, size, text.encode()


class ShardFolder:
    """The folder, or the place in a storage, that shards are written to. Raises UserError if it cannot be.

    Beside each shard lies what the index will say of it, until there is an index.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")
        try:
            if is_address(place):
                check_protocol(protocol_of(place))
                check_place(f"{self.place}/", STORAGE)
            else:
                check_folder(Path(place))
        except StorageError as error:
            raise UserError(f"--out {place}: {error}") from error
        self.parts: list[str] = []

    def __truediv__(self, name: str) -> str:
        return joined(self.place, name)

    def has(self, name: str) -> bool:
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """The bytes of a file; None if there is none."""
        if not is_address(self.place):
            path = Path(self / name)
            return path.stat().st_size if path.is_file() else None
        try:
            return status(self / name, STORAGE).size
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise UserError(f"{self / name}: {error}") from error

    def write(self, name: str, write: Callable[[Path], object]) -> object:
        """Write a file completely or not at all; returns what `write` does."""
        if not is_address(self.place):
            with complete_file(Path(self / name)) as unfinished:
                return write(unfinished)
        with TemporaryDirectory() as folder:
            local = Path(folder) / name
            result = write(local)
            try:
                answer(self / name, STORAGE, lambda fs, path: fs.put_file(str(local), path), paged=True)
            except StorageError as error:
                raise UserError(f"{self / name} cannot be written: {error}") from error
            return result

    def pack(self, shard: int, key: str, write: Callable[[Path], np.ndarray]) -> np.ndarray:
        """Write a shard; returns where its videos lie."""
        packed = self.write(f"{shard:06d}.tar", write)
        size = self.size(f"{shard:06d}.tar")
        content = f"{key} {size}\n".encode() + packed.tobytes()
        self.write(self.part(shard), lambda target: target.write_bytes(content))
        return packed

    def packed(self, shard: int, key: str) -> np.ndarray | None:
        """Where the videos of a shard lie that an earlier packing has written of the same videos."""
        name = self.part(shard)
        size = self.size(name)
        if size is None:
            return None
        content = (
            read_range(self / name, 0, size, STORAGE)
            if is_address(self.place)
            else Path(self / name).read_bytes()
        )
        notes, _, packed = content.partition(b"\n")
        if notes.decode(errors="replace") != f"{key} {self.size(f'{shard:06d}.tar')}":
            return None
        return np.frombuffer(packed, PACKED)

    def part(self, shard: int) -> str:
        name = f"{shard:06d}.part"
        self.parts.append(name)
        return name

    def remove_parts(self) -> None:
        """Remove what only a packing that goes on would read."""
        for name in {*self.parts}:
            if is_address(self.place):
                with suppress(StorageError):  # it does no harm
                    answer(self / name, STORAGE, lambda fs, path: fs.rm_file(path))
            else:
                Path(self / name).unlink(missing_ok=True)
