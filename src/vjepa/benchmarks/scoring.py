"""How answers are marked: letters, options, open answers, pairs of questions, and what guessing would give.

A letter is what an answer says, never a guess: what names no option, or two, is unparsed and wrong, and counted.
"""

import re
import string
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vjepa.language.conversations import Conversation, Turn

ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True)
class Mark:
    """One question, marked. `pair`: marks of one pair are right together or not at all; empty for none. `unparsed`: the answer
    named no option, or several."""

    kind: str
    right: bool
    pair: str = ""
    unparsed: bool = False


def lettered(
    row: Conversation, instruction: str = "Answer with the letter of the right option."
) -> Conversation:
    """The row with its options listed below the question, to be answered by a letter."""
    listed = [
        f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, row.options, strict=False)
    ]
    *before, question, _ = row.turns
    text = "\n" + "\n".join([row.question, *listed, instruction])
    parts = (*(part for part in question.parts if isinstance(part, int)), text)
    answer = string.ascii_uppercase[row.options.index(row.answer)]
    return row._replace(turns=(*before, Turn("user", parts), Turn("assistant", (answer,))), options=())


def chosen_letter(answer: str, options: Sequence[str]) -> int | None:
    """Which option an answer names: by a letter of its own, or by its text. None for none, or for several."""
    letters = string.ascii_uppercase[: len(options)]
    alone = re.match(rf"\s*[(\[]?([{letters}{letters.lower()}])(?:[)\].:,]|\s*$)", answer)
    if alone:
        return letters.index(alone[1].upper())
    told = re.sub(r"\bA (?!or\b|and\b|is\b)(?=[a-z])", "", answer)  # an article
    named = set(re.findall(rf"(?<![A-Za-z'])([{letters}])(?![A-Za-z'])", told))
    if len(named) == 1:
        return letters.index(named.pop())
    same = [number for number, option in enumerate(options) if normal(option) == normal(answer)]
    return same[0] if not named and len(same) == 1 else None


def normal(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces; a text of nothing else stays as it is."""
    words = text.lower().translate(str.maketrans(string.punctuation, " " * len(string.punctuation))).split()
    return " ".join(word for word in words if word not in ARTICLES) or " ".join(words) or text.strip()


def matches(answer: str, gold: str) -> bool:
    """Whether an open answer is the right one, whatever its case, articles and punctuation."""
    return normal(answer) == normal(gold)


def accuracy(marks: Sequence[Mark]) -> float:
    return sum(mark.right for mark in marks) / len(marks)


def by_kind(marks: Sequence[Mark]) -> dict[str, list[Mark]]:
    kinds: dict[str, list[Mark]] = defaultdict(list)
    for mark in marks:
        kinds[mark.kind].append(mark)
    return dict(kinds)


def pairs(marks: Sequence[Mark], rows: Sequence[Conversation]) -> list[Mark]:
    """One mark a pair, right if all its rows are: MVP's pairs, TemporalBench's videos, a clip and its reversal.

    A row that was not marked, because its video could not be decoded, counts as wrong."""
    wanted = Counter(row.pair for row in rows if row.pair)
    right = Counter(mark.pair for mark in marks if mark.right)
    kinds = {row.pair: row.kind for row in rows}
    return [Mark(kinds[pair], right[pair] == count) for pair, count in wanted.items()]


def chance(rows: Sequence[Conversation]) -> float:
    """What drawing an option gives."""
    return sum(1 / len(row.options) for row in rows) / len(rows)


def most_frequent(rows: Sequence[Conversation]) -> float:
    """What always giving the most frequent answer of each kind of question gives. Where every question has options of its
    own, an answer is its place among them."""
    kinds: dict[str, list[Conversation]] = defaultdict(list)
    for row in rows:
        kinds[row.kind].append(row)
    return sum(max(Counter(map(constant(mine), mine)).values()) for mine in kinds.values()) / len(rows)


def constant(rows: Sequence[Conversation]) -> Callable[[Conversation], str | int]:
    """What a constant answer to these rows names: a text that all of them offer, or a place."""
    shared = len({frozenset(row.options) for row in rows}) == 1
    return lambda row: row.answer if shared or not row.options else row.options.index(row.answer)
