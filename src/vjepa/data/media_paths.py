"""What the paths of a manifest mean: home folders, backslashes, and the folder that they are relative to."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from vjepa.data.storage import ADDRESS, is_address
from vjepa.errors import announce

FIRST = 100
"""Rows that decide for all."""


def plain_paths(path: pa.ChunkedArray) -> pa.ChunkedArray:
    """Paths as this machine writes them: file:///data/a.mp4 and ~/a.mp4 with their folders."""
    if pc.any(pc.starts_with(path, "file://")).as_py():
        path = pa.chunked_array([[_local(name) for name in path.to_pylist()]], path.type)
    if pc.any(pc.starts_with(path, "~/")).as_py():
        path = pc.replace_substring_regex(path, r"^~/", str(Path.home()).replace("\\", r"\\") + "/")
    return path


def protocols_in(path: pa.ChunkedArray) -> list[str]:
    """The protocols of the paths that are addresses, such as s3."""
    addresses = pc.drop_null(pc.struct_field(pc.extract_regex(path, ADDRESS), "protocol"))
    return pc.unique(addresses).to_pylist()


def located(source: Path, path: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Path]:
    """The paths, and the folder that they are relative to.

    That is the manifest's folder, or the working folder if the first files are there and not in the other.
    """
    folder = source.parent
    first = [name for name in path[:FIRST].to_pylist() if not is_address(name)]
    if not first or any_exists(folder, first):
        return path, folder

    with_slashes = [name.replace("\\", "/") for name in first]
    if any_exists(Path(), first):
        folder = Path()
    elif with_slashes != first and any(any_exists(base, with_slashes) for base in (folder, Path())):
        folder = folder if any_exists(folder, with_slashes) else Path()
        path = pc.replace_substring(path, "\\", "/")
        announce(f"{source}: the backslashes in its paths are read as slashes")
    if folder != source.parent:
        announce(f"{source}: its paths are relative to the working folder, {Path.cwd()}, not to its own")
    return path, folder


def _local(path: str) -> str:
    """The path that an address such as file:///data/a.mp4 names; another path as it is."""
    return unquote(urlsplit(path).path) if path.startswith("file://") else path


def any_exists(folder: Path, paths: list[str]) -> bool:
    return any(os.path.exists(os.path.join(folder, path)) for path in paths)
