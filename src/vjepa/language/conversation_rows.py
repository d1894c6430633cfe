"""From one row of a file to a Conversation. A mistake in the row raises an error of one sentence.

    parse_row({"video": "a.mp4", "conversations": [...]}, Path("media"))

A text holds `<video>` and `<image>` in the places of media. A list of parts has a part for each medium.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from vjepa.data.manifest_files import ManifestError
from vjepa.language.conversations import Conversation, Media, Turn

ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
}
MARK = re.compile(r"\s*<(video|image)>\s*")
KEYS = {"video": ("video", "videos"), "image": ("image", "images")}
"""Keys of a row that hold the paths of its media, for each kind."""


class MediaMark(NamedTuple):
    """The place of a medium among the texts of a turn; `kind` is video or image."""

    kind: str


Parts = list[str | MediaMark]
Paths = dict[str, list[str]]
"""Paths of media, for each kind."""


def parse_row(row: object, folder: Path) -> Conversation:
    """The conversation of a row; its paths are relative to the folder.

    Raises ManifestError with a sentence that does not name the row: the caller does.
    """
    if not isinstance(row, dict):
        raise ManifestError(f"is a {type(row).__name__}; expected an object with conversations or messages")
    turns, paths = parse_turns(row)
    for kind, keys in KEYS.items():
        # Where the parts of a turn name videos (or images) themselves, the row's own keys are not read.
        paths[kind] = paths[kind] or [path for key in keys for path in paths_at(row, key)]

    start, end = interval(row)
    media = [Media(folder / path, start, end) for path in (*paths["video"], *paths["image"])]
    numbered = number_media(turns, len(paths["video"]), len(paths["image"]))
    check_order(numbered)
    conversation = Conversation(
        tuple(media), numbered, options_of(row), text_at(row, "kind"), text_at(row, "pair")
    )
    if conversation.options and conversation.answer not in conversation.options:
        raise ManifestError(
            f"the answer {conversation.answer!r} is none of the options {list(conversation.options)}"
        )
    return conversation


# Turns and their parts


def parse_turns(row: dict) -> tuple[list[tuple[str, Parts]], Paths]:
    """(role, parts) of each turn, and the paths of media among the parts of `messages`."""
    name = next((name for name in ("conversations", "messages") if row.get(name)), None)
    if name is None:
        raise ManifestError(f"has neither conversations nor messages, but {', '.join(row) or 'nothing'}")
    if not isinstance(row[name], list):
        raise ManifestError(f"{name} is {shortened(row[name])}; expected a list of turns")

    turns = []
    paths: Paths = {"video": [], "image": []}
    for number, turn in enumerate(row[name], 1):
        place = f"turn {number}"
        # LLaVA writes `from` and `value`, chat templates `role` and `content`.
        speaker = turn.get("from", turn.get("role")) if isinstance(turn, dict) else None
        if not isinstance(speaker, str) or speaker not in ROLES:
            raise ManifestError(
                f"{place} is spoken by {shortened(speaker)}; expected one of {', '.join(ROLES)}"
            )
        content = turn.get("value", turn.get("content"))
        turns.append((ROLES[speaker], parse_parts(content, ROLES[speaker], paths, place)))
    return turns, paths


def parse_parts(content: object, role: str, paths: Paths, place: str) -> Parts:
    """Texts and places of media of one turn, in order; paths among its parts are added to `paths`."""
    if not isinstance(content, str | list | None):
        raise ManifestError(
            f"{place} says {shortened(content)}; expected a text, or a list of texts, videos and images"
        )
    content = content if isinstance(content, list) else [content or ""]
    parts = [parse_part(part, paths, place) for part in content]
    has_media = any(isinstance(part, MediaMark) for part in parts)
    if has_media and role != "user":
        raise ManifestError(f"{place} is the {role}'s and holds media; only a user shows them")
    if has_media or role != "user":
        return parts  # here `<video>` in a text is a word that somebody wrote

    # `split` with a group gives texts at even places, and between them what the group matched.
    chunks = MARK.split("".join(parts))
    return [MediaMark(chunk) if number % 2 else chunk for number, chunk in enumerate(chunks)]


def parse_part(part: object, paths: Paths, place: str) -> str | MediaMark:
    """A text, or the place of a medium, whose path is added to `paths`."""
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return part["text"]
    if kind not in tuple(KEYS):  # `kind` may be anything, so not hashable either
        raise ManifestError(
            f"{place} holds {shortened(part)}; expected a part of type text (with a text), video or image"
        )
    # A part without a path shows one of the row's own media.
    key = next((key for key in (kind, "path", "url") if part.get(key)), None)
    if key is not None:
        paths[kind] += paths_at(part, key)
    return MediaMark(kind)


# Single values of a row


def paths_at(row: dict, key: str) -> list[str]:
    """The paths under a key, which may hold one, several or none."""
    value = row.get(key)
    if value is None or value == "":
        return []
    return [parse_path(path, key) for path in (value if isinstance(value, list) else [value])]


def parse_path(value: object, key: str) -> str:
    """A path, or the one in a `{"bytes", "path"}` of Hugging Face's datasets."""
    if isinstance(value, dict) and value.get("bytes"):
        raise ManifestError(f"{key} holds a file's bytes; write the file into a folder and give its path")
    path = value.get("path") if isinstance(value, dict) else value
    if not isinstance(path, str) or not path:
        raise ManifestError(f"{key} is {shortened(value)}; expected a path or a list of paths")
    return path


