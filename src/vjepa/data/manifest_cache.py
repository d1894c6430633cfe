"""Large Parquet manifests, checked once and then mapped from an Arrow file beside them.

    table, facts = cached_table(Path("train.parquet"), Path("~/.cache/vjepa"))

The first process reads the Parquet file in batches, checks every value, and writes `train.parquet.cache`: the
columns that each draw asks for, each in one piece, then all other columns, then a checksum. From then on the
file is mapped, so it opens at once, all processes share its memory, and a row is found without a search. The
memory of both does not grow with the number of rows.
"""

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

from vjepa.data.byte_files import first_and_last
from vjepa.data.cache_builder import Builder, RowFacts
from vjepa.data.manifest_error import ManifestError
from vjepa.data.manifest_files import with_column
from vjepa.drawing.outputs import complete_file, sync
from vjepa.errors import announce

FEWEST = 200_000
"""Rows from which on a manifest is mapped. A smaller one is read in a moment."""
FORMAT = 1
"""Changes with what a cache holds, so that one of another version is built anew."""
EDGE = 2**16
"""Bytes of the source, at its begin and its end, that tell whether it is still the same."""
PIECE = 2**22
"""Bytes that are read at once for the checksum."""
LONGEST_WAIT = 3600.0
"""Seconds to wait for another process that builds the cache."""
LOCK = "lock"
"""A file that is locked in the folder of a build as long as its process runs."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What only writing can meet. Such an error need not name a file."""


def is_large(source: Path) -> bool:
    """Whether a Parquet file has so many rows that they are mapped."""
    return pa.parquet.read_metadata(source).num_rows >= FEWEST


def cached_table(source: Path, folder: Path) -> tuple[pa.Table, RowFacts]:
    """The typed table of a Parquet file, mapped, with names of classes as a dictionary, and facts about it.

    The cache lies beside the source, or in `folder` where that cannot be written to. Raises ManifestError."""
    key = source_key(source)
    name = f"{source.name}.cache"
    elsewhere = folder / "manifests" / hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:12]
    places = [source.with_name(name), elsewhere / name]
    for place in places:
        if found := opened(place, key):
            return found
    with one_at_a_time(source):
        for place in places:
            # Another process may have built it meanwhile.
            if (found := opened(place, key)) or (found := built(source, place, key)):
                return found
    raise ManifestError(
        f"{source}: neither {places[0].parent} nor {places[1].parent} can be written to, and a manifest of "
        "so many rows is mapped from a file there; make room, or give data.storage.cache a folder"
    )


def source_key(source: Path) -> str:
    """What tells whether a source is still the same: size, times and first and last bytes.

    A program may set the time of the content back, as `cp -p` and `rsync` do, but not that of the last change
    of the file. A copy has another one, so a cache that was copied with its source is built anew."""
    with source.open("rb") as file:
        state = os.fstat(file.fileno())
        edges = hashlib.sha256(b"".join(first_and_last(file, state.st_size, EDGE))).hexdigest()
    return f"{FORMAT} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {edges[:24]}"


def opened(place: Path, key: str) -> tuple[pa.Table, RowFacts] | None:
    """The table in a cache; None if there is none, if it is of another source, or damaged."""
    try:
        whole = is_whole(place)
        if whole:
            # Two streams of Arrow: the columns that are asked for at every draw, and all others.
            file = pa.memory_map(str(place))
            table = pa.ipc.open_stream(file).read_all()
            others = pa.ipc.open_stream(file).read_all()
            facts = RowFacts(**json.loads(table.schema.metadata[b"facts"]))
    except (FileNotFoundError, IsADirectoryError):
        return None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        announce(f"{place} is damaged; it is built anew")
        return None
    if facts.key != key or facts.home not in ("", str(Path.home())):
        return None
    for name in others.column_names:
        table = table.append_column(name, others[name])
    if pa.types.is_dictionary(table.schema.field("label").type):
        table = with_column(table, "label_name", table["label"])
    return table, facts


def is_whole(place: Path) -> bool:
    """Whether the checksum at the end of a file is that of what comes before."""
    with place.open("rb") as file:
        return checksum_of(file, place.stat().st_size - 4) == file.read()


def append_checksum(file: Path) -> None:
    with file.open("rb") as content, file.open("ab") as end:
        end.write(checksum_of(content, file.stat().st_size))


def checksum_of(file: BinaryIO, size: int) -> bytes:
    """The checksum of the first `size` bytes of an open file, which is then at their end."""
    checksum = 0
    for first in range(0, size, PIECE):
        checksum = zlib.crc32(file.read(min(PIECE, size - first)), checksum)
    return checksum.to_bytes(4)


@contextmanager
def one_at_a_time(source: Path) -> Iterator[None]:
    """Let one process after the other build the cache. After an hour, or without locks, each builds one."""
    with source.open("rb") as file:
        end = time.monotonic() + LONGEST_WAIT
        while time.monotonic() < end:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                announce(f"{source}: another process reads it for the first time; waiting for it")
                time.sleep(0.2)
                continue
            except OSError:  # the file system has no locks
                pass
            break
        yield


def built(source: Path, place: Path, key: str) -> tuple[pa.Table, RowFacts] | None:
    """Build a cache and open it; None where it cannot be written. Raises ManifestError."""
    try:
        write(source, place, key)
    except OSError as error:
        if error.errno not in FULL and (error.filename is None or Path(error.filename) == source):
            raise
        announce(f"{place} cannot be written ({error.strerror})")
        return None
    return opened(place, key)


def write(source: Path, place: Path, key: str) -> None:
    """Build a cache. Raises OSError where it cannot be written."""
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(place) as unfinished, build_folder(unfinished.parent, place.name) as folder:
        cache = folder / "cache"
        Builder(source, folder).write(cache, key)
        append_checksum(cache)
        sync(cache)
        cache.replace(unfinished)
    pa.default_memory_pool().release_unused()


@contextmanager
def build_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder for all that is not finished. Removes those of killed processes, whose locks are gone."""
    prefix = f".{name[:40]}."
    for left in parent.glob(f"{glob.escape(prefix)}*.unfinished"):
        remove_left(left)
    with TemporaryDirectory(".unfinished", prefix, parent) as folder, Path(folder, LOCK).open("wb") as lock:
        with suppress(OSError):  # without locks on a disk, nothing is removed there
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Path(folder)


def remove_left(folder: Path) -> None:
    """Remove the folder of a build, unless its process runs."""
    with suppress(OSError), (folder / LOCK).open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
