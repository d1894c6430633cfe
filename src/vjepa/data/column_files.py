"""Columns that grow batch by batch in files, and are then mapped from them: any length takes no memory.

paths = TextFile(folder / "path")
paths.append(batch["path"])
column = paths.column()       # one Arrow array, which lies in the file
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class NumberFile:
    """A column of whole numbers, or of decimal numbers in which NaN stands for none."""

    def __init__(self, path: Path, kind: pa.DataType) -> None:
        self.path = path
        self.kind = kind
        self.rows = 0
        self.file = path.open("wb")

    def append(self, column: pa.ChunkedArray) -> None:
        """Add numbers; there must be no nulls among them."""
        numbers = column.cast(self.kind).to_numpy()
        self.rows += len(numbers)
        self.file.write(np.ascontiguousarray(numbers).data)

    def column(self) -> pa.Array:
        """All numbers so far. Nothing can be added after that."""
        return pa.Array.from_buffers(self.kind, self.rows, [None, mapped(self.file)])


class TextFile:
    """A column of text without nulls."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self.text = path.open("wb")
        self.ends = path.with_name(f"{path.name}.ends").open("wb")
        self.ends.write(np.zeros(1, np.int64).data)

    def append(self, column: pa.ChunkedArray) -> None:
        """Add texts; there must be no nulls among them."""
        for chunk in column.cast(pa.large_string()).chunks:
            ends = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            if len(chunk) and ends[-1] > ends[0]:
                self.ends.write((ends[1:] + (self.text.tell() - ends[0])).data)
                self.text.write(chunk.buffers()[2][int(ends[0]) : int(ends[-1])])
            else:  # nothing but empty texts, for which Arrow may have no buffer
                self.ends.write(np.full(len(chunk), self.text.tell(), np.int64).data)
            self.rows += len(chunk)

    def column(self) -> pa.Array:
        """All texts so far. Nothing can be added after that."""
        buffers = [None, mapped(self.ends), mapped(self.text)]
        return pa.Array.from_buffers(pa.large_string(), self.rows, buffers)


def mapped(file: object) -> pa.Buffer:
    """The content of a file that was just written, where it lies. Closes the file."""
    file.close()
    path = Path(file.name)
    # An empty file cannot be mapped.
    return pa.memory_map(str(path)).read_buffer() if path.stat().st_size else pa.py_buffer(b"")


def without(column: pa.Array, missing: pa.Array) -> pa.Array:
    """The same numbers, null where `missing` is true. The values stay in their place."""
    if not pc.any(missing).as_py():
        return column
    present = pc.invert(missing)
    return pa.Array.from_buffers(column.type, len(column), [present.buffers()[1], column.buffers()[1]])
