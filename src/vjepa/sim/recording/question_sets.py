"""Questions with options, and sets of them in which no answer is a better guess than another."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

VIDEO_MARK = "<video>\n"
"""Where a conversation shows the video."""


class Question(NamedTuple):
    """A question about a video, with its answer and the options of which that is one."""

    video: str
    kind: str
    question: str
    answer: str
    options: tuple[str, ...]
    pair: str = ""
    """The same for a clip and its reversal, if their answers are opposite."""

    @property
    def turns(self) -> list[dict[str, str]]:
        """The question and its answer, as turns of a conversation."""
        return [{"from": "human", "value": self.question}, {"from": "gpt", "value": self.answer}]

    @property
    def row(self) -> dict:
        """A row of a test file: the question as a conversation, and its fields."""
        return {"video": self.video, "conversations": with_video(self.turns), **self._asdict()}


def with_video(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """The turns with the video in the first of them."""
    first, *others = turns
    return [{**first, "value": VIDEO_MARK + first["value"]}, *others]


def balanced(questions: Sequence[Question], seed: int = 0) -> list[Question]:
    """Drop questions until every answer to a kind of question is equally frequent. Pairs are kept whole."""
    groups: dict[str, dict[str, list[Question]]] = defaultdict(lambda: defaultdict(list))
    for question in questions:
        groups[question.kind][balanced_answer(question)].append(question)

    random = np.random.default_rng(seed)
    kept = set()
    for answers in groups.values():
        fewest = min(map(len, answers.values()))
        for same_answer in answers.values():
            if same_answer[0].pair:  # already balanced: the reversal has the opposite answer
                kept.update(same_answer)
            else:
                kept.update(same_answer[i] for i in random.permutation(len(same_answer))[:fewest])
    # In the order in which they came.
    return [question for question in questions if question in kept]


def balanced_answer(question: Question) -> str:
    """The answer by which a question is counted.

    A "before" question names its two options in either order, so the place of the answer counts, not its
    text.
    """
    if question.kind == "before":
        return str(question.options.index(question.answer))
    return question.answer


def conversations(questions: Sequence[Question], seed: int = 0) -> list[dict]:
    """One conversation for each video, with all questions about it in a random order."""
    random = np.random.default_rng(seed)
    by_video: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_video[question.video].append(question)

    rows = []
    for video, about_video in by_video.items():
        # A question stays with its answer: two turns at a time.
        turns = [turn for i in random.permutation(len(about_video)) for turn in about_video[i].turns]
        rows.append({"video": video, "conversations": turns})
    return rows
