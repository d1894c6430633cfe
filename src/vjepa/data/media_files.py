"""Which files are videos and images by their endings, and all the videos of a folder."""

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from vjepa.data.manifest_error import ManifestError
from vjepa.errors import announce

ENDINGS = """
    mp4 m4v mp4v mov qt f4v 3gp 3g2 ismv mj2 mkv mk3d webm avi divx xvid amv wmv asf wtv dvr-ms flv ogv ogm
    mpg mpeg mpe m1v m2v mpv m2p vob evo mod tod ts mts m2ts m2t tp trp mxf gxf dv dif nut nsv ivf y4m rm rmvb
    h261 h263 h264 264 avc h265 265 hevc h266 266 vvc obu vc1 mjpeg mjpg gif flc fli roq bik smk viv
"""
VIDEO_SUFFIXES = tuple(f".{ending}" for ending in ENDINGS.split())
"""Containers and streams that FFmpeg reads, without those of sound, of text and of single images."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MEDIA = "|".join(re.escape(suffix) for suffix in VIDEO_SUFFIXES + IMAGE_SUFFIXES)
"""A regular expression of all these endings."""
SHOWN = 6
"""Kinds of files left out that are named."""


def videos_below(folder: Path) -> list[str]:
    """The videos in a folder and below it, sorted, relative to it. A note counts what is left out.

    Raises ManifestError without any video."""
    files = files_by_kind(folder)
    found = sorted(path for kind in VIDEO_SUFFIXES for path in files.get(kind, ()))
    left_out = Counter({kind: len(paths) for kind, paths in files.items() if kind not in VIDEO_SUFFIXES})
    if not found:
        there = f"; there are only {counts_text(left_out)}" if left_out else ""
        some = " ".join(VIDEO_SUFFIXES[:12])
        raise ManifestError(f"{folder}: no videos in this folder or below; looked for {some} ...{there}")
    if left_out:
        announce(f"{folder}: {len(found)} video{'s' * (len(found) > 1)}; left out: {counts_text(left_out)}")
    return found


def files_by_kind(folder: Path) -> dict[str, list[str]]:
    """All files in a folder and below it, relative to it, by their ending or why they are left out.

    Linked folders are followed. A folder that is reached twice is read once."""
    files: dict[str, list[str]] = {}
    seen = set()
    folders = [str(folder)]
    links: list[str] = []
    # Links wait until all folders below are read, so that a video which a link leads to keeps its own path.
    while folders or links:
        here = folders.pop() if folders else links.pop(0)
        if (real := os.path.realpath(here)) in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError:
            files.setdefault("unreadable folder", []).append(os.path.relpath(here, folder))
            continue
        for entry in entries:
            if leads_to(entry.is_dir) and not entry.name.startswith("."):
                (links if entry.is_symlink() else folders).append(entry.path)
            else:
                files.setdefault(kind_of(entry), []).append(os.path.relpath(entry.path, folder))
    return files


def leads_to(is_kind: Callable[[], bool]) -> bool:
    """Whether an entry is a folder, or a file. A link to itself is neither, and an error of the system."""
    try:
        return is_kind()
    except OSError:
        return False


def kind_of(entry: os.DirEntry) -> str:
    """The ending of a file in lower case, or why it is left out."""
    if entry.name.startswith("."):
        return "hidden"
    if not leads_to(entry.is_file):
        return "broken link" if entry.is_symlink() else "no file"
    return os.path.splitext(entry.name)[1].lower() or "without an ending"


def counts_text(counts: Counter[str]) -> str:
    """`3 .jpg, 1 .txt`, the most frequent first."""
    most = counts.most_common(SHOWN)
    rest = counts.total() - sum(count for _, count in most)
    return ", ".join([*(f"{count} {kind}" for kind, count in most), *([f"{rest} others"] if rest else [])])
