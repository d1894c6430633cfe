"""Object storage: files at addresses such as `s3://bucket/videos/a.mp4`, of any protocol that fsspec knows.

    data = read_range("s3://bucket/a.mp4", 0, 4096, StorageConfig())

Every request has a time limit and is tried again a few times, so a server that is slow, busy or gone ends in
a StorageError and never in a wait without end. Keys and endpoints are those of the environment
(`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `FSSPEC_S3_...`), as for all other programs.
"""

import os
import re
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache, partial
from inspect import signature
from pathlib import Path
from threading import Thread
from typing import NamedTuple, TypeVar

import fsspec
from fsspec.asyn import AsyncFileSystem, sync

from vjepa.errors import UserError, counted, require

ADDRESS = r"^(?P<protocol>[A-Za-z][A-Za-z0-9+.-]+)://"
BLOCK = 8 * 2**20
"""Bytes of one request for a large file."""
SOME = 2**18
"""Bytes of an answer that are taken at once."""
HOPELESS = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Answers that do not change by asking again."""
FIRST_WAIT = 0.5
"""Seconds before a request is tried again; twice as many before the next time."""
PACKAGES = {"s3": "vjepa[cloud]", "s3a": "vjepa[cloud]", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs"}
OTHER_PLACES = "download the files and give their paths, or give addresses such as s3://bucket/a.mp4"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class StorageConfig:
    """How files at addresses are read. Files of the machine's own disks are read where they are."""

    cache: str = ""
    """Folder that keeps what was read; empty: `vjepa` in $XDG_CACHE_HOME or ~/.cache."""
    cache_gb: float | int = 20.0
    """Most gigabytes that it keeps; what was not used for the longest time goes first. 0 keeps nothing."""
    retries: int = 3
    """How often a request is tried again, after 0.5, 1, 2 ... seconds."""
    timeout: float | int = 30.0
    """Seconds that one request may take."""

    def __post_init__(self) -> None:
        require(self.cache_gb >= 0, f"storage.cache_gb={self.cache_gb} must be 0 or more")
        require(self.retries >= 0, f"storage.retries={self.retries} must be 0 or more")
        require(0 < self.timeout < float("inf"), f"storage.timeout={self.timeout} must be seconds, above 0")

    @property
    def folder(self) -> Path:
        """The folder that keeps what was read."""
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return Path(self.cache).expanduser() if self.cache else home / "vjepa"

    @property
    def limit(self) -> int:
        """Most bytes that it keeps."""
        return int(self.cache_gb * 1e9)


class StorageError(UserError):
    """A file at an address cannot be read. The text does not name the file, which the caller knows."""


class Status(NamedTuple):
    """What is known of a file without reading it."""

    size: int
    version: str
    """Changes with the content."""


def is_address(name: object) -> bool:
    """Whether this names a file in a storage, and not one of the machine's file systems."""
    return re.match(ADDRESS, str(name)) is not None


def protocol_of(address: str) -> str:
    return re.match(ADDRESS, address)["protocol"].lower()


def joined(folder: object, name: str) -> str:
    """The address, or the path, of a file that a list in `folder` names."""
    if is_address(name) or name.startswith("/"):
        return name
    root = str(folder)
    return f"{root}{name}" if root.endswith("://") else f"{root.rstrip('/')}/{name}"


def check_protocol(protocol: str) -> None:
    """Raise StorageError for a protocol that is unknown, or whose package is missing."""
    try:
        fsspec.get_filesystem_class(protocol.lower())
    except ImportError as error:
        package = PACKAGES.get(protocol.lower())
        advice = f"pip install '{package}'" if package else str(error)
        raise StorageError(f"{protocol}:// needs a package that is missing; {advice}") from error
    except ValueError as error:
        raise StorageError(f"{protocol}:// is no storage that is known here; {OTHER_PLACES}") from error


def status(address: str, config: StorageConfig) -> Status:
    """Size and version of a file. Raises StorageError."""
    info = answer(address, config, lambda fs, path: fs.info(path))
    if info.get("type") == "directory" or info.get("size") is None:
        raise StorageError("a folder, or of unknown size")
    version = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified") or ""
    return Status(int(info["size"]), str(version))


def check_same(address: str, state: Status, config: StorageConfig) -> None:
    """Raise StorageError if the file is no longer the one whose state was `state`."""
    if status(address, config) != state:
        raise StorageError("it was written anew while it was read; start again")


def check_place(address: str, config: StorageConfig) -> None:
    """Raise StorageError if the bucket of an address cannot be asked. A file in it may be missing."""
    try:
        answer(address, config, lambda fs, path: fs.info(path))
    except StorageError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        bucket = "/".join(address.split("/")[:3])
        if not answer(bucket, config, lambda fs, path: fs.exists(path)):
            raise StorageError(f"there is no {bucket}, or it may not be read") from error


