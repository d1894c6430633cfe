"""Actions in long videos, each from `start` to `stop`, of a verb and a noun: what anticipation foresees.

Two sources become the same list: the CSVs of EPIC-KITCHENS-100 and the demo world's event log.

Of the demo world's log, a verb is what the arm does: grasped, lifted, released, dropped, entered tray. What else it notes, that
objects become hidden and visible, is mostly the arm's passing between them and the camera. A noun says which object: by its
place, the left, middle or right third of the picture; or by its colour or shape, which the demo's encoder does not tell.
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
    """The classes: verbs, nouns, and the pairs of them that occur in training; behind these, where it is widened, others."""

    verbs: tuple[str, ...]
    nouns: tuple[str, ...]
    actions: tuple[tuple[str, str], ...]

    @property
    def sizes(self) -> tuple[int, int, int]:
        return len(self.verbs), len(self.nouns), len(self.actions)

    @cached_property
    def places(self) -> tuple[dict, dict, dict]:
        return tuple(
            {name: i for i, name in enumerate(names)} for names in (self.verbs, self.nouns, self.actions)
        )

    def labels(self, action: Action) -> tuple[int, int, int]:
        """Verb, noun and pair as class numbers; -1 for what it does not hold."""
        names = action.verb, action.noun, (action.verb, action.noun)
        return tuple(places.get(name, -1) for places, name in zip(self.places, names, strict=True))

    def widened(self, actions: Sequence[Action]) -> "Vocabulary":
        """The same numbers for the same classes, and further ones for what else occurs in `actions`."""
        other = vocabulary(actions)
        pairs = (self.verbs, other.verbs), (self.nouns, other.nouns), (self.actions, other.actions)
        return Vocabulary(
            *(mine + tuple(name for name in theirs if name not in set(mine)) for mine, theirs in pairs)
        )


def vocabulary(actions: Sequence[Action]) -> Vocabulary:
    """Of the training actions, in sorted order; numbers sort as numbers."""
    verbs, nouns = ({getattr(action, kind) for action in actions} for kind in ("verb", "noun"))
    pairs = {(action.verb, action.noun) for action in actions}
    return Vocabulary(tuple(sorted(verbs, key=natural)), tuple(sorted(nouns, key=natural)),
                      tuple(sorted(pairs, key=lambda pair: (natural(pair[0]), natural(pair[1])))))  # fmt: skip


def natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (-1, name)
