"""Conversations about videos and pictures: LLaVA's JSON and JSONL, lists of `messages`, and Parquet of either.

    captions = read_captions("train.jsonl")
    captions.row(7).turns       # (Turn("user", (0, "What happens?")), Turn("assistant", ("It falls.",)))

One row:

    {"video": "a.mp4", "conversations": [{"from": "human", "value": "<video>\\nWhat happens?"}, {"from": "gpt", "value": ...}]}
    {"videos": ["a.mp4"], "messages": [{"role": "user", "content": "What happens?"}, {"role": "assistant", "content": ...}]}

`video`, `videos`, `image` and `images` are a path or several, relative to the file or to a folder of the media; `start` and
`end` (seconds) cut them. `<video>` and `<image>` say where each stands; without any, all stand before the first question.
Public video data often writes `<image>` for a video: where there are no pictures, that is what it means. For evaluation
`options` (texts, the right one being the last answer), `kind` and `pair` (questions that count only together) may be added.

    python -m vjepa.data.captions check train.jsonl
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from jaxtyping import Int64

from vjepa.data.manifest import ManifestError

ROLES = {"system": "system", "human": "user", "user": "user"} | dict.fromkeys(("gpt", "assistant", "model"), "assistant")
MARK = re.compile(r"\s*<(video|image)>\s*")
MEDIA = {"video": ("video", "videos"), "image": ("image", "images")}


class Media(NamedTuple):
    """A video or a picture, or the part of a video from `start` to `end` (seconds; None: from the beginning, to the end)."""

    path: Path
    start: float | None
    end: float | None


class Turn(NamedTuple):
    """Who speaks, and what in which order: texts, and numbers of the conversation's media."""

    role: str
    parts: tuple[str | int, ...]


class Conversation(NamedTuple):
    media: tuple[Media, ...]
    turns: tuple[Turn, ...]
    """An optional system turn, then user and assistant in turn; the last is the assistant's."""
    options: tuple[str, ...] = ()
    """Possible answers to the last question; none for an open one."""
    kind: str = ""
    """What the question is about."""
    pair: str = ""
    """Questions of one pair count only together; empty for none."""

    @property
    def question(self) -> str:
        """The last question's text."""
        return " ".join(part for part in self.turns[-2].parts if isinstance(part, str))

    @property
    def answer(self) -> str:
        """The last answer's text."""
        return " ".join(part for part in self.turns[-1].parts if isinstance(part, str))


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
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise ManifestError(f"{source}: cannot be read: {error}") from error
    if not rows:
        raise ManifestError(f"{source}: there are no rows; expected one for each conversation")
    return Captions(source, Path(folder) if folder else source.parent, pa.array(rows, pa.large_string()))


def json_texts(source: Path) -> Iterator[str]:
    """One JSON text a row."""
    ending = source.suffix.lower()
    if ending == ".parquet":
        yield from (json.dumps(without_nulls(row)) for row in pa.parquet.read_table(source).to_pylist())
    elif ending == ".jsonl":
        for number, line in enumerate(source.read_text().splitlines(), 1):
            if line.strip():
                parsed(line, f"{source}, line {number}")
                yield line
    elif ending == ".json":
        rows = parsed(source.read_text(), str(source))
        if not isinstance(rows, list):
            raise ManifestError(f"{source}: holds a {type(rows).__name__}; expected a list of conversations")
        yield from map(json.dumps, rows)
    else:
        raise ManifestError(f"{source}: conversations are kept in .json, .jsonl or .parquet, not in {ending!r}")


def parsed(text: str, place: str):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{place}: not JSON: {error}") from error


def without_nulls(row: dict) -> dict:
    """Columns of a table are there for every row; empty ones mean nothing. Lists may be kept as JSON texts."""
    there = {key: value for key, value in row.items() if value is not None}
    texts = {key: json.loads(there[key]) for key in ("conversations", "messages") if isinstance(there.get(key), str)}
    return there | texts


# From a row to a conversation


def conversation(row: object, folder: Path) -> Conversation:
    """What the row says. Raises ManifestError with one sentence, without the row's place."""
    if not isinstance(row, dict):
        raise ManifestError(f"is a {type(row).__name__}; expected an object with conversations or messages")
    spoken, inside = spoken_turns(row)
    paths = {kind: inside[kind] or [path for key in keys for path in listed(row, key)] for kind, keys in MEDIA.items()}
    media = [Media(folder / path, row.get("start"), row.get("end")) for path in (*paths["video"], *paths["image"])]
    turns = placed(spoken, len(paths["video"]), len(paths["image"]))
    refuse_order(turns)
    options = tuple(str(option) for option in row.get("options") or ())
    found = Conversation(tuple(media), turns, options, str(row.get("kind", "")), str(row.get("pair", "")))
    if options and found.answer not in options:
        raise ManifestError(f"the answer {found.answer!r} is none of the options {list(options)}")
    return found