def interval(row: dict) -> tuple[float | None, float | None]:
    """Start and end of the media in seconds, None where the row does not say."""
    for key in ("start", "end"):
        value = row.get(key)
        # The comparison with infinity also refuses NaN, which JSON of Python can hold.
        if value is not None and not (isinstance(value, int | float) and 0 <= value < float("inf")):
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


# Numbers of media


def number_media(turns: Sequence[tuple[str, Parts]], videos: int, images: int) -> tuple[Turn, ...]:
    """Turns with the number of a medium in each place: videos are counted from 0, images follow them."""
    kinds = [part.kind for _, parts in turns for part in parts if isinstance(part, MediaMark)]
    if not kinds and videos + images:
        kinds = ["video"] * videos + ["image"] * images
        turns = before_first_question(turns, kinds)
    if len(kinds) != videos + images:
        raise ManifestError(
            f"the text has {len(kinds)} places for media, but {videos} videos and {images} images are named"
        )
    # Public data often writes <image> for a video, so the kind of a place counts only where there are both.
    mixed = bool(videos and images)
    if mixed and kinds.count("video") != videos:
        raise ManifestError(f"the text has {kinds.count('video')} places for videos, but {videos} are named")

    following = {"video": 0, "image": videos if mixed else 0}
    numbered = [Turn(role, tuple(number_parts(parts, following, mixed))) for role, parts in turns]
    # Many files have a system turn in each row, but nothing in it.
    return tuple(turn for turn in numbered if turn.parts or turn.role != "system")


def before_first_question(
    turns: Sequence[tuple[str, Parts]], kinds: Sequence[str]
) -> list[tuple[str, Parts]]:
    """The turns, with places for media at the beginning of the first one of a user."""
    first = next((i for i, (role, _) in enumerate(turns) if role == "user"), 0)
    marks = [MediaMark(kind) for kind in kinds]
    return [(role, [*marks, *parts] if i == first else parts) for i, (role, parts) in enumerate(turns)]


def number_parts(parts: Parts, following: dict[str, int], mixed: bool) -> Iterator[str | int]:
    """Texts, joined and stripped, and numbers of media; `following` holds the next number of each kind."""
    for position, (is_mark, group) in enumerate(groupby(parts, lambda part: isinstance(part, MediaMark))):
        if is_mark:
            for mark in group:
                kind = mark.kind if mixed else "video"
                yield following[kind]
                following[kind] += 1
        elif text := "".join(group).strip():
            yield text if position == 0 else "\n" + text  # a text after a medium begins a line of its own


def check_order(turns: Sequence[Turn]) -> None:
    """Raise ManifestError unless user and assistant take turns, and no turn is empty."""
    roles = [turn.role for turn in turns]
    rounds = roles[1:] if roles[:1] == ["system"] else roles
    if not rounds or rounds != ["user", "assistant"] * (len(rounds) // 2):
        raise ManifestError(
            f"the turns are {', '.join(roles) or 'none'}; expected user and assistant in turn, to an answer"
        )
    for number, turn in enumerate(turns, 1):
        if not turn.parts:
            problem = "is an empty answer" if turn.role == "assistant" else "says nothing"
            raise ManifestError(f"turn {number} {problem}")
