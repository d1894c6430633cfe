"""Digests of data: the first twelve hexadecimal digits of a SHA-256.

Two exports with equal digests were trained on the same rows. A run that goes on asks for more: of the videos
too the size, and the first and last bytes. Reading them whole would take as long as an epoch.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vjepa.data.byte_files import first_and_last
from vjepa.data.manifest import Manifest
from vjepa.data.row_digest import DIGITS, table_digest, without_common_folder
from vjepa.data.storage import StorageError
from vjepa.data.stored import Stored
from vjepa.data.targets import LABELS

MOST_FILES = 10_000
"""Files of one source that are looked at: millions of them, on a network's disk, would take too long."""
EDGE = 4096
"""Bytes that are read at the beginning and at the end of a file."""
NOTHING = hashlib.sha256().digest()
"""What stands for a file that cannot be read."""
READERS = 16
"""Files that are read at once, since a network's disk answers slowly."""


class DataDigest(NamedTuple):
    """What one source of data was, so that a run that goes on can tell whether it is still the same."""

    source: str
    """The folder or file that the recipe names."""
    count: int
    """How many there are of what `unit` says: videos, rows, episodes."""
    unit: str
    rows: str
    """The digest of what the source says: paths, labels, segments, texts, states."""
    files: str = ""
    """The digest of the files that it names; empty if `rows` counts them in."""
    unreadable: str = ""
    """The first of these files that was missing or could not be read; empty if there was none."""


def manifest_digest(manifest: Manifest, columns: Sequence[str] = ()) -> DataDigest:
    """The digest of a manifest, with the targets in further columns, and of its videos.

    It stays the same when list and videos move to another place together.
    """
    table = manifest.table
    targets = [name for name in (LABELS, *columns) if name in table.column_names]
    rows = manifest.digests[1] if manifest.digests else table_digest(without_common_folder(table))
    digests = [rows, *(table_digest(table.select([name])) for name in targets)]
    files = [manifest.row(int(i)).path for i in spread(len(manifest))]
    unit = "videos" if manifest.source.is_dir() else "rows"
    return DataDigest(
        manifest.address or str(manifest.source),
        len(manifest),
        unit,
        joint_digest(digests),
        *files_digest(files),
    )


def rows_digest(manifest: Manifest) -> str:
    """The digest of a manifest's rows. Paths count as written."""
    return manifest.digests[0] if manifest.digests else table_digest(manifest.table)


def array_digest(*arrays: np.ndarray) -> str:
    """The digest of the numbers of several arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:DIGITS]


def file_digest(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


def joint_digest(digests: Iterable[str]) -> str:
    """One digest for several sources: for a single one, its own."""
    first, *others = digests
    return hashlib.sha256(" ".join([first, *others]).encode()).hexdigest()[:DIGITS] if others else first


def spread(count: int, most: int = MOST_FILES) -> np.ndarray:
    """At most so many of the numbers 0..count-1, evenly spread: the first and the last are among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)) if count else np.arange(0)


def files_digest(files: Sequence[Path | Stored]) -> tuple[str, str]:
    """The digest of the sizes, first and last bytes of files, in their order, and the first unreadable file.

    A file that is missing counts too. Times of modification do not count, since a copy has another one.
    """
    with ThreadPoolExecutor(READERS) as readers:
        edges = list(readers.map(edges_digest, files))
    unreadable = str(files[edges.index(NOTHING)]) if NOTHING in edges else ""
    return hashlib.sha256(b"".join(edges)).hexdigest()[:DIGITS], unreadable


def edges_digest(path: Path | Stored) -> bytes:
    """The digest of a file's size and of its first and last bytes; NOTHING if it cannot be read."""
    try:
        size, begin, end = path.edges(EDGE) if isinstance(path, Stored) else edges_of(path)
    except (OSError, StorageError):  # training says what is wrong with it, where it cannot do without
        return NOTHING
    return hashlib.sha256(f"{size} ".encode() + begin + end).digest()


def edges_of(path: Path) -> tuple[int, bytes, bytes]:
    """The size of a file, and its first and last bytes."""
    if not path.is_file():  # one waits at a pipe for ever
        raise FileNotFoundError(errno.ENOENT, "no file", str(path))
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return size, *first_and_last(file, size, EDGE)
