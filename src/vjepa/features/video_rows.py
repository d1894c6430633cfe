"""The videos that a command's paths name: files, folders and manifests together."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from vjepa.data.manifest import NO_LABEL, Manifest, Row
from vjepa.data.manifest_files import LISTS
from vjepa.features.config import read_videos


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
        "path": pa.array([str(row.path.resolve()) for row in rows], pa.large_string()),
        "label": pa.array([NO_LABEL] * len(rows), pa.int64()),
        "start": pa.array([row.start for row in rows], pa.float64()),
        "end": pa.array([row.end for row in rows], pa.float64()),
    }
    return Manifest(Path(), pa.table(columns))
