"""Conversations about videos and images.

    captions = read_captions("train.jsonl")
    captions.row(7).turns       # (Turn("user", (0, "What happens?")), Turn("assistant", ("It falls.",)))

A file is a JSON list, JSON lines or Parquet; the content says which of the first two, not the ending. A row
has one of two forms, LLaVA's or a list of `messages`:

    {"video": "a.mp4",
     "conversations": [{"from": "human", "value": "<video>\\nWhat happens?"}, {"from": "gpt", "value": ...}]}
    {"videos": ["a.mp4"],
     "messages": [{"role": "user", "content": "What happens?"}, {"role": "assistant", "content": ...}]}

Speakers may have ShareGPT's names (gpt, bot, model, human), in any case; `from` and `role`, `value` and
`content` mean the same. `content` may be OpenAI's list of parts (text, video, image, video_url, image_url).
A text under `system` is a system turn. A note counts the keys that are not read. One of them that names media
where no other key does, or a part of the video under another name (`start_time`, `clip`), is refused.

`video`, `videos`, `image` and `images` hold one path or several, relative to the file or to a folder of the
media. `start` and `end` (seconds) select a part of the videos. `<video>` and `<image>` in a text mark the
place of each medium; without any mark, all media stand before the first question. Public video data often
writes `<image>` for a video, so the kind of a mark counts only in a row that has both. A mark may hold its
path (`<img>a.jpg</img>`); marks of other models, such as `<VideoHere>`, are refused. To write the word
`<video>` itself, give `content` as a list of parts with a part for each medium; then texts are only texts.

For evaluation, a row may add `options` (texts, one of which is the last answer), `kind` (of question) and
`pair` (questions with the same pair are right only together).

    vjepa data check-conversations train.jsonl
"""

from pathlib import Path
from typing import NamedTuple


class Media(NamedTuple):
    """A video, a part of one, or an image."""

    path: Path
    start: float | None
    """Seconds; None for the beginning of the video."""
    end: float | None
    """Seconds; None for the end of the video."""


class Turn(NamedTuple):
    """The texts and media of one speaker."""

    role: str
    """system, user or assistant."""
    parts: tuple[str | int, ...]
    """Texts, and media by their number in the conversation (counted from 0), in order."""


class Conversation(NamedTuple):
    """One row: turns that end with an answer, and the media that they show."""

    media: tuple[Media, ...]
    turns: tuple[Turn, ...]
    """An optional system turn, then user and assistant in turn; the last is the assistant's."""
    options: tuple[str, ...] = ()
    """Possible answers to the last question; empty for an open one."""
    kind: str = ""
    """What the question is about."""
    pair: str = ""
    """Questions of one pair are right only together; empty for none."""

    def without_media(self) -> "Conversation":
        """The same conversation with its texts alone."""
        turns = tuple(Turn(turn.role, texts_of(turn)) for turn in self.turns)
        return self._replace(media=(), turns=turns)

    @property
    def question(self) -> str:
        """The last question's text."""
        # The last two turns are always a question and its answer.
        return " ".join(texts_of(self.turns[-2]))

    @property
    def answer(self) -> str:
        """The last answer's text."""
        return " ".join(texts_of(self.turns[-1]))


def texts_of(turn: Turn) -> tuple[str, ...]:
    return tuple(part for part in turn.parts if isinstance(part, str))
