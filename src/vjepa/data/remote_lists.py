"""Manifests in a storage: copied to the local disk, with the maps of classes that lie beside them."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa

from vjepa.data.manifest_error import ManifestError
from vjepa.data.manifest_files import LISTS
from vjepa.data.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from vjepa.data.storage import (
    BLOCK,
    Status,
    StorageConfig,
    StorageError,
    answer,
    check_protocol,
    check_same,
    is_address,
    protocol_of,
    read_range,
    status,
)
from vjepa.drawing.outputs import complete_file


class ListFile(NamedTuple):
    """A manifest: where it can be read now, and where it comes from."""

    source: Path
    address: str = ""
    """Empty for one on the machine's disks."""
    table: pa.Table | None = None
    """The videos, where the address is that of a folder or of a video."""

    @property
    def folder(self) -> str:
        """The address that paths are relative to."""
        if self.table is not None and not is_media(self.address):
            return self.address.rstrip("/")
        folder = self.address.rpartition("/")[0]
        return folder if is_address(folder) else f"{folder}/"  # at the root of a storage, such as memory://


def remote_list(address: str, config: StorageConfig) -> ListFile:
    """The manifest at an address: a list, a folder or a video. Raises ManifestError."""
    suffix = PurePosixPath(address).suffix.lower()
    try:
        check_protocol(protocol_of(address))
        if suffix in LISTS:
            return ListFile(copied(address, config), address)
        if is_media(address):
            return ListFile(Path(address), address, videos([PurePosixPath(address).name]))
        names = [name for name in files_below(address, config) if is_media(name, VIDEO_SUFFIXES)]
    except StorageError as error:
        raise ManifestError(f"{address}: {error}") from error
    except OSError as error:
        raise ManifestError(f"{config.folder}: {error.strerror}; give data.storage.cache a folder") from error
    if not names:
        raise ManifestError(f"{address}: no videos there or below; give a list, or another folder")
    return ListFile(Path(address), address, videos(names))


def files_below(address: str, config: StorageConfig) -> list[str]:
    """The files in a folder and below it, relative to it, sorted. Raises StorageError.

    Names that would be paths or addresses by themselves, such as `/a.mp4` for `s3://bucket/folder//a.mp4`,
    are whole addresses."""
    root, names = answer(address, config, lambda fs, path: (path.rstrip("/"), fs.find(path)), paged=True)
    below = sorted(name[len(root) + 1 :] for name in names if name.startswith(f"{root}/"))
    folder = address.rstrip("/")
    return [f"{folder}/{name}" if is_address(name) or name.startswith("/") else name for name in below]


def is_media(name: str, suffixes: tuple[str, ...] = VIDEO_SUFFIXES + IMAGE_SUFFIXES) -> bool:
    return PurePosixPath(name).suffix.lower() in suffixes


def videos(names: list[str]) -> pa.Table:
    return pa.table({"path": pa.array(names, pa.large_string())})


def copied(address: str, config: StorageConfig) -> Path:
    """A local copy of a list, of its newest version. The maps of classes that lie beside it are there too.

    Raises StorageError, or OSError."""
    folder, _, name = address.rpartition("/")
    found = {name: status(address, config)}
    for beside in (f"{name}.labels.json", "labels.json"):
        try:
            found[beside] = status(f"{folder}/{beside}", config)
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
    key = hashlib.sha256(f"{folder} {found}".encode()).hexdigest()[:12]
    for beside, state in reversed(found.items()):
        target = config.folder / "lists" / key / beside
        if not target.exists():
            copy(f"{folder}/{beside}", state, target, config)
    return target


def copy(address: str, state: Status, target: Path, config: StorageConfig) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(target) as unfinished, unfinished.open("wb") as file:
        for start in range(0, state.size, BLOCK):
            file.write(read_range(address, start, min(start + BLOCK, state.size), config))
    try:
        check_same(address, state, config)
    except StorageError:
        target.unlink(missing_ok=True)
        raise