def spoken_turns(row: dict) -> tuple[list[tuple[str, str]], dict[str, list[str]]]:
    """(role, text) of every turn, and media that `messages` name between their texts."""
    name = next((name for name in ("conversations", "messages") if row.get(name)), None)
    if name is None:
        raise ManifestError(f"has neither conversations nor messages, but {', '.join(row) or 'nothing'}")
    turns, inside = [], {"video": [], "image": []}
    for number, turn in enumerate(row[name], 1):
        said = turn.get("from", turn.get("role")) if isinstance(turn, dict) else None
        if said not in ROLES:
            raise ManifestError(f"turn {number} is spoken by {said!r}; expected one of {', '.join(ROLES)}")
        content = turn.get("value", turn.get("content")) or ""
        parts = [content] if isinstance(content, str) else content
        turns.append((ROLES[said], "".join(text_of(part, inside) for part in parts)))
    return turns, inside


def text_of(part: str | dict, inside: dict[str, list[str]]) -> str:
    """A part's text; a part that is a video or a picture leaves its mark there, and its path in `inside`."""
    if isinstance(part, str):
        return part
    kind = part.get("type")
    if kind == "text":
        return part["text"]
    if kind not in inside:
        raise ManifestError(f"a message holds a part of type {kind!r}; expected text, video or image")
    path = next((part[key] for key in (kind, "path", "url") if part.get(key)), None)
    inside[kind] += [] if path is None else [path]
    return f"<{kind}>"


def listed(row: dict, key: str) -> list[str]:
    value = row.get(key) or []
    return [value] if isinstance(value, str) else list(value)


def placed(spoken: Sequence[tuple[str, str]], videos: int, images: int) -> tuple[Turn, ...]:
    """Turns whose marks have become numbers of media: videos are 0.., pictures follow them."""
    marks = [mark for role, text in spoken if role == "user" for mark in MARK.findall(text)]
    if not marks and videos + images:  # before the first question
        first = next((i for i, (role, _) in enumerate(spoken) if role == "user"), 0)
        spoken = [(r, "<video>" * videos + "<image>" * images + t if i == first else t) for i, (r, t) in enumerate(spoken)]
        marks = ["video"] * videos + ["image"] * images
    if len(marks) != videos + images:
        raise ManifestError(f"the text has {len(marks)} places for media, but {videos} videos and {images} images are named")
    mixed = bool(videos and images)
    if mixed and marks.count("video") != videos:
        raise ManifestError(f"the text has {marks.count('video')} places for videos, but {videos} are named")
    counts = {"video": 0, "image": videos if mixed else 0}
    return tuple(Turn(role, tuple(parts(text, counts, mixed) if role == "user" else [text.strip()])) for role, text in spoken)


def parts(text: str, counts: dict[str, int], mixed: bool) -> Iterator[str | int]:
    """Texts and numbers of media in their order; `counts` holds the next number of each kind."""
    for number, chunk in enumerate(MARK.split(text)):
        if number % 2:
            key = chunk if mixed else "video"
            yield counts[key]
            counts[key] += 1
        elif chunk.strip():
            yield chunk.strip() if number == 0 else "\n" + chunk.strip()


def refuse_order(turns: Sequence[Turn]) -> None:
    """Raise ManifestError unless user and assistant take turns, something is asked and every answer says something."""
    roles = [turn.role for turn in turns]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    if not talk or len(talk) % 2 or talk != ["user", "assistant"] * (len(talk) // 2):
        raise ManifestError(f"the turns are {', '.join(roles) or 'none'}; expected user and assistant in turn, to an answer")
    for number, turn in enumerate(turns, 1):
        if turn.role == "assistant" and not turn.parts[0]:
            raise ManifestError(f"turn {number} is an empty answer")
        if not turn.parts:
            raise ManifestError(f"turn {number} says nothing")


# python -m vjepa.data.captions check


def problems(captions: Captions, longest: int) -> Iterator[tuple[int, str]]:
    """(row, what is wrong with it) for every row with a problem."""
    for i in range(len(captions)):
        try:
            row = captions.row(i)
        except ManifestError as error:
            yield i, str(error).removeprefix(f"{captions.source}, row {i + 1}: ")
            continue
        missing = [str(media.path) for media in row.media if not media.path.is_file()]
        length = sum(len(part) for turn in row.turns for part in turn.parts if isinstance(part, str))
        if missing:
            yield i, f"there is no file {missing[0]}"
        elif length > longest:
            yield i, f"{length} characters of text are too long, more than {longest}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Exit status: 0 all rows are good, 1 some are bad, 2 the file cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m vjepa.data.captions", description=main.__doc__)
    commands = parser.add_subparsers(required=True)
    does = "report every row that is malformed, too long, or whose media are missing"
    one = commands.add_parser("check", help=does, description=does, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    one.add_argument("file", help=".json, .jsonl or .parquet")
    one.add_argument("--folder", type=Path, help="what the media's paths are relative to, if not the file's folder")
    one.add_argument("--longest", type=int, default=16_000, help="characters of text in a row; about four make a token")
    options = parser.parse_args(arguments)
    try:
        captions = read_rows(options.file, options.folder)
    except ManifestError as error:
        one.exit(2, f"{error}\n")
    bad = dict(problems(captions, options.longest))
    print(f"{options.file}: {len(captions)} rows, {len(captions) - len(bad)} ok, {len(bad)} bad")
    print("".join(f"row {i + 1}: {why}\n" for i, why in bad.items()), end="")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
