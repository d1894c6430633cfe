"""Keys of a conversation's row: which are read, and one line about the others."""

from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

ROW = (
    *("conversations", "messages", "system", "video", "videos", "image", "images", "start", "end"),
    *("options", "kind", "pair"),
)
TURN = ("from", "value", "role", "content")
PART = ("type", "text", "video", "image", "video_url", "image_url", "path", "url")
NAMES = ("id", "question_id")
"""Keys that only name a row. Nothing reads them, and nobody misses them."""
SHOWN = 8
"""Keys that a line names."""


def unread_keys(row: dict) -> Iterator[str]:
    """The keys that nothing reads: of a row that could be parsed, of its turns, and of their parts."""
    yield from row.keys() - {*ROW, *NAMES}
    turns = row.get("conversations") or row.get("messages") or []
    yield from {f"turn.{key}" for turn in turns for key in turn.keys() - TURN}
    contents = [turn.get("value") or turn.get("content") for turn in turns]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    yield from {f"part.{key}" for part in parts if isinstance(part, dict) for key in part.keys() - PART}


def unread_line(source: Path, counts: Counter[str]) -> str:
    """Which keys of a file were not read, and in how many rows; what was meant where a known key is alike."""
    named = [f"{key} ({rows} rows{meant(key)})" for key, rows in counts.most_common(SHOWN)]
    more = [f"{len(counts) - SHOWN} more"] if len(counts) > SHOWN else []
    return f"{source}: keys that are not read: {', '.join([*named, *more])}"


def misspelt(row: object) -> str:
    """`; did you mean video for vidoe?` for each key of a row that is like a known one; empty without any."""
    unknown = row.keys() - {*ROW, *NAMES} if isinstance(row, Mapping) else ()
    return "".join(f"; did you mean {near} for {key}?" for key in sorted(unknown) if (near := nearest(key)))


def meant(key: str) -> str:
    near = nearest(key)
    return f"; did you mean {near}?" if near else ""


def nearest(key: str) -> str | None:
    """The key of a row that this one resembles, such as video for vidoe; not for video_id."""
    close = get_close_matches(key.lower(), ROW, n=1, cutoff=0.78)
    return close[0] if close else None
