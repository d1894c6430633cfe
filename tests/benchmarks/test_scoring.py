"""How answers are marked, and the files that benchmarks publish."""

import json
from pathlib import Path

import pytest

from vjepa.benchmarks.question_files import read_questions
from vjepa.benchmarks.scoring import (
    Mark,
    accuracy,
    by_kind,
    chance_accuracy,
    chosen_option,
    lettered,
    majority_accuracy,
    matches,
    pair_marks,
)
from vjepa.data.manifest_files import ManifestError
from vjepa.language.conversations import Conversation, Turn

OPTIONS = ("to the left", "to the right", "up")


ANSWERS = {
    0: ("A", "It's A", "[A]"),
    1: ("b", "(b)", "B) to the right", "Answer is B", "to the right"),
    2: ("C.", "The answer is (C).", "Up."),
    None: ("", "D", "A or B", "I cannot tell", "A hand moves up"),
}


@pytest.mark.parametrize("option", ANSWERS)
def test_a_letter_is_read_and_never_guessed(option):
    assert {chosen_option(answer, OPTIONS) for answer in ANSWERS[option]} == {option}


def row(answer: str, options: tuple[str, ...] = OPTIONS, kind: str = "k", pair: str = "") -> Conversation:
    return Conversation(
        (), (Turn("user", ("Which way?",)), Turn("assistant", (answer,))), options, kind, pair
    )


def test_options_are_listed_and_answered_by_a_letter():
    question = lettered(row("up"))
    assert "Which way?\nA. to the left\nB. to the right\nC. up\nAnswer" in question.question
    assert question.answer == "C"


def test_open_answers_match_whatever_their_dress():
    assert matches("The  red cube!", "red cube") and not matches("blue cube", "red cube")
    assert matches("A.", "a") and not matches("the", "a") and not matches("", "?") and not matches("", "the")


def test_pairs_are_right_together():
    rows = [row("up", pair=pair) for pair in ("x", "x", "y", "y", "z", "")]
    marks = [
        Mark("k", True, "x"),
        Mark("k", True, "x"),
        Mark("k", True, "y"),
        Mark("k", False, "y"),
        Mark("k", True),
    ]
    assert accuracy(marks) == 0.8 and set(by_kind(marks)) == {"k"}
    assert [mark.right for mark in pair_marks(marks, rows)] == [True, False, False]  # z was never marked
    assert accuracy(pair_marks(marks, rows)) == pytest.approx(1 / 3)


