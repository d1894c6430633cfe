"""Questions with options, answered from the video and beside controls that see less of it.

    python -m vjepa.evaluate --model runs/demo/vlm --questions data/demo/test.jsonl --random runs/demo-random/vlm
    python -m vjepa.evaluate --model DIR --questions mvp.json --format mvp --media videos --by likelihood letter

One table: a row for what is shown, a column for each kind of question. A model that needs no video answers as well without
it; one that knows no order, as well with its frames shuffled.
"""

import argparse
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

from vjepa.data.benchmarks import READERS, read_questions
from vjepa.data.caption_module import frames_of
from vjepa.data.captions import Conversation, Turn
from vjepa.data.decode import DecodeError
from vjepa.data.manifest import ManifestError
from vjepa.errors import UserError
from vjepa.report import Score
from vjepa.scoring import Mark, accuracy, by_kind, chance, chosen_letter, lettered, matches, most_frequent, pairs
from vjepa.vlm import VLM

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


def marks(talker: VLM, rows: Sequence[Conversation], control: str, by: By, batch: int = 32) -> Iterator[Mark]:
    """A mark for every row whose media can be decoded; what cannot is reported and left out."""
    for first in range(0, len(rows), batch):
        decoded = [found for row in rows[first : first + batch] if (found := decode(talker, row)) is not None]
        if not decoded:
            continue
        some, clips = [row for row, _ in decoded], changed([clips for _, clips in decoded], control, first)
        some = [textual(row) for row in some] if control == "no video" else some
        for row, right in zip(some, answered(talker, some, [clip for mine in clips for clip in mine], by), strict=True):
            yield Mark(row.kind, right, row.pair)


def decode(talker: VLM, row: Conversation) -> tuple[Conversation, list[Clip]] | None:
    try:
        return row, [frames_of(media, talker.clip) for media in row.media]
    except DecodeError as error:
        print(f"left out: {error}", file=sys.stderr)
        return None


def changed(clips: list[list[Clip]], control: str, first: int) -> list[list[Clip]]:
    """The clips of a batch as a control shows them."""
    change = CONTROLS[control]
    if change is None:
        return [[] for _ in clips]
    if control == "another clip":  # far enough away to be another video's, and of a row with as many media
        return [other_of(clips, i) for i in range(len(clips))]
    return [[change(clip, first + i) for clip in mine] for i, mine in enumerate(clips)]


