"""Marks for answers: letters, options, open answers and pairs of questions, and what guessing would score.

A letter is read from an answer and never guessed. An answer that names no option, or several, is wrong and
counts as unparsed.
"""

import re
import string
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from vjepa.language.conversations import Conversation, Turn

ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True)
class Mark:
    """Whether one question was answered correctly."""

    kind: str
    right: bool
    pair: str = ""
    """Questions of one pair are right together or not at all; empty for none."""
    unparsed: bool = False
    """The answer named no option, or several."""


WithKind = TypeVar("WithKind", Mark, Conversation)


def lettered(
    row: Conversation, instruction: str = "Answer with the letter of the right option."
) -> Conversation:
    """The row with its options listed below the question; the right answer is a letter."""
    letters = string.ascii_uppercase
    # Not strict: there are more letters than options.
    options = [f"{letter}. {option}" for letter, option in zip(letters, row.options, strict=False)]
    *before, question, _ = row.turns
    media = [part for part in question.parts if isinstance(part, int)]
    text = "\n" + "\n".join([row.question, *options, instruction])
    answer = letters[row.options.index(row.answer)]
    turns = (*before, Turn("user", (*media, text)), Turn("assistant", (answer,)))
    return row._replace(turns=turns, options=())


def chosen_option(answer: str, options: Sequence[str]) -> int | None:
    """Index of the option that an answer names by its letter or its text; None for none or several."""
    # Only letters of this question. Parsers that search for any "A" mark most sentences as option A.
    letters = string.ascii_uppercase[: len(options)]
    # A letter at the beginning, in brackets or followed by a mark: "B", "(b)", "B) to the right".
    alone = re.match(rf"\s*[(\[]?([{letters}{letters.lower()}])(?:[)\].:,]|\s*$)", answer)
    if alone:
        return letters.index(alone[1].upper())

    # A capital letter anywhere: "The answer is (C).". An article is none: "A hand moves up".
    without_articles = re.sub(r"\bA (?!or\b|and\b|is\b)(?=[a-z])", "", answer)
    named = set(re.findall(rf"(?<![A-Za-z'])([{letters}])(?![A-Za-z'])", without_articles))
    if len(named) == 1:
        return letters.index(named.pop())
    # The whole text of one option.
    same = [number for number, option in enumerate(options) if matches(option, answer)]
    return same[0] if not named and len(same) == 1 else None


def normalise_text(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces; a text of nothing else stays as it is."""
    spaces = str.maketrans(string.punctuation, " " * len(string.punctuation))
    words = text.lower().translate(spaces).split()
    return " ".join(word for word in words if word not in ARTICLES) or " ".join(words) or text.strip()


def matches(answer: str, gold: str) -> bool:
    """Whether an open answer is the right one, whatever its case, articles and punctuation."""
    return normalise_text(answer) == normalise_text(gold)


def accuracy(marks: Sequence[Mark]) -> float:
    """Share of right answers."""
    return sum(mark.right for mark in marks) / len(marks)


def by_kind(items: Sequence[WithKind]) -> dict[str, list[WithKind]]:
    """Marks or rows, by their kind of question."""
    kinds: dict[str, list[WithKind]] = defaultdict(list)
    for item in items:
        kinds[item.kind].append(item)
    return dict(kinds)


def pair_marks(marks: Sequence[Mark], rows: Sequence[Conversation]) -> list[Mark]:
    """One mark for each pair, right if all its rows are: pairs of MVP, videos of TemporalBench.

    A row without a mark, because its video could not be decoded, counts as wrong.
    """
    # Sizes are counted in the rows, so a row without a mark keeps its pair from being right.
    sizes = Counter(row.pair for row in rows if row.pair)
    right = Counter(mark.pair for mark in marks if mark.right)
    # The rows of a pair are of one kind; if not, the last row decides.
    kinds = {row.pair: row.kind for row in rows}
    return [Mark(kinds[pair], right[pair] == size) for pair, size in sizes.items()]


def chance_accuracy(rows: Sequence[Conversation]) -> float:
    """Accuracy of drawing an option at random."""
    return sum(1 / len(row.options) for row in rows) / len(rows)


def majority_accuracy(rows: Sequence[Conversation]) -> float:
    """Accuracy of giving the most frequent right answer of its kind to every question."""
    right = 0
    for kind_rows in by_kind(rows).values():
        answers = Counter(map(constant_answer(kind_rows), kind_rows))
        right += max(answers.values())
    return right / len(rows)


def constant_answer(rows: Sequence[Conversation]) -> Callable[[Conversation], str | int]:
    """A function from a row to how a constant answer would name its right option.

    That is the option's text if all rows offer the same options (or none), else its index among them.
    """
    # As sets, because rows may list the same options in another order.
    shared = len({frozenset(row.options) for row in rows}) == 1
    return lambda row: row.answer if shared or not row.options else row.options.index(row.answer)