def read_range(address: str, start: int, end: int, config: StorageConfig) -> bytes:
    """Bytes `start` to `end` of a file. Raises StorageError, also if the file ends before."""
    data = answer(address, config, lambda fs, path: part_of(fs, path, start, end, config.timeout))
    if len(data) != end - start:
        what = "cut off" if len(data) < end - start else "more than was asked for"
        raise StorageError(f"{what}: bytes {start} to {end} are wanted, and {len(data)} are there")
    return data


def part_of(fs: fsspec.AbstractFileSystem, path: str, start: int, end: int, timeout: float | int) -> bytes:
    """Bytes `start` to `end` of a file, or fewer, or more. The request ends with the time limit, too."""
    if not isinstance(fs, AsyncFileSystem):
        return fs.cat_file(path, start=start, end=end)
    read = partial(part_of_object, fs) if hasattr(fs, "_call_s3") else fs._cat_file
    return sync(fs.loop, read, path, start=start, end=end, timeout=timeout)


async def part_of_object(fs: AsyncFileSystem, path: str, start: int, end: int) -> bytes:
    """The same in S3, from a server that may never stop sending: hardly more than is wanted, at most."""
    bucket, key, _ = fs.split_path(path)
    response = await fs._call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}")
    data = bytearray()
    try:
        while len(data) <= end - start and (some := await response["Body"].read(SOME)):
            data += some
    finally:
        response["Body"].close()
    return bytes(data)


def answer(
    address: str, config: StorageConfig, ask: Callable[[object, str], Answer], paged: bool = False
) -> Answer:
    """What `ask(file system, path)` returns, within the time limit, or after another try.

    paged: Whether it makes many requests, such as a listing. Raises StorageError."""
    limit = config.timeout * (100 if paged else 1)
    for attempt in range(config.retries + 1):
        if attempt:
            # Of different length for each process, so that they do not all come back at once.
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1) * (1 + os.getpid() % 10 / 10))
        try:
            return within(limit, lambda: ask(*place_of(address, config)))
        except StorageError:
            raise
        except HOPELESS as error:
            raise StorageError(reason_of_refusal(error)) from error
        except Exception as error:  # noqa: BLE001  each protocol has errors of its own
            last = error
    words = f"no answer within {limit:g} s" if isinstance(last, TimeoutError) else in_short(last)
    raise StorageError(f"{words} (tried {counted(config.retries + 1, 'time')})") from last


def place_of(address: str, config: StorageConfig) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of an address, and its path there. Raises StorageError."""
    protocol = protocol_of(address)
    try:
        fs = file_system(protocol, config.timeout, os.getpid())
        return fs, fs._strip_protocol(address)
    except StorageError:
        raise
    except Exception as error:  # each protocol has errors of its own, such as that it needs a host
        reason = f"{protocol}:// cannot be read by an address alone ({in_short(error)})"
        raise StorageError(f"{reason}; {OTHER_PLACES}") from error


def reason_of_refusal(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file in the storage"
    if isinstance(error, PermissionError):
        return f"access denied ({in_short(error)}); check the keys in the environment and their rights"
    return in_short(error)


def in_short(error: BaseException) -> str:
    text = str(error).partition("\n")[0][:200]
    return text or type(error).__name__


def within(seconds: float | int, call: Callable[[], Answer]) -> Answer:
    """What `call` returns. Raises TimeoutError if it takes longer; it is then left to itself."""
    result: Future = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001  it is raised in the thread that waits
            result.set_exception(error)

    # A daemon, because a thread that hangs must not keep the process from ending.
    Thread(target=run, daemon=True).start()
    return result.result(seconds)


@lru_cache(maxsize=32)
def file_system(protocol: str, timeout: float | int, process: int) -> fsspec.AbstractFileSystem:
    """The file system of a protocol. One for each process, since connections do not survive a fork."""
    check_protocol(protocol)
    # Some complain only when they are removed, in a text of many lines.
    signature(fsspec.get_filesystem_class(protocol).__init__).bind(None)
    if protocol not in ("s3", "s3a"):
        return fsspec.filesystem(protocol)
    # `answer` tries again, and the library should not do so too within one try.
    settings = {"retries": {"max_attempts": 0}, "max_pool_connections": 64}
    limits = {"connect_timeout": timeout, "read_timeout": timeout}
    fs = fsspec.filesystem(protocol, config_kwargs=settings | limits, use_listings_cache=False)
    fs.retries = 1
    return fs