def other_of(clips: list[list[Clip]], i: int) -> list[Clip]:
    """Clips of a row half a batch away that has as many as row i; its own if there is none."""
    away = [clips[(i + len(clips) // 2 + step) % len(clips)] for step in range(len(clips))]
    return next((other for other in away if len(other) == len(clips[i]) and other is not clips[i]), clips[i])


def textual(row: Conversation) -> Conversation:
    """The row without its media."""
    turns = (Turn(turn.role, tuple(part for part in turn.parts if isinstance(part, str))) for turn in row.turns)
    return row._replace(media=(), turns=tuple(turns))


def answered(talker: VLM, rows: Sequence[Conversation], clips: Sequence[Clip], by: By) -> list[bool]:
    """Whether each row's question is answered rightly."""
    if by == "likelihood":
        scores = talker.option_scores(rows, clips)
        return [row.options[s.index(max(s))] == row.answer for row, s in zip(rows, scores, strict=True)]
    if by == "open":
        return [matches(said, row.answer) for row, said in zip(rows, talker.answers(rows, clips), strict=True)]
    said = talker.answers([lettered(row) for row in rows], clips, limit=16)
    letters = [chosen_letter(text, row.options) for row, text in zip(rows, said, strict=True)]
    return [k is not None and row.options[k] == row.answer for row, k in zip(rows, letters, strict=True)]


def scores(name: str, found: Sequence[Mark], rows: Sequence[Conversation]) -> list[Score]:
    """One score for each kind, one for all questions, and if there are pairs one for those of each kind."""
    kinds = [Score(f"{name} | {kind}", accuracy(mine), len(mine)) for kind, mine in sorted(by_kind(found).items())]
    both = sorted(by_kind(pairs(found, rows)).items())
    together = [Score(f"{name} | {kind} pairs".replace("  ", " "), accuracy(mine), len(mine)) for kind, mine in both]
    return [*kinds, Score(f"{name} | all", accuracy(found), len(found)), *together]


def guesses(rows: Sequence[Conversation]) -> list[Score]:
    """What the most frequent answer and chance give, per kind and over all."""
    out = []
    for name, guess in (("most frequent answer", most_frequent), ("chance", chance)):
        for kind in [*sorted({row.kind for row in rows}), "all"]:
            mine = [row for row in rows if kind in (row.kind, "all")]
            out.append(Score(f"{name} | {kind}", guess(mine), len(mine)))
    return out


def grid(found: Sequence[Score]) -> str:
    """Scores named `row | column` as a table, with the number of questions on top."""
    names = [score.name.split(" | ") for score in found]
    rows, columns = (list(dict.fromkeys(name[side] for name in names)) for side in (0, 1))
    cells = {tuple(name): score for name, score in zip(names, found, strict=True)}
    counts = [str(next(cells[row, column].clips for row in rows if (row, column) in cells)) for column in columns]
    wide = max(11, *(len(column) + 2 for column in columns))
    lines = [f"{name:<24}" + "".join(f"{text:>{wide}}" for text in top) for name, top in (("", columns), ("questions", counts))]
    for row in rows:
        values = [f"{cells[row, column].value:.3f}" if (row, column) in cells else "" for column in columns]
        lines.append(f"{row:<24}" + "".join(f"{value:>{wide}}" for value in values))
    return "\n".join(lines)


def evaluate(
    talker: VLM, rows: Sequence[Conversation], by: By, controls: Sequence[str], random: VLM | None = None
) -> list[Score]:
    """Scores of all controls; with `random`, of the same alignment of an encoder that was never trained."""
    found: list[Score] = []
    for control in tqdm(controls, desc="controls", disable=None):
        found += scores(control, list(marks(talker, rows, control, by)), rows)
    if random is not None:
        found += scores("random encoder", list(marks(random, rows, "video", by)), rows)
    return found + (guesses(rows) if all(row.options for row in rows) else [])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m vjepa.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="folder of a finished vlm stage")
    parser.add_argument("--questions", required=True, help="file of questions")
    parser.add_argument("--format", default="conversations", choices=["conversations", *READERS], help="of that file")
    parser.add_argument("--media", type=Path, help="folder of the videos; the questions' own if not given")
    ways = ["likelihood", "letter", "open"]
    parser.add_argument("--by", nargs="+", default=ways[:1], choices=ways, help="how answers are taken; a table for each way")
    parser.add_argument("--random", help="folder of the same stage on an untrained encoder: one more row")
    parser.add_argument("--only", nargs="*", choices=list(CONTROLS), default=list(CONTROLS), help="controls to run")
    parser.add_argument("--out", type=Path, help="write the scores to this JSON file too")
    options = parser.parse_args(arguments)
    try:
        rows = read_questions(options.questions, options.format, options.media)
        random = options.random and VLM.load(options.random)
        talker = VLM.load(options.model)
        found = {by: evaluate(talker, rows, by, options.only, random or None) for by in options.by}
    except (UserError, ManifestError) as error:
        sys.exit(f"error: {error}")
    for by, scored in found.items():
        print(f"accuracy by {by} on {len(rows)} questions of {options.questions}\n{grid(scored)}")
    if options.out:
        written = [{"by": by, **asdict(score)} for by, scored in found.items() for score in scored]
        options.out.write_text(json.dumps(written, indent=1) + "\n")



if __name__ == "__main__":
    main()
