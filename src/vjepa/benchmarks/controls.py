"""Controls, which show a model less than the video, and marks of its answers.

A control shows the frames shuffled, one frame, another clip, or nothing. A model that does not use the video
answers equally well without it. A model that does not use the order of frames answers equally well when they
are shuffled.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from vjepa.benchmarks.scoring import Mark, chosen_option, lettered, matches
from vjepa.data.decode_error import DecodeError
from vjepa.errors import UserError
from vjepa.language.conversations import Conversation
from vjepa.language.media import decode_media
from vjepa.language.video_chat import VideoChat

Clip = UInt8[Tensor, "t c h w"]
By = Literal["likelihood", "letter", "open"]
"""How an answer is taken: the most likely option, a letter that the model generates, or any text."""


def shuffle_frames(clip: Clip, number: int) -> Clip:
    """The same frames in an order that depends on the question's number alone."""
    # A generator of its own: every model that is compared sees the same order.
    return clip[torch.randperm(len(clip), generator=torch.Generator().manual_seed(number))]


def repeat_middle_frame(clip: Clip, number: int) -> Clip:
    """A clip of the same length in which nothing moves."""
    # Of the same length, so that the prompt has as many tokens as with the video.
    middle = len(clip) // 2
    return clip[middle : middle + 1].expand_as(clip)


CONTROLS: dict[str, Callable[[Clip, int], Clip] | None] = {
    "video": lambda clip, number: clip,
    "frames shuffled": shuffle_frames,
    "frames reversed": lambda clip, number: clip.flip(0),
    "one frame repeated": repeat_middle_frame,
    "another clip": lambda clip, number: clip,
    "no video": None,
}
"""From a clip and the question's number to the clip that is shown; None to show nothing. For `another clip`,
the given clip is already that of another question."""


def mark_answers(
    video_chat: VideoChat, rows: Sequence[Conversation], control: str, by: By, batch: int = 32
) -> Iterator[Mark]:
    """A mark for each row that can be asked. The others are reported on stderr and left out.

    batch: rows that are answered at a time.
    """
    for first in range(0, len(rows), batch):
        numbers = range(first, min(first + batch, len(rows)))
        # Decode a batch at a time, since all clips together would not fit into memory.
        prepared = [prepare(video_chat, rows, i, control) for i in numbers]
        asked = [question for question in prepared if question is not None]
        if not asked:
            continue
        batch_rows = [row for row, _ in asked]
        clips = [clip for _, row_clips in asked for clip in row_clips]
        verdicts = check_answers(video_chat, batch_rows, clips, by)
        for row, right in zip(batch_rows, verdicts, strict=True):
            yield Mark(row.kind, bool(right), row.pair, unparsed=right is None)


def prepare(
    video_chat: VideoChat, rows: Sequence[Conversation], i: int, control: str
) -> tuple[Conversation, list[Clip]] | None:
    """Row i and the clips that a control shows for it; None, after a report, if that row cannot be asked."""
    row = rows[i]
    change = CONTROLS[control]
    if change is None:
        row = row.without_media()
    # A row without media is its own donor, and no clip is decoded.
    donor = unrelated_row(rows, i) if control == "another clip" else row
    if donor is None:
        return left_out(f"no other question has {len(row.media)} media, none of them {row.media[0].path}")

    try:
        clips = [change(decode_media(media, video_chat.clip), i) for media in donor.media]
    except DecodeError as error:
        return left_out(str(error))
    try:
        # Tried here, because one prompt that does not fit would stop its whole batch.
        video_chat.encode_prompt(row, clips)
    except UserError as error:  # it does not fit into the context
        return left_out(f"{row.question.strip()!r}: {error}")
    return row, clips


def left_out(why: str) -> None:
    print(f"left out: {why}", file=sys.stderr)


def unrelated_row(rows: Sequence[Conversation], i: int) -> Conversation | None:
    """A row with as many media as row i, and none of the same files; None if there is none.

    The search begins half of all rows away, since neighbours are often about the same scene.
    """
    paths = {media.path for media in rows[i].media}
    # Of the same number, because a prompt has a place for each medium.
    for step in range(len(rows)):
        row = rows[(i + len(rows) // 2 + step) % len(rows)]
        if len(row.media) == len(rows[i].media) and paths.isdisjoint(media.path for media in row.media):
            return row
    return None


def check_answers(
    video_chat: VideoChat, rows: Sequence[Conversation], clips: Sequence[Clip], by: By
) -> list[bool | None]:
    """Whether each row's question is answered correctly. None if an answer by letter names no option."""
    if by == "likelihood":
        scores = video_chat.option_scores(rows, clips)
        best = [row.options[score.index(max(score))] for row, score in zip(rows, scores, strict=True)]
        return [option == row.answer for row, option in zip(rows, best, strict=True)]
    if by == "open":
        answers = video_chat.answers(rows, clips)
        return [matches(answer, row.answer) for row, answer in zip(rows, answers, strict=True)]

    # A letter takes few tokens, but some models write a sentence around it.
    answers = video_chat.answers([lettered(row) for row in rows], clips, limit=16)
    chosen = [chosen_option(answer, row.options) for row, answer in zip(rows, answers, strict=True)]
    return [
        None if number is None else row.options[number] == row.answer
        for row, number in zip(rows, chosen, strict=True)
    ]
