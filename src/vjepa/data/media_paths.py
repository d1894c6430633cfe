"""What the paths of a manifest mean: home folders, backslashes, and the folder that they are relative to."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from vjepa.data.row_errors import check_rows
from vjepa.errors import announce

FIRST = 100
"""Rows that decide for all."""


def located(source: Path, table: pa.Table) -> tuple[pa.Table, Path]:
    """The table with paths as this machine writes them, and the folder that they are relative to.

    That is the manifest's folder, or the working folder if the first files are there and not in the other.
    Raises ManifestError for an address on the network."""
    folder = source.parent
    path = table["path"]
    if pc.any(pc.starts_with(path, "file://")).as_py():
        path = pa.chunked_array([[_local(name) for name in path.to_pylist()]], path.type)
    address = pc.match_substring_regex(path, r"^[A-Za-z][A-Za-z0-9+.-]+://")
    check_rows(source, address, path, "{!r} is an address, not a file; download it and give its path".format)
    if pc.any(pc.starts_with(path, "~/")).as_py():
        path = pc.replace_substring_regex(path, r"^~/", str(Path.home()).replace("\\", r"\\") + "/")

    first = path[:FIRST].to_pylist()
    if not any_exists(folder, first):
        with_slashes = [name.replace("\\", "/") for name in first]
        if any_exists(Path(), first):
            folder = Path()
        elif with_slashes != first and any(any_exists(base, with_slashes) for base in (folder, Path())):
            folder = folder if any_exists(folder, with_slashes) else Path()
            path = pc.replace_substring(path, "\\", "/")
            announce(f"{source}: the backslashes in its paths are read as slashes")
        if folder != source.parent:
            announce(f"{source}: its paths are relative to the working folder, {Path.cwd()}, not to its own")
    return table.set_column(table.column_names.index("path"), "path", path), folder


def _local(path: str) -> str:
    """The path that an address such as file:///data/a.mp4 names; another path as it is."""
    return unquote(urlsplit(path).path) if path.startswith("file://") else path


def any_exists(folder: Path, paths: list[str]) -> bool:
    return any(os.path.exists(os.path.join(folder, path)) for path in paths)
