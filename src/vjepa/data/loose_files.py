"""Videos and images that no list names: a single file, or a folder of images only."""

from pathlib import Path

import pyarrow as pa

from vjepa.data.manifest import Manifest, read_manifest
from vjepa.data.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, files_by_kind
from vjepa.data.storage import StorageConfig


def read_videos(videos: Path, storage: StorageConfig = StorageConfig()) -> Manifest:
    """The manifest at a path, or one made for a single video or image, or for a folder of images only."""
    files = files_without_list(videos)
    if not files:
        return read_manifest(str(videos), storage=storage)
    empty = pa.nulls(len(files), pa.float64())
    # The paths are absolute, so that the manifest has no folder to be relative to.
    columns = {
        "path": [str(path.resolve()) for path in files],
        "label": [-1] * len(files),
        "start": empty,
        "end": empty,
    }
    return Manifest(videos, pa.table(columns))


def files_without_list(videos: Path) -> list[Path]:
    """The files, if the path is a single video or image or a folder of images only; otherwise none."""
    if videos.is_file():
        return [videos] if videos.suffix.lower() in VIDEO_SUFFIXES + IMAGE_SUFFIXES else []
    files = files_by_kind(videos)
    # A folder that holds a video is a data set, which `read_manifest` lists.
    if any(kind in VIDEO_SUFFIXES for kind in files):
        return []
    return sorted(videos / path for kind in IMAGE_SUFFIXES for path in files.get(kind, ()))
