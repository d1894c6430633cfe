"""Diagnosed episodes as rows of a table: one row for each planner in one task."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vjepa.evaluation.report import Score
from vjepa.evaluation.tables import text_table
from vjepa.sim.closed_loop.diagnosed_episode import AHEAD, Diagnosed, Ranks
from vjepa.sim.closed_loop.planner_measures import FAILURE_KINDS, FailureKind, Grip, failure_kind
from vjepa.sim.closed_loop.setting import PolicyName

ON_THE_WAY = 0.05
"""Metres to go above which a search is asked for progress. Nearer to the goal, the first samples spread wider
than the way that is left, and it is the later iterations that find it."""


@dataclass(frozen=True)
class Mean:
    """A mean over worlds, each of which counts once however many searches it has."""

    value: float | None
    """None if it is not defined in any world."""
    error: float
    """Its standard error, from the spread between worlds; 0 for a single world."""
    worlds: int
    """Worlds in which it is defined."""


@dataclass(frozen=True)
class DiagnosisRow:
    """One planner in one task, as `diagnosis.json` holds it."""

    name: PolicyName
    episodes: int
    success: float
    """Share of episodes that succeed."""
    low: float
    """Lower end of the 95 % Wilson interval of `success`."""
    high: float
    """Upper end of that interval."""
    median: float
    """Median distance from success at the end, metres."""
    searches: int
    """Searches that began more than 5 cm from their sub-goal."""
    with_progress: float | None
    """Share of them whose first samples hold an action that makes progress; None if there are none."""
    progress: float | None
    """Share of these samples that make progress, on average."""
    now: Mean
    """Rank correlation of energy and distance to go, among the first samples, to the present sub-goal."""
    ahead: dict[int, Mean]
    """The same along the script, by the number of actions between the moment and its goal."""
    failures: dict[FailureKind, int]
    """Lost episodes by their kind, for tasks with an object."""


def diagnosis_row(name: PolicyName, episodes: Sequence[Diagnosed]) -> DiagnosisRow:
    """One row for all of the episodes, of which there is at least one."""
    score = Score(name, float(np.mean([episode.success for episode in episodes])), len(episodes))
    low, high = score.interval
    low = max(low, 0.0)  # rounding leaves -0.00 where no episode succeeds
    shares = np.array([share for episode in episodes for share in shares_on_the_way(episode)])
    return DiagnosisRow(
        name=name,
        episodes=score.clips,
        success=score.value,
        low=low,
        high=high,
        median=float(np.median([episode.distance for episode in episodes])),
        searches=len(shares),
        with_progress=float((shares > 0).mean()) if len(shares) else None,
        progress=float(shares.mean()) if len(shares) else None,
        now=mean_over_worlds([episode.now for episode in episodes]),
        ahead={
            steps: mean_over_worlds([episode.ahead[number] for episode in episodes])
            for number, steps in enumerate(AHEAD)
        },
        failures=count_failures(episodes),
    )


def shares_on_the_way(episode: Diagnosed) -> list[float]:
    """Shares of samples that make progress, of the searches that began away from their goal."""
    both = zip(episode.progress, episode.to_go, strict=True)
    return [share for share, to_go in both if to_go > ON_THE_WAY]


def mean_over_worlds(worlds: Sequence[Ranks]) -> Mean:
    """The mean of the worlds' means. What is not defined is left out."""
    defined = [[rank for rank in ranks if rank is not None] for ranks in worlds]
    means = [float(np.mean(ranks)) for ranks in defined if ranks]
    if not means:
        return Mean(None, 0.0, 0)
    error = float(np.std(means, ddof=1) / np.sqrt(len(means))) if len(means) > 1 else 0.0
    return Mean(float(np.mean(means)), error, len(means))


def count_failures(episodes: Sequence[Diagnosed]) -> dict[FailureKind, int]:
    """How many episodes were lost in each way; tasks without an object have no kinds."""
    lost = [episode.grips for episode in episodes if not episode.success and episode.grips]
    # Grips that a file held are lists.
    found = Counter(failure_kind([Grip(*grip) for grip in grips]) for grips in lost)
    return {kind: found[kind] for kind in FAILURE_KINDS if found[kind]}


def diagnosis_table(rows: Sequence[DiagnosisRow], caption: str) -> str:
    """The rows under a caption and a header."""
    header = ("", "success", "   95 % interval", "searches", "samples", "sub-goal")
    header += (*(str(steps) for steps in AHEAD), "   lost by")
    lines = [header, *map(cells, rows)]
    columns = ("<14", ">7", "<18", ">10", ">9", ">10", *(">7" for _ in AHEAD), "")
    return text_table(caption, lines, columns)


def cells(row: DiagnosisRow) -> tuple[str, ...]:
    """What the table shows of a row."""
    interval = f"   [{row.low:.2f}, {row.high:.2f}]"
    shares = (number(row.with_progress), number(row.progress))
    ranks = (number(mean.value) for mean in (row.now, *row.ahead.values()))
    lost = ", ".join(f"{count} {kind}" for kind, count in row.failures.items())
    return row.name, f"{row.success:.2f}", interval, *shares, *ranks, f"   {lost}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
