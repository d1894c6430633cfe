"""The videos that a command's paths name: files, folders and manifests together."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from vjepa.data.loose_files import read_videos
from vjepa.data.manifest import NO_LABEL, Manifest, Row
from vjepa.data.manifest_files import LISTS
from vjepa.data.storage import is_address
from vjepa.data.stored import Stored


def rows_of(paths: Sequence[Path]) -> list[Row]:
    """One row for each video or image that the paths name.

    Raises ManifestError for a path that does not exist, and for a folder without videos and images.
    """
    rows = []
    for path in map(Path, paths):
        # Any other file is taken for a video, because only decoding it shows what it is.
        is_file = path.is_file() and path.suffix.lower() not in LISTS
        listed = None if is_file else read_videos(path)
        rows += [Row(path, None, None, None)] if listed is None else map(listed.row, range(len(listed)))
    return rows


def manifest_of(rows: Sequence[Row]) -> Manifest:
    """The rows as one manifest."""
    columns = {
        # Absolute, so that the manifest has no folder to be relative to.
        "path": pa.array([path_text(row.path) for row in rows], pa.large_string()),
        "label": pa.array([NO_LABEL] * len(rows), pa.int64()),
        "start": pa.array([row.start for row in rows], pa.float64()),
        "end": pa.array([row.end for row in rows], pa.float64()),
    }
    stored = [row.path if isinstance(row.path, Stored) and row.path.member else None for row in rows]
    if any(stored):
        columns["shard"] = pa.array([media and absolute(media.address) for media in stored])
        columns |= {
            name: pa.array([media and getattr(media, name) for media in stored])
            for name in ("offset", "size", "digest")
        }
    return Manifest(Path(), pa.table(columns))


def path_text(path: Path | Stored) -> str:
    """What a manifest calls a video: the name of a member of a shard, an address, or an absolute path."""
    if isinstance(path, Stored):
        return path.member or path.address
    return str(path.resolve())


def absolute(place: str) -> str:
    return place if is_address(place) else str(Path(place).resolve())
