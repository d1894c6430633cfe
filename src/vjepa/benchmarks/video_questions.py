"""Questions about videos, answered from the video and from controls that show less of it.

    vjepa evaluate --model runs/demo/vlm --questions data/demo/test.jsonl
    vjepa evaluate --model DIR --questions mvp.json --format mvp --media videos --by letter open

There is one table for each way of answering, with a row for each control and a column for each kind of
question. Questions whose media cannot be decoded or do not fit into the context are reported and left out.
Open questions are left out where options are scored.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from vjepa.benchmarks.controls import CONTROLS, By, mark_answers
from vjepa.benchmarks.question_files import read_questions
from vjepa.benchmarks.scoring import (
    Mark,
    accuracy,
    by_kind,
    chance_accuracy,
    majority_accuracy,
    pair_marks,
)
from vjepa.drawing.outputs import check_outputs, complete_file
from vjepa.errors import require
from vjepa.evaluation.report import Score
from vjepa.evaluation.tables import text_table
from vjepa.language.conversations import Conversation
from vjepa.language.video_chat import VideoChat

Format = Literal["conversations", "perceptiontest", "tempcompass", "mvp", "temporalbench", "tomato"]


def control_scores(control: str, marks: Sequence[Mark], rows: Sequence[Conversation], by: By) -> list[Score]:
    """Accuracy by kind of question, over all questions, and by kind of pair; empty if there is no mark.

    For answers by letter, the share of unparsed answers is added.
    """
    if not marks:
        return []
    scores = accuracies(control, marks)
    scores.append(Score(f"{control} | all", accuracy(marks), len(marks)))
    # Against all rows, so that a pair with a row that could not be asked is wrong.
    scores += accuracies(control, pair_marks(marks, rows), "pairs")
    # Only a letter can be missing: other ways always give an answer.
    if by == "letter":
        unparsed = sum(mark.unparsed for mark in marks) / len(marks)
        scores.append(Score(f"{control} | unparsed", unparsed, len(marks), "share"))
    return scores


def accuracies(name: str, marks: Sequence[Mark], of: str = "") -> list[Score]:
    """One score for each kind, in alphabetical order. of: what is marked, if not single questions."""
    scores = []
    for kind, kind_marks in sorted(by_kind(marks).items()):
        column = f"{kind} {of}".strip()
        scores.append(Score(f"{name} | {column}", accuracy(kind_marks), len(kind_marks)))
    return scores


def baseline_scores(rows: Sequence[Conversation]) -> list[Score]:
    """Accuracy of the most frequent answer, and of chance where there are options: per kind and over all."""
    with_options = [row for row in rows if row.options]
    scores = []
    for name, baseline, asked in (
        ("most frequent answer", majority_accuracy, rows),
        ("chance", chance_accuracy, with_options),
    ):
        for kind, kind_rows in sorted(by_kind(asked).items()):
            scores.append(Score(f"{name} | {kind}", baseline(kind_rows), len(kind_rows)))
        if asked:
            scores.append(Score(f"{name} | all", baseline(asked), len(asked)))
    return scores


def score_table(scores: Sequence[Score], caption: str) -> str:
    """Scores named `row | column` as a table, with the number of questions on top."""
    cells = {tuple(score.name.split(" | ", 1)): score for score in scores}
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    # The rows of one column are about the same questions, except for those that could not be asked. Reversed,
    # so that the first row, that of the video itself, gives the number.
    counts = {column: str(score.clips) for (_, column), score in reversed(cells.items())}
    lines = [["", *columns], ["questions", *[counts[column] for column in columns]]]
    for row in rows:
        values = [f"{cells[row, column].value:.3f}" if (row, column) in cells else "" for column in columns]
        lines.append([row, *values])
    width = max(11, *(len(column) + 2 for column in columns))
    return text_table(caption, lines, ["<24", *[f">{width}"] * len(columns)])


def evaluate(
    video_chat: VideoChat,
    rows: Sequence[Conversation],
    by: By,
    controls: Sequence[str],
    random: VideoChat | None = None,
) -> list[Score]:
    """Scores of all controls and baselines. Raises UserError if no question can be asked.

    random: a model aligned in the same way with an encoder that was never trained, for one more row.
    """
    # An open question has no options to score or to letter.
    asked = rows if by == "open" else [row for row in rows if row.options]
    require(
        bool(asked),
        f"none of {len(rows)} questions has options, so none can be answered by {by}; give --by open",
    )
    if len(asked) < len(rows):
        print(f"{len(rows) - len(asked)} open questions are not answered by {by}", file=sys.stderr)

    scores: list[Score] = []
    for control in tqdm(controls, desc="controls", disable=None):
        marks = list(mark_answers(video_chat, asked, control, by))
        scores += control_scores(control, marks, asked, by)
    # It shows what alignment alone achieves, so it sees the video and no other control.
    if random is not None:
        marks = list(mark_answers(random, asked, "video", by))
        scores += control_scores("random encoder", marks, asked, by)
    require(bool(scores), f"none of {len(asked)} questions could be asked; the reasons are above")
    return scores + baseline_scores(asked)


def evaluate_files(
    *,
    model: Path,
    questions: Path,
    format: Format = "conversations",
    media: Path | None = None,
    by: tuple[By, ...] = ("likelihood",),
    random: Path | None = None,
    device: str = "cpu",
    only: tuple[str, ...] = tuple(CONTROLS),
    out: Path | None = None,
) -> None:
    """Answer a file of questions about videos, with controls that show less of the videos.

    Args:
        model: Folder of a finished vlm stage.
        questions: File of questions.
        format: Format of that file.
        media: Folder of the videos; the questions' own if not given.
        by: How answers are taken; one table for each way.
        random: Folder of the same stage with an untrained encoder, for one more row.
        device: Device of torch, such as cuda.
        only: Controls to run.
        out: Write the scores to this JSON file too.
    """
    # Before anything is loaded, so that a typing error is reported at once.
    check_outputs([out], [questions])
    unknown = set(only) - set(CONTROLS)
    require(not unknown, f"--only {' '.join(sorted(unknown))}: give some of {', '.join(CONTROLS)}")
    rows = read_questions(questions, format, media)
    video_chat = VideoChat.load(model).to(device)
    untrained = VideoChat.load(random).to(device) if random else None
    scores = {way: evaluate(video_chat, rows, way, only, untrained) for way in by}

    if video_chat.cut:
        print(
            f"{video_chat.cut} tokens of questions did not fit into the context and are cut", file=sys.stderr
        )
    for way, way_scores in scores.items():
        print(score_table(way_scores, f"accuracy by {way} on {len(rows)} questions of {questions}"))
    if out:
        written = [{"by": way, **asdict(score)} for way, way_scores in scores.items() for score in way_scores]
        with complete_file(out) as unfinished:
            unfinished.write_text(json.dumps(written, indent=1) + "\n")
