"""Questions with options, answered from the video and beside controls that see less of it.

    python -m vjepa evaluate --model runs/demo/vlm --questions data/demo/test.jsonl --random runs/demo-random/vlm
    python -m vjepa evaluate --model DIR --questions mvp.json --format mvp --media videos --by likelihood letter

One table: a row for what is shown, a column for each kind of question. A model that needs no video answers as well without
it; one that knows no order, as well with its frames shuffled. Questions whose media cannot be decoded, or do not fit into the
context, are counted and left out; so are open ones where options are scored.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor
from tqdm import tqdm

from vjepa.benchmarks.question_files import read_questions
from vjepa.benchmarks.scoring import (
    Mark,
    accuracy,
    by_kind,
    chance,
    chosen_letter,
    lettered,
    matches,
    most_frequent,
    pairs,
)
from vjepa.data.decode import DecodeError
from vjepa.errors import require
from vjepa.evaluation.report import Score
from vjepa.language.conversations import Conversation
from vjepa.language.media import frames_of
from vjepa.language.video_chat import VideoChat

Clip = UInt8[Tensor, "t c h w"]
By = Literal["likelihood", "letter", "open"]


def shuffled(clip: Clip, number: int) -> Clip:
    """The same frames in an order that depends on the question's number alone."""
    return clip[torch.randperm(len(clip), generator=torch.Generator().manual_seed(number))]


