"""Conversation files."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from jaxtyping import Int64

from vjepa.data.manifest_files import ManifestError
from vjepa.language.conversations import Conversation, Media, Turn

ROLES = {"system": "system", "human": "user", "user": "user"} | dict.fromkeys(
    ("gpt", "assistant", "model"), "assistant"
)
MARK = re.compile(r"\s*<(video|image)>\s*")
MEDIA = {"video": ("video", "videos"), "image": ("image", "images")}


class Place(NamedTuple):
    """Where a medium stands among the texts."""

    kind: str


class Captions:
    """Rows as JSON texts in one Arrow array, which processes forked from this one share without copying.

    source  the file they were read from
    folder  what the media's paths are relative to
    lengths characters of each row, a measure of how long its conversation is
    """

    def __init__(self, source: Path, folder: Path, rows: pa.Array):
        self.source, self.folder, self._rows = source, folder, rows

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, i: int) -> Conversation:
        """Conversation `i`. Raises ManifestError that names the row."""
        try:
            return conversation(json.loads(self._rows[i].as_py()), self.folder)
        except ManifestError as error:
            raise ManifestError(f"{self.source}, row {i + 1}: {error}") from error

    @property
    def lengths(self) -> Int64[np.ndarray, "rows"]:
        return np.asarray(pa.compute.utf8_length(self._rows)).astype(np.int64)


def read_captions(path: str | Path, folder: str | Path | None = None) -> Captions:
    """Read .json, .jsonl or .parquet and look at every row. Raises ManifestError on the first that is not as it should be."""
    captions = read_rows(path, folder)
    for i in range(len(captions)):
        captions.row(i)
    return captions


def read_rows(path: str | Path, folder: str | Path | None = None) -> Captions:
    """As `read_captions`, but the rows themselves may be anything."""
    source = Path(path)
    try:
        rows = list(json_texts(source))
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{source}: cannot be read: {error}") from error
    if not rows:
        raise ManifestError(f"{source}: there are no rows; expected one for each conversation")
    return Captions(source, Path(folder) if folder else source.parent, pa.array(rows, pa.large_string()))


def json_texts(source: Path) -> Iterator[str]:
    """One JSON text a row."""
    ending = source.suffix.lower()
    if ending == ".parquet":
        for number, row in enumerate(pa.parquet.read_table(source).to_pylist(), 1):
            yield json.dumps(without_nulls(row, f"{source}, row {number}"), default=unsayable)
    elif ending == ".jsonl":
        yield from (line for line, _ in json_lines(source))
    elif ending == ".json":
        rows = parsed(text_in(source), str(source))
        if not isinstance(rows, list):
            raise ManifestError(f"{source}: holds a {type(rows).__name__}; expected a list of conversations")
        yield from map(json.dumps, rows)
    else:
        raise ManifestError(
            f"{source}: conversations are kept in .json, .jsonl or .parquet, not in {ending!r}"
        )


def json_lines(source: Path) -> Iterator[tuple[str, object]]:
    """Each line of JSONL, and what it says. Texts may hold other ends of lines, such as U+2028. Raises ManifestError."""
    for number, line in enumerate(text_in(source).split("\n"), 1):
        if line.strip():
            yield line, parsed(line, f"{source}, line {number}")


def text_in(source: Path) -> str:
    """The text of a file, which may begin with a mark of its byte order. Raises ManifestError."""
    try:
        return source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{source}: cannot be read: {error}") from error


def parsed(text: str, place: str):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{place}: not JSON: {error}") from error


def without_nulls(row: dict, place: str) -> dict:
    """Columns of a table are there for every row; empty ones mean nothing. Lists may be kept as JSON texts."""
    there = {key: value for key, value in row.items() if value is not None}
    lists = [key for key in ("conversations", "messages", "options") if isinstance(there.get(key), str)]
    return there | {key: parsed(there[key], f"{place}, {key}") for key in lists}


def unsayable(value: object) -> str:
    """What a cell of a table holds that is no JSON, such as bytes or a time: its kind, for whoever asks for it."""
    return f"<{type(value).__name__}>"


# From a row to a conversation


def conversation(row: object, folder: Path) -> Conversation:
    """What the row says. Raises ManifestError with one sentence, without the row's place."""
    if not isinstance(row, dict):
        raise ManifestError(f"is a {type(row).__name__}; expected an object with conversations or messages")
    spoken, inside = spoken_turns(row)
    paths = {
        kind: inside[kind] or [path for key in keys for path in listed(row, key)]
        for kind, keys in MEDIA.items()
    }
    start, end = interval(row)
    media = [Media(folder / path, start, end) for path in (*paths["video"], *paths["image"])]
    turns = placed(spoken, len(paths["video"]), len(paths["image"]))
    check_order(turns)
    found = Conversation(tuple(media), turns, options_of(row), word(row, "kind"), word(row, "pair"))
    if found.options and found.answer not in found.options:
        raise ManifestError(f"the answer {found.answer!r} is none of the options {list(found.options)}")
    return found


def spoken_turns(row: dict) -> tuple[list[tuple[str, list[str | Place]]], dict[str, list[str]]]:
    """Who says what in every turn, and media that `messages` name between their texts."""
    name = next((name for name in ("conversations", "messages") if row.get(name)), None)
    if name is None:
        raise ManifestError(f"has neither conversations nor messages, but {', '.join(row) or 'nothing'}")
    if not isinstance(row[name], list):
        raise ManifestError(f"{name} is {brief(row[name])}; expected a list of turns")
    turns, inside = [], {"video": [], "image": []}
    for number, turn in enumerate(row[name], 1):
        said = turn.get("from", turn.get("role")) if isinstance(turn, dict) else None
        if not isinstance(said, str) or said not in ROLES:
            raise ManifestError(
                f"turn {number} is spoken by {brief(said)}; expected one of {', '.join(ROLES)}"
            )
        turns.append(
            (
                ROLES[said],
                pieces(turn.get("value", turn.get("content")), ROLES[said], inside, f"turn {number}"),
            )
        )
    return turns, inside


