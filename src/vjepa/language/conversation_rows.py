"""From one row of a file to a Conversation. A mistake in the row raises an error of one sentence.

    parse_row({"video": "a.mp4", "conversations": [...]}, Path("media"))

A text holds `<video>` and `<image>` in the places of media. A list of parts has a part for each medium.
"""

import os
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from vjepa.data.manifest_files import ManifestError
from vjepa.language.conversations import Conversation, Media, Turn
from vjepa.language.row_keys import check_unread
from vjepa.language.row_values import interval, options_of, parse_path, paths_at, shortened, text_at

ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
PARTS = {"text": "text", "video": "video", "image": "image", "video_url": "video", "image_url": "image"}
"""Type of a part of a turn -> text, or the kind of its medium."""
MARK = re.compile(
    r"\s*<(?:(?P<named>video|image|img)>(?P<path>[^<>\n]+\.\w+\s*)</(?P=named)>|(?P<bare>video|image)>)\s*",
    re.IGNORECASE,
)
"""`<video>`, `<image>`, or Qwen-VL's `<img>a.jpg</img>`."""
FOREIGN = re.compile(
    r"</?\|?(vila/|(begin|start|end)_of_|fake_token_around_)?(video|image|img|vid|vision|audio|speech)s?"
    r"(_?(here|pad|placeholder|soft|token|start|end|content|context|patch))*[ _-]?\d*\|?/?>",
    re.IGNORECASE,
)
"""Marks of other models: `<VideoHere>`, `<|image_pad|>`, `<image 1>`, `</img>`."""
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
    files = [folder / os.path.expanduser(path) for path in (*paths["video"], *paths["image"])]
    media = [Media(file, start, end) for file in files]
    numbered = number_media(turns, len(paths["video"]), len(paths["image"]))
    check_order(numbered)
    check_unread(row, bool(media))
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
    name = next((name for name in ("conversations", "messages") if row.get(name) is not None), None)
    if name is None:
        raise ManifestError(f"has neither conversations nor messages, but {', '.join(row) or 'nothing'}")
    if not isinstance(row[name], list) or not row[name]:
        raise ManifestError(f"{name} is {shortened(row[name])}; expected a list of turns")

    paths: Paths = {"video": [], "image": []}
    turns = [parse_turn(turn, paths, f"turn {number}") for number, turn in enumerate(row[name], 1)]
    # ShareGPT's files may have the system's text beside the turns.
    if turns[0][0] != "system" and (system := text_at(row, "system")):
        turns.insert(0, ("system", [system]))
    return turns, paths


def parse_turn(turn: object, paths: Paths, place: str) -> tuple[str, Parts]:
    """(role, parts) of one turn; paths among its parts are added to `paths`."""
    turn = turn if isinstance(turn, dict) else {}
    # LLaVA and ShareGPT write `from` and `value`, chat templates `role` and `content`.
    speaker = first_of(turn, "from", "role")
    role = ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        raise ManifestError(f"{place} is spoken by {shortened(speaker)}; expected one of {', '.join(ROLES)}")
    if not turn.keys() & {"value", "content"}:
        raise ManifestError(f"{place} has neither value nor content, but {', '.join(turn)}")
    return role, parse_parts(first_of(turn, "value", "content"), role, paths, place)


def first_of(row: dict, *keys: str) -> object:
    """The value of the first of these keys that has one; None for none."""
    return next((row[key] for key in keys if row.get(key) is not None), None)


def parse_parts(content: object, role: str, paths: Paths, place: str) -> Parts:
    """Texts and places of media of one turn, in order; paths among its parts are added to `paths`."""
    if not isinstance(content, str | list | None):
        raise ManifestError(
            f"{place} says {shortened(content)}; expected a text, or a list of texts, videos and images"
        )
    is_list = isinstance(content, list)
    parts = [parse_part(part, paths, place) for part in content] if is_list else [content or ""]
    has_media = any(isinstance(part, MediaMark) for part in parts)
    if has_media and role != "user":
        raise ManifestError(f"{place} is the {role}'s and holds media; only a user shows them")
    if has_media or role != "user":
        return parts  # here `<video>` in a text is a word that somebody wrote
    return split_marks("".join(parts), paths, place)


def split_marks(text: str, paths: Paths, place: str) -> Parts:
    """The texts and the places of media of one text; paths in its marks are added to `paths`."""
    parts: Parts = []
    end = 0
    for mark in MARK.finditer(text):
        name = (mark["named"] or mark["bare"]).lower()
        kind = "video" if name == "video" else "image"
        if mark["path"]:
            paths[kind].append(parse_path(mark["path"].strip(), f"{place}: <{name}>"))
        parts += [text[end : mark.start()], MediaMark(kind)]
        end = mark.end()
    parts.append(text[end:])
    for part in parts:
        if isinstance(part, str) and (other := FOREIGN.search(part)):
            raise ManifestError(f"{place} has the mark {other[0]}; only <video> and <image> are read")
    return parts


def parse_part(part: object, paths: Paths, place: str) -> str | MediaMark:
    """A text, or the place of a medium, whose path is added to `paths`."""
    # Qwen's files leave the type out: `{"video": "a.mp4"}`.
    name = part.get("type") or next(filter(part.get, PARTS), None) if isinstance(part, dict) else None
    kind = PARTS.get(name) if isinstance(name, str) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return part["text"]
    if kind not in KEYS:
        raise ManifestError(
            f"{place} holds {shortened(part)}; expected a part of type text (with a text), video or image"
        )
    # A part without a path shows one of the row's own media.
    key = next((key for key in (name, kind, "path", "url") if part.get(key)), None)
    if key is not None:
        paths[kind] += paths_at(part, key)
    return MediaMark(kind)


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
