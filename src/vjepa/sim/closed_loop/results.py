"""Outcomes of episodes as rows of a table: by policy, by length of the plan, by angle of the camera."""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from vjepa.evaluation.report import Score
from vjepa.evaluation.tables import text_table
from vjepa.sim.closed_loop.episodes import Outcome
from vjepa.sim.closed_loop.tasks import CLOSE

ANGLES = (0, 10, 20, 30, 40, 50, 60, 90)
"""Limits in degrees of the intervals within which episodes are counted together."""


class TableRow(NamedTuple):
    """A group of episodes, as `results.json` holds it."""

    name: str
    episodes: int
    success: float
    """Share of episodes that succeed."""
    low: float
    """Lower end of the 95 % Wilson interval of `success`."""
    high: float
    """Upper end of that interval."""
    close: float
    """Share of episodes that end within 2.5 cm."""
    median: float
    """Median distance from success at the end, metres."""
    seconds: float
    """Seconds that the policy takes per action."""
    calls: float
    """Actions whose consequences the policy computes, per action that it takes."""


def table_row(name: str, outcomes: Sequence[Outcome]) -> TableRow:
    """One row for all of the outcomes, of which there is at least one."""
    score = Score(name, float(np.mean([outcome.success for outcome in outcomes])), len(outcomes))
    low, high = score.interval
    distances = np.array([outcome.distance for outcome in outcomes])
    actions = sum(outcome.actions for outcome in outcomes)
    return TableRow(
        name=name,
        episodes=score.clips,
        success=score.value,
        low=low,
        high=high,
        close=float((distances <= CLOSE).mean()),
        median=float(np.median(distances)),
        # Per action, not per episode: episodes of a task differ in length.
        seconds=sum(outcome.seconds for outcome in outcomes) / actions,
        calls=sum(outcome.calls for outcome in outcomes) / actions,
    )


def table_rows(outcomes: Sequence[Outcome], key: Callable[[Outcome], Hashable]) -> list[TableRow]:
    """One row for each value of the key, in the order in which the values first come."""
    groups: dict[Hashable, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(key(outcome), []).append(outcome)
    return [table_row(str(name), group) for name, group in groups.items()]


def rows_by_camera_angle(outcomes: Sequence[Outcome]) -> list[TableRow]:
    """One row for each interval of `ANGLES` in which there are episodes."""

    def interval(outcome: Outcome) -> str:
        # The number of limits that are not above the angle: an angle at a limit begins the next interval.
        upper = int(np.searchsorted(ANGLES, outcome.azimuth, side="right"))
        return f"{ANGLES[upper - 1]} to {ANGLES[upper]} degrees"

    # Rows come in the order of their first episodes, so sorted episodes give sorted intervals.
    return table_rows(sorted(outcomes, key=lambda outcome: outcome.azimuth), interval)


def results_table(rows: Sequence[TableRow], caption: str) -> str:
    """The rows under a caption and a header, for a terminal and for TensorBoard."""
    header = ("", "episodes", "success", "   95 % interval")
    header += ("<= 2.5 cm", "median cm", "s/action", "calls/action")
    lines = [header]
    for row in rows:
        interval = f"   [{row.low:.2f}, {row.high:.2f}]"
        success = (str(row.episodes), f"{row.success:.2f}", interval, f"{row.close:.2f}")
        cost = (f"{100 * row.median:.1f}", f"{row.seconds:.3f}", f"{row.calls:.0f}")
        lines.append((row.name, *success, *cost))
    return text_table(caption, lines, ("<18", ">9", ">9", "<16", ">12", ">12", ">11", ">15"))