def pieces(content: object, role: str, inside: dict[str, list[str]], place: str) -> list[str | Place]:
    """What a turn says, in order; the paths of media among its parts come into `inside`."""
    if not isinstance(content, str | list | None):
        raise ManifestError(
            f"{place} says {brief(content)}; expected a text, or a list of texts, videos and images"
        )
    said = [
        piece(part, inside, place) for part in (content if isinstance(content, list) else [content or ""])
    ]
    shown = any(isinstance(part, Place) for part in said)  # then a mark in a text is the word itself
    if shown and role != "user":
        raise ManifestError(f"{place} is the {role}'s and holds media; only a user shows them")
    if shown or role != "user":
        return said
    return [Place(chunk) if number % 2 else chunk for number, chunk in enumerate(MARK.split("".join(said)))]


def piece(part: object, inside: dict[str, list[str]], place: str) -> str | Place:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return part["text"]
    if kind not in ("video", "image"):
        raise ManifestError(
            f"{place} holds {brief(part)}; expected a part of type text (with a text), video or image"
        )
    inside[kind] += next((listed(part, key) for key in (kind, "path", "url") if part.get(key)), [])
    return Place(kind)


# One value of a row


def listed(row: dict, key: str) -> list[str]:
    """A path or several, or none."""
    value = row.get(key)
    if value is None or value == "":
        return []
    return [path_of(path, key) for path in (value if isinstance(value, list) else [value])]


def path_of(value: object, key: str) -> str:
    """A path; a table of Hugging Face's datasets keeps `{"bytes", "path"}`, of which only the path can be followed."""
    if isinstance(value, dict) and value.get("bytes"):
        raise ManifestError(f"{key} holds a file's bytes; write the file into a folder and give its path")
    path = value.get("path") if isinstance(value, dict) else value
    if not isinstance(path, str) or not path:
        raise ManifestError(f"{key} is {brief(value)}; expected a path or a list of paths")
    return path


def interval(row: dict) -> tuple[float | None, float | None]:
    """Seconds from which and to which media are shown."""
    for key in ("start", "end"):
        value = row.get(key)
        if value is not None and not (isinstance(value, int | float) and 0 <= value < float("inf")):
            raise ManifestError(f"{key} is {brief(value)}; expected seconds, 0 or more")
    start, end = (None if row.get(key) is None else float(row[key]) for key in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise ManifestError(f"end is {end}, which is not after start; both are seconds")
    return start, end


def options_of(row: dict) -> tuple[str, ...]:
    options = row.get("options")
    if not isinstance(options, list | None) or not all(
        isinstance(option, str | int | float) for option in options or ()
    ):
        raise ManifestError(f"options is {brief(options)}; expected a list of texts")
    return tuple(map(str, options or ()))


def word(row: dict, key: str) -> str:
    """A name that a row may have; null is none."""
    value = row.get(key)
    if not isinstance(value, str | int | None):
        raise ManifestError(f"{key} is {brief(value)}; expected a text")
    return "" if value is None else str(value)


def brief(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


# Where the media stand


def placed(spoken: Sequence[tuple[str, list[str | Place]]], videos: int, images: int) -> tuple[Turn, ...]:
    """Turns whose places have become numbers of media: videos are 0.., pictures follow them."""
    marks = [part.kind for _, said in spoken for part in said if isinstance(part, Place)]
    if not marks and videos + images:  # before the first question
        first = next((i for i, (role, _) in enumerate(spoken) if role == "user"), 0)
        marks = ["video"] * videos + ["image"] * images
        spoken = [
            (role, [*map(Place, marks), *said] if i == first else said)
            for i, (role, said) in enumerate(spoken)
        ]
    if len(marks) != videos + images:
        raise ManifestError(
            f"the text has {len(marks)} places for media, but {videos} videos and {images} images are named"
        )
    mixed = bool(videos and images)
    if mixed and marks.count("video") != videos:
        raise ManifestError(f"the text has {marks.count('video')} places for videos, but {videos} are named")
    counts = {"video": 0, "image": videos if mixed else 0}
    turns = [Turn(role, tuple(numbered(said, counts, mixed))) for role, said in spoken]
    return tuple(turn for turn in turns if turn.parts or turn.role != "system")


def numbered(said: Sequence[str | Place], counts: dict[str, int], mixed: bool) -> Iterator[str | int]:
    """Texts and numbers of media in their order; `counts` holds the next number of each kind."""
    for number, (is_place, group) in enumerate(groupby(said, lambda part: isinstance(part, Place))):
        if is_place:
            for part in group:
                key = part.kind if mixed else "video"
                yield counts[key]
                counts[key] += 1
        elif text := "".join(group).strip():
            yield text if number == 0 else "\n" + text


def check_order(turns: Sequence[Turn]) -> None:
    """Raise ManifestError unless user and assistant take turns, something is asked and every answer says something."""
    roles = [turn.role for turn in turns]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    if not talk or len(talk) % 2 or talk != ["user", "assistant"] * (len(talk) // 2):
        raise ManifestError(
            f"the turns are {', '.join(roles) or 'none'}; expected user and assistant in turn, to an answer"
        )
    for number, turn in enumerate(turns, 1):
        if not turn.parts:
            raise ManifestError(
                f"turn {number} {'is an empty answer' if turn.role == 'assistant' else 'says nothing'}"
            )
