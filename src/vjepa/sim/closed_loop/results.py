"""What the closed-loop evaluation found, as a table, as JSON, and by horizon and camera angle."""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from vjepa.evaluation.report import Score
from vjepa.sim.closed_loop.episodes import Outcome, seconds_per_action
from vjepa.sim.closed_loop.tasks import CLOSE

ANGLES = (0, 10, 20, 30, 40, 50, 60, 90)
"""Degrees between which episodes are counted together."""


class Line(NamedTuple):
    """One row of the table."""

    name: str
    episodes: int
    success: float
    low: float
    high: float
    """95 % Wilson interval of the success."""
    close: float
    """Share of episodes that end within 2.5 cm."""
    median: float
    """Metres from success at the end."""
    seconds: float
    """Per action."""
    calls: float
    """Actions whose consequences were computed, per action."""


def line(name: str, outcomes: Sequence[Outcome]) -> Line:
    distances = np.array([outcome.distance for outcome in outcomes])
    score = Score(name, float(np.mean([outcome.success for outcome in outcomes])), len(outcomes))
    calls = sum(outcome.calls for outcome in outcomes) / sum(outcome.actions for outcome in outcomes)
    share, median = float((distances <= CLOSE).mean()), float(np.median(distances))
    return Line(
        name, score.clips, score.value, *score.interval, share, median, seconds_per_action(outcomes), calls
    )


def lines(outcomes: Sequence[Outcome], key: Callable[[Outcome], Hashable]) -> list[Line]:
    """One line for each value of the key, in the order in which they come."""
    groups: dict[Hashable, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(key(outcome), []).append(outcome)
    return [line(str(name), group) for name, group in groups.items()]


def by_angle(outcomes: Sequence[Outcome]) -> list[Line]:
    """Success by the camera's angle."""

    def between(outcome: Outcome) -> str:
        place = int(np.searchsorted(ANGLES, outcome.azimuth, side="right"))
        return f"{ANGLES[place - 1]} to {ANGLES[place]} degrees"

    return lines(sorted(outcomes, key=lambda outcome: outcome.azimuth), between)


def table(found: Sequence[Line], caption: str) -> str:
    head = f"  {'':<18}{'episodes':>9}{'success':>9}   95 % interval   <= 2.5 cm   median cm   s/action   calls/action"
    rows = [
        f"  {one.name:<18}{one.episodes:9d}{one.success:9.2f}   [{one.low:.2f}, {one.high:.2f}]{one.close:13.2f}"
        f"{100 * one.median:12.1f}{one.seconds:11.3f}{one.calls:15.0f}"
        for one in found
    ]
    return "\n".join([caption, head, *rows])
