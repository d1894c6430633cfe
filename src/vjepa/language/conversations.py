"""Conversations about videos and pictures: LLaVA's JSON and JSONL, lists of `messages`, and Parquet of either.

    captions = read_captions("train.jsonl")
    captions.row(7).turns       # (Turn("user", (0, "What happens?")), Turn("assistant", ("It falls.",)))

One row:

    {"video": "a.mp4", "conversations": [{"from": "human", "value": "<video>\\nWhat happens?"}, {"from": "gpt", "value": ...}]}
    {"videos": ["a.mp4"], "messages": [{"role": "user", "content": "What happens?"}, {"role": "assistant", "content": ...}]}

`video`, `videos`, `image` and `images` are a path or several, relative to the file or to a folder of the media; `start` and
`end` (seconds) cut them. `<video>` and `<image>` say where each stands; without any, all stand before the first question.
Public video data often writes `<image>` for a video: where there are no pictures, that is what it means. Who means the word
itself gives `content` as a list of parts: with a part for each medium, texts are only texts. For evaluation
`options` (texts, the right one being the last answer), `kind` and `pair` (questions that count only together) may be added.

    python -m vjepa check-conversations train.jsonl
"""

from pathlib import Path
from typing import NamedTuple


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

    def without_media(self) -> "Conversation":
        """The texts alone."""
        turns = (
            Turn(turn.role, tuple(part for part in turn.parts if isinstance(part, str)))
            for turn in self.turns
        )
        return self._replace(media=(), turns=tuple(turns))

    @property
    def question(self) -> str:
        """The last question's text."""
        return " ".join(part for part in self.turns[-2].parts if isinstance(part, str))

    @property
    def answer(self) -> str:
        """The last answer's text."""
        return " ".join(part for part in self.turns[-1].parts if isinstance(part, str))
