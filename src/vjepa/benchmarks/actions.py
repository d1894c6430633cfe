"""Actions in long videos, and their classes. Anticipation names an action before it begins.

An action is a verb and a noun from `start` to `stop`. `action_files` reads them from EPIC-KITCHENS-100 or
from the demo world's log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Action:
    """What happens in a video from `start` to `stop` (seconds)."""

    path: Path
    start: float
    stop: float
    verb: str
    noun: str


@dataclass(frozen=True)
class Vocabulary:
    """The classes: verbs, nouns, and the pairs of them that occur. A class's number is its index here."""

    verbs: tuple[str, ...]
    nouns: tuple[str, ...]
    actions: tuple[tuple[str, str], ...]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many verbs, nouns and pairs there are."""
        return len(self.verbs), len(self.nouns), len(self.actions)

    # Dictionaries, because EPIC-KITCHENS-100 has 3,568 pairs and every sample looks one up.
    @cached_property
    def numbers(self) -> tuple[dict, dict, dict]:
        """From the name of a verb, a noun or a pair to its number."""
        kinds = (self.verbs, self.nouns, self.actions)
        return tuple({name: number for number, name in enumerate(names)} for names in kinds)

    def labels(self, action: Action) -> tuple[int, int, int]:
        """Numbers of an action's verb, noun and pair; -1 for what is not in the vocabulary."""
        names = (action.verb, action.noun, (action.verb, action.noun))
        return tuple(numbers.get(name, -1) for numbers, name in zip(self.numbers, names, strict=True))

    def extended(self, actions: Sequence[Action]) -> "Vocabulary":
        """This vocabulary with the other classes of `actions` added at the end, so that its numbers stay."""
        # A dictionary keeps the order of its keys, and a key that it has keeps its place.
        new = vocabulary(actions)
        return Vocabulary(
            tuple(dict.fromkeys(self.verbs + new.verbs)),
            tuple(dict.fromkeys(self.nouns + new.nouns)),
            tuple(dict.fromkeys(self.actions + new.actions)),
        )


def vocabulary(actions: Sequence[Action]) -> Vocabulary:
    """What occurs in the actions, sorted by name; names that are numbers are sorted as numbers."""
    # Sorted below, so that the numbers do not depend on the order of the rows.
    verbs = {action.verb for action in actions}
    nouns = {action.noun for action in actions}
    pairs = {(action.verb, action.noun) for action in actions}
    return Vocabulary(
        tuple(sorted(verbs, key=sort_key)),
        tuple(sorted(nouns, key=sort_key)),
        tuple(sorted(pairs, key=lambda pair: (sort_key(pair[0]), sort_key(pair[1])))),
    )


def sort_key(name: str) -> tuple[int, str]:
    """Sorts 3 before 114, and names before numbers."""
    # Class numbers of EPIC-KITCHENS are texts here, and "114" would come before "3".
    return (int(name), "") if name.isdigit() else (-1, name)
