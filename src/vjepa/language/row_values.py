"""Single values of a conversation's row: paths of media, seconds, options and names.

A value of another kind raises ManifestError with a sentence that does not name the row: the caller does.
"""

import re
from urllib.parse import unquote

from vjepa.data.manifest_files import ManifestError

ADDRESS = re.compile(r"data:|[a-z][a-z0-9+.-]+://", re.IGNORECASE)
"""How a file inside the row, or on another machine, begins. One letter is a drive of Windows."""
FILE = re.compile(r"file:(//(localhost(?=/))?)?", re.IGNORECASE)
"""How the address of a file on this machine begins. Qwen's files write `file://a.mp4` for a relative path."""


def paths_at(row: dict, key: str) -> list[str]:
    """The paths under a key, which may hold one, several or none."""
    value = row.get(key)
    if value is None or value == "":
        return []
    return [parse_path(path, key) for path in (value if isinstance(value, list) else [value])]


def parse_path(value: object, key: str) -> str:
    """A path, or the one in a `{"bytes", "path"}` of Hugging Face's datasets or a `{"url"}` of OpenAI's."""
    if isinstance(value, dict) and value.get("bytes"):
        raise ManifestError(f"{key} holds a file's bytes; write the file into a folder and give its path")
    path = value.get("path") or value.get("url") if isinstance(value, dict) else value
    if not isinstance(path, str) or not path:
        raise ManifestError(f"{key} is {shortened(value)}; expected a path or a list of paths")
    if begin := FILE.match(path):
        path = unquote(path[begin.end() :])
    if ADDRESS.match(path) or not path:
        raise ManifestError(
            f"{key} is {shortened(path or value)}; write the file into a folder and give its path"
        )
    return path


def interval(row: dict) -> tuple[float | None, float | None]:
    """Start and end of the media in seconds, None where the row does not say."""
    for key in ("start", "end"):
        value = row.get(key)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # The comparison with infinity also refuses NaN, which JSON of Python can hold.
        if value is not None and not (is_number and 0 <= value < float("inf")):
            raise ManifestError(f"{key} is {shortened(value)}; expected seconds, 0 or more")
    start, end = (None if row.get(key) is None else float(row[key]) for key in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise ManifestError(f"end is {end}, which is not after start; both are seconds")
    return start, end


def options_of(row: dict) -> tuple[str, ...]:
    """The possible answers, if there are any; numbers are texts."""
    options = row.get("options")
    if options is None:
        return ()
    if not isinstance(options, list) or not all(isinstance(option, str | int | float) for option in options):
        raise ManifestError(f"options is {shortened(options)}; expected a list of texts")
    return tuple(map(str, options))


def text_at(row: dict, key: str) -> str:
    """A name under a key, which may be a number; empty for none."""
    value = row.get(key)
    if not isinstance(value, str | int | None):
        raise ManifestError(f"{key} is {shortened(value)}; expected a text")
    return "" if value is None else str(value)


def shortened(value: object) -> str:
    """A value for an error, in at most 60 characters."""
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