def still(clip: Clip, number: int) -> Clip:
    """The middle frame all the time."""
    return clip[len(clip) // 2 : len(clip) // 2 + 1].expand_as(clip)


CONTROLS: dict[str, Callable[[Clip, int], Clip] | None] = {
    "video": lambda clip, number: clip,
    "frames shuffled": shuffled,
    "frames reversed": lambda clip, number: clip.flip(0),
    "one frame repeated": still,
    "another clip": lambda clip, number: clip,
    "no video": None,
}


def marks(
    talker: VideoChat, rows: Sequence[Conversation], control: str, by: By, batch: int = 32
) -> Iterator[Mark]:
    """A mark for every row that can be asked; what cannot is reported and left out."""
    for first in range(0, len(rows), batch):
        numbers = range(first, min(first + batch, len(rows)))
        found = [shown for i in numbers if (shown := show(talker, rows, i, control)) is not None]
        if not found:
            continue
        some, clips = [row for row, _ in found], [clip for _, mine in found for clip in mine]
        for row, right in zip(some, answered(talker, some, clips, by), strict=True):
            yield Mark(row.kind, bool(right), row.pair, unparsed=right is None)


def show(
    talker: VideoChat, rows: Sequence[Conversation], i: int, control: str
) -> tuple[Conversation, list[Clip]] | None:
    """Row i and its clips as a control shows them, perhaps another row's or none. None where that cannot be."""
    row, change = rows[i], CONTROLS[control]
    donor = other_of(rows, i) if control == "another clip" else row
    if change is None:
        row = donor = row.without_media()
    if donor is None:
        return left_out(f"no other question has {len(row.media)} media, none of them {row.media[0].path}")
    try:
        clips = [change(frames_of(media, talker.clip), i) for media in donor.media]
    except DecodeError as error:
        return left_out(str(error))
    why = talker.misfit(row, clips)
    return left_out(f"{row.question.strip()!r}: {why}") if why else (row, clips)


def left_out(why: str) -> None:
    print(f"left out: {why}", file=sys.stderr)


def other_of(rows: Sequence[Conversation], i: int) -> Conversation | None:
    """A row, from half of all rows away, that has as many media as row i and none of the same files; None if there is none."""
    mine, far = {media.path for media in rows[i].media}, i + len(rows) // 2
    away = (rows[(far + step) % len(rows)] for step in range(len(rows)))
    fitting = (row for row in away if len(row.media) == len(rows[i].media))
    return next((row for row in fitting if mine.isdisjoint(media.path for media in row.media)), None)


def answered(
    talker: VideoChat, rows: Sequence[Conversation], clips: Sequence[Clip], by: By
) -> list[bool | None]:
    """Whether each row's question is answered rightly; None for an answer by letter that names no option."""
    if by == "likelihood":
        scores = talker.option_scores(rows, clips)
        return [row.options[s.index(max(s))] == row.answer for row, s in zip(rows, scores, strict=True)]
    if by == "open":
        return [
            matches(said, row.answer) for row, said in zip(rows, talker.answers(rows, clips), strict=True)
        ]
    said = talker.answers([lettered(row) for row in rows], clips, limit=16)
    letters = [chosen_letter(text, row.options) for row, text in zip(rows, said, strict=True)]
    return [None if k is None else row.options[k] == row.answer for row, k in zip(rows, letters, strict=True)]


def scores(name: str, found: Sequence[Mark], rows: Sequence[Conversation], by: By) -> list[Score]:
    """One score for each kind, one for all questions, if there are pairs one for those of each kind, and by letter the share
    of answers that named no option. None where nothing could be asked."""
    if not found:
        return []
    kinds = [
        Score(f"{name} | {kind}", accuracy(mine), len(mine)) for kind, mine in sorted(by_kind(found).items())
    ]
    both = sorted(by_kind(pairs(found, rows)).items())
    together = [
        Score(f"{name} | {kind} pairs".replace("  ", " "), accuracy(mine), len(mine)) for kind, mine in both
    ]
    unclear = Score(
        f"{name} | unparsed", sum(mark.unparsed for mark in found) / len(found), len(found), "share"
    )
    return [
        *kinds,
        Score(f"{name} | all", accuracy(found), len(found)),
        *together,
        *([unclear] if by == "letter" else []),
    ]


def guesses(rows: Sequence[Conversation]) -> list[Score]:
    """What the most frequent answer and chance give, per kind and over all; chance where there are options."""
    out = []
    for name, guess in (("most frequent answer", most_frequent), ("chance", chance)):
        able = [row for row in rows if row.options or guess is most_frequent]
        for kind in [*sorted({row.kind for row in able}), *(["all"] if able else [])]:
            mine = [row for row in able if kind in (row.kind, "all")]
            out.append(Score(f"{name} | {kind}", guess(mine), len(mine)))
    return out


def grid(found: Sequence[Score]) -> str:
    """Scores named `row | column` as a table, with the number of questions on top."""
    names = [score.name.split(" | ") for score in found]
    rows, columns = (list(dict.fromkeys(name[side] for name in names)) for side in (0, 1))
    cells = {tuple(name): score for name, score in zip(names, found, strict=True)}
    counts = [
        str(next(cells[row, column].clips for row in rows if (row, column) in cells)) for column in columns
    ]
    wide = max(11, *(len(column) + 2 for column in columns))
    lines = [
        f"{name:<24}" + "".join(f"{text:>{wide}}" for text in top)
        for name, top in (("", columns), ("questions", counts))
    ]
    for row in rows:
        values = [f"{cells[row, column].value:.3f}" if (row, column) in cells else "" for column in columns]
        lines.append(f"{row:<24}" + "".join(f"{value:>{wide}}" for value in values))
    return "\n".join(lines)


def evaluate(
    talker: VideoChat,
    rows: Sequence[Conversation],
    by: By,
    controls: Sequence[str],
    random: VideoChat | None = None,
) -> list[Score]:
    """Scores of all controls; with `random`, of the same alignment of an encoder that was never trained. Raises UserError if
    no question can be asked."""
    asked = rows if by == "open" else [row for row in rows if row.options]
    require(
        bool(asked),
        f"none of {len(rows)} questions has options, so none can be answered by {by}; give --by open",
    )
    if len(asked) < len(rows):
        print(f"{len(rows) - len(asked)} open questions are not answered by {by}", file=sys.stderr)
    found: list[Score] = []
    for control in tqdm(controls, desc="controls", disable=None):
        found += scores(control, list(marks(talker, asked, control, by)), asked, by)
    if random is not None:
        found += scores("random encoder", list(marks(random, asked, "video", by)), asked, by)
    require(bool(found), f"none of {len(asked)} questions could be asked; the reasons are above")
    return found + guesses(asked)


def evaluate_files(
    *,
    model: Path,
    questions: Path,
    format: Literal[
        "conversations", "perceptiontest", "tempcompass", "mvp", "temporalbench", "tomato"
    ] = "conversations",
    media: Path | None = None,
    by: list[By] = ["likelihood"],
    random: Path | None = None,
    device: str = "cpu",
    only: list[str] = list(CONTROLS),
    out: Path | None = None,
) -> None:
    """Answer a file of questions about videos, beside controls that see less of them.

    Args:
        model: Folder of a finished vlm stage.
        questions: File of questions.
        format: Format of that file.
        media: Folder of the videos; the questions' own if not given.
        by: How answers are taken; one table for each way.
        random: Folder of the same stage on an untrained encoder: one more row.
        device: Such as cuda.
        only: Controls to run.
        out: Write the scores to this JSON file too.
    """
    unknown = set(only) - set(CONTROLS)
    require(not unknown, f"--only {' '.join(sorted(unknown))}: give some of {', '.join(CONTROLS)}")
    rows = read_questions(questions, format, media)
    chat = VideoChat.load(model).to(device)
    untrained = VideoChat.load(random).to(device) if random else None
    scores = {way: evaluate(chat, rows, way, only, untrained) for way in by}
    if chat.cut:
        print(f"{chat.cut} tokens of questions did not fit into the context and are cut", file=sys.stderr)
    for way, scored in scores.items():
        print(f"accuracy by {way} on {len(rows)} questions of {questions}\n{grid(scored)}")
    if out:
        written = [{"by": way, **asdict(score)} for way, scored in scores.items() for score in scored]
        out.write_text(json.dumps(written, indent=1) + "\n")
