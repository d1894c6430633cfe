"""Keys of a conversation's row: which are read, which must not be lost, and one line about the others."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from vjepa.data.manifest_files import ManifestError
from vjepa.data.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES

MEDIA = ("video", "videos", "image", "images")

ROW = (
    *("conversations", "messages", "system", *MEDIA, "start", "end"),
    *("options", "kind", "pair"),
)
TURN = {"from", "value", "role", "content"}
PART = ("type", "text", "video", "image", "video_url", "image_url", "path", "url")
NAMES = ("id", "question_id")
"""Keys that only name a row. Nothing reads them, and nobody misses them."""
KNOWN = frozenset({*ROW, *NAMES})
SHOWN = 8
"""Keys that a line names."""
BEGIN_OR_END = re.compile(
    r"((video|clip|segment)_?)?(start|end|begin|stop)(_?(time|timestamp|sec|second|frame|m?s)s?)?", re.I
)
"""Names that public data give to the first or the last moment that is shown."""
PAIR = re.compile(r"((video|time)_?)?(clip|segment|span|range|interval|timestamp|moment|window)s?", re.I)
"""The same for a key that holds both."""


def unread_keys(row: dict) -> list[str]:
    """The keys that nothing reads, each once however many turns have it."""
    return list(dict.fromkeys(key for key, _ in unread(row)))


def unread(row: dict) -> Iterator[tuple[str, object]]:
    """(key, value) that nothing reads: of a row that could be parsed, of its turns, and of their parts."""
    for key in row:
        if key not in KNOWN:
            yield key, row[key]
    for turn in row.get("conversations") or row.get("messages") or []:
        for key in turn:
            if key not in TURN:
                yield f"turn.{key}", turn[key]
        content = turn.get("value") or turn.get("content")
        if isinstance(content, list):
            parts = [part for part in content if isinstance(part, dict)]
            yield from ((f"part.{key}", part[key]) for part in parts for key in part if key not in PART)


def check_unread(row: dict, has_media: bool) -> None:
    """Raise ManifestError for a key that nothing reads and without which the answer would be about another
    video: it names a medium where no other key does, or a part of the video."""
    for key, value in unread(row):
        name = key.rpartition(".")[2]
        if file := media_name(value):
            if not has_media or nearest(name) in MEDIA:
                kind = "video" if file.lower().endswith(VIDEO_SUFFIXES) else "image"
                # A row's key that is like a known one is pointed to with every error of the row.
                hint = "" if key in row and nearest(key) else f"; did you mean {kind}?"
                raise ManifestError(f"nothing reads {key}, which names {file!r}{hint}")
        elif has_media and is_segment(name, value):
            raise ManifestError(
                f"{key} names a part of the video, but only the row's own start and end (seconds) are read; "
                "put it there or remove it"
            )


def media_name(value: object) -> str | None:
    """The first video or image that a value names, by its ending; None if it names none."""
    first = value[0] if isinstance(value, list) and value else value
    path = first.get("path") or first.get("url") if isinstance(first, dict) else first
    is_media = isinstance(path, str) and path.lower().endswith(VIDEO_SUFFIXES + IMAGE_SUFFIXES)
    return path if is_media else None


def is_segment(name: str, value: object) -> bool:
    """Whether a key says which part of a video is shown. A single `timestamp` is when a row was written."""
    names = PAIR if isinstance(value, list | dict) else BEGIN_OR_END
    return value not in (None, "", [], {}) and names.fullmatch(name) is not None


def unread_line(source: Path, counts: Counter[str]) -> str:
    """Which keys of a file were not read, and in how many rows; what was meant where a known key is alike."""
    named = [f"{key} ({rows} rows{meant(key)})" for key, rows in counts.most_common(SHOWN)]
    more = [f"{len(counts) - SHOWN} more"] if len(counts) > SHOWN else []
    return f"{source}: keys that are not read: {', '.join([*named, *more])}"


def misspelt(row: object) -> str:
    """`; did you mean video for vidoe?` for each key of a row that is like a known one; empty without any."""
    unknown = row.keys() - KNOWN if isinstance(row, Mapping) else ()
    return "".join(f"; did you mean {near} for {key}?" for key in sorted(unknown) if (near := nearest(key)))


def meant(key: str) -> str:
    near = nearest(key)
    return f"; did you mean {near}?" if near else ""


def nearest(key: str) -> str | None:
    """The key of a row that this one resembles, such as video for vidoe; not for video_id."""
    close = get_close_matches(key.lower(), ROW, n=1, cutoff=0.78)
    # A typing error is seldom in the first letter: captions are no options.
    return close[0] if close and close[0][0] == key[0].lower() else None