def test_who_is_blind_to_order_has_no_reversed_pair_right():
    rows = [row(answer, OPTIONS[:2], pair=str(i)) for i in range(20) for answer in OPTIONS[:2]]
    # The same answer to a clip and its reversal, whatever it is.
    answers = [OPTIONS[i // 2 % 2] for i in range(40)]
    marks = [Mark("k", answer == row.answer, row.pair) for answer, row in zip(answers, rows, strict=True)]
    assert accuracy(marks) == 0.5 and accuracy(pair_marks(marks, rows)) == 0.0


def test_what_guessing_gives():
    rows = [row("up"), row("up"), row("to the left"), row("no", ("yes", "no"), "other")]
    assert chance_accuracy(rows) == pytest.approx((3 / 3 + 1 / 2) / 4)
    assert majority_accuracy(rows) == 0.75
    own = [row(f"{i}", (f"{i}", "x", "y")) for i in range(3)] + [row("4", ("x", "4", "y"))]
    assert majority_accuracy(own) == 0.75  # the first option, whatever it says
    assert majority_accuracy([row("red", ()), row("red", ()), row("blue", ())]) == pytest.approx(2 / 3)


FILES = {
    "perceptiontest": {
        "v1": {
            "metadata": {},
            "mc_question": [
                {
                    "id": 0,
                    "question": "What falls?",
                    "options": ["a cup", "a ball", "a pen"],
                    "answer_id": 1,
                    "area": "physics",
                }
            ],
        }
    },
    "tempcompass": {
        "v2": {
            "direction": [
                {
                    "question": "Which way?\nA. up\nB. down\nC. left\nPlease directly give the best option:",
                    "answer": "B. down",
                }
            ],
            "order": [{"question": "Is it first?", "answer": "yes"}],
            "speed": [
                {
                    "question": "Which caption matches?\nCaption A: It is slow.\nCaption B: It is fast.",
                    "answer": "Caption B: It is fast.",
                },
                {
                    "question": "Which is more suitable?\nOption 1: It is slow: very.\nOption 2: It is fast.",
                    "answer": "Option 1: It is slow: very.",
                },
                {
                    "question": "Which is better?\nSentence A: It is slow.\nSentence B: A fast one.",
                    "answer": "Sentence B: A fast one.",
                },
            ],
        }
    },
    "mvp": [
        {
            "video_id": "star_7_0",
            "video_path": "/star/a.mp4",
            "question": "Which?",
            "candidates": ["up", "down"],
            "answer": "up",
            "source": "star",
        },
        {
            "video_id": "star_7_1",
            "video_path": "/star/b.mp4",
            "question": "Which?",
            "candidates": "['up', 'down']",
            "answer": "down",
            "source": "star",
        },
    ],
    "temporalbench": [
        {
            "idx": 1,
            "video_name": "c/x.mp4",
            "GT": "B",
            "category": 3,
            "question": "Which caption?\nA. He runs.\nB. He walks.\nAnswer by letter.",
        }
    ],
    "tomato": {
        "0": {
            "question": "How often?",
            "options": ["once", "twice", "thrice"],
            "answer": 2,
            "key": "0132-1",
            "demonstration_type": "human",
            "motion_type": "count",
        }
    },
}
FIRST_ROWS = {
    "perceptiontest": ("v1.mp4", "What falls?", "a ball", "physics", ""),
    "tempcompass": ("v2.mp4", "Which way?", "down", "direction", ""),
    "mvp": ("star/a.mp4", "Which?", "up", "star", "star_7"),
    "temporalbench": ("c/x.mp4", "Which caption?", "He walks.", "3", "c/x.mp4"),
    "tomato": ("human/0132-1.mp4", "How often?", "thrice", "count", ""),
}


def published(tmp_path: Path, kind: str) -> Path:
    (tmp_path / "questions.json").write_text(json.dumps(FILES[kind]))
    return tmp_path / "questions.json"


@pytest.mark.parametrize("kind", FILES)
def test_published_files_are_read(tmp_path, kind):
    rows = read_questions(published(tmp_path, kind), kind, tmp_path / "videos")
    first = rows[0]
    path = first.media[0].path.relative_to(tmp_path / "videos").as_posix()
    assert (path, first.question.strip(), first.answer, first.kind, first.pair) == FIRST_ROWS[kind]
    assert first.answer in first.options and len(first.options) in (2, 3)


def test_yes_and_no_are_options_and_lines_are_rows(tmp_path):
    second = read_questions(published(tmp_path, "tempcompass"), "tempcompass")[1]
    assert second.options == ("yes", "no") and second.kind == "order"
    captions = read_questions(published(tmp_path, "tempcompass"), "tempcompass")[2:]
    assert [row.answer for row in captions] == ["It is fast.", "It is slow: very.", "A fast one."]
    assert [row.options.index(row.answer) for row in captions] == [1, 0, 1]
    assert all(len(row.options) == 2 for row in captions)
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, FILES["mvp"])))
    pair = read_questions(tmp_path / "rows.jsonl", "mvp")
    assert pair[0].pair == pair[1].pair and pair[1].options == ("up", "down")


def test_another_benchmarks_file_is_one_sentence(tmp_path):
    with pytest.raises(ManifestError, match=r"questions.json, question 1: is not one of tomato"):
        read_questions(published(tmp_path, "mvp"), "tomato")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_questions(tmp_path / "none.json", "mvp")


BROKEN = {
    "perceptiontest": ("answer_id", -1, "the answer is number -1; expected one of 3 options"),
    "tempcompass": (
        "answer",
        "E. sideways",
        "the answer 'E. sideways' to 'Which way.' is none of the options",
    ),
    "mvp": ("candidates", "up, down", "is not one of mvp: ValueError|is not one of mvp: SyntaxError"),
    "temporalbench": ("GT", "C", r"the answer is 'C'; expected one of the letters \['A', 'B'\]"),
    "tomato": ("answer", "two", "the answer is number 'two'; expected one of 3 options"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_value_that_cannot_be_is_one_sentence(tmp_path, kind):
    key, value, sentence = BROKEN[kind]
    content = json.loads(json.dumps(FILES[kind]))
    row = content
    while key not in row:
        row = row[0] if isinstance(row, list) else row.get("mc_question") or next(iter(row.values()))
    row[key] = value
    (tmp_path / "questions.json").write_text(json.dumps(content))
    with pytest.raises(ManifestError, match=f"questions.json, question 1: .*({sentence})"):
        read_questions(tmp_path / "questions.json", kind)
