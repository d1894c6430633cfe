"""Files of bytes that are a part of another file, on the local disk or in a storage."""

import io
import os
from collections import OrderedDict
from typing import BinaryIO

from vjepa.data.storage import BLOCK, Status, StorageConfig, check_same, read_range

BLOCKS = 4
"""Blocks of a file that is read by ranges which stay in memory."""


def first_and_last(file: BinaryIO, size: int, count: int) -> tuple[bytes, bytes]:
    """The first and the last `count` bytes of an open file of `size` bytes."""
    first = file.read(count)
    file.seek(max(0, size - count))
    return first, file.read(count)


class SeekableFile(io.RawIOBase):
    """A file of bytes that is read through a buffer. Its name ends like that of the media in it."""

    mode = "rb"

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence]
        self.place = max(0, begin + offset)
        return self.place

    def readinto(self, buffer: bytearray | memoryview) -> int:
        count = min(len(buffer), max(0, self.size - self.place))
        data = self.part(self.place, self.place + count) if count else b""
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)

    def part(self, start: int, end: int) -> bytes:
        """Some bytes from `start` on, up to `end`."""
        raise NotImplementedError


class WindowFile(SeekableFile):
    """`size` bytes of a local file, from `offset` on."""

    def __init__(self, path: str, offset: int, size: int, name: str) -> None:
        super().__init__(name, size)
        self.offset = offset
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115  closed with this one

    def part(self, start: int, end: int) -> bytes:
        return os.pread(self.file.fileno(), end - start, self.offset + start)

    def close(self) -> None:
        self.file.close()
        super().close()


class MemoryFile(SeekableFile):
    """A file whose bytes are all in memory."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(name, len(content))
        self.content = content

    def part(self, start: int, end: int) -> bytes:
        return self.content[start:end]


class RangedFile(SeekableFile):
    """`size` bytes of a file in a storage, read block by block; the last few blocks stay in memory.

    state: What the storage says of the file. A file that is written anew meanwhile is an error."""

    def __init__(
        self, address: str, offset: int, size: int, name: str, config: StorageConfig, state: Status
    ) -> None:
        super().__init__(name, size)
        self.address = address
        self.offset = offset
        self.config = config
        self.state = state
        self.blocks: OrderedDict[int, bytes] = OrderedDict()

    def part(self, start: int, end: int) -> bytes:
        number = start // BLOCK
        if number not in self.blocks:
            first = self.offset + number * BLOCK
            last = min(first + BLOCK, self.offset + self.size)
            block = read_range(self.address, first, last, self.config)
            check_same(self.address, self.state, self.config)
            self.blocks[number] = block
            if len(self.blocks) > BLOCKS:
                self.blocks.popitem(last=False)
        self.blocks.move_to_end(number)
        return self.blocks[number][start - number * BLOCK : end - number * BLOCK]
