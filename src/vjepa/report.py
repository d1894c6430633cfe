"""Tables of scores, of one run or over seeds.

    python -m vjepa.report runs/demo-seed*/probe/scores.json
"""

import json
import math
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Score:
    name: str
    value: float
    """Share of clips that are right."""
    clips: int
    """Clips it was measured on."""
    measure: str = "accuracy"
    """What the value is, if it is no share of clips: mean average precision, or explained variance."""

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share: how far another sample of as many clips would move it."""
        z, n, p = 1.96, self.clips, self.value
        centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)


def table(scores: list[Score], caption: str) -> str:
    """One row a score, with its interval if it is a share of clips; chance has none."""
    shares = scores[0].measure == "accuracy"
    lines = [f"{caption}, 95 % interval" if shares else caption]
    for score in scores:
        interval = "   [{:.3f}, {:.3f}]".format(*score.interval) if shares and score.name != "chance" else ""
        lines.append(f"  {score.name:<26}{score.value:6.3f}{interval}")
    return "\n".join(lines)


def over_seeds(runs: list[list[Score]]) -> str:
    """Mean and standard deviation of every row over runs that differ in their seed."""
    lines = [f"{runs[0][0].measure} over {len(runs)} seeds, mean and standard deviation"]
    for scores in zip(*runs, strict=True):
        values = [score.value for score in scores]
        each = " ".join(f"{value:.3f}" for value in values)
        lines.append(f"  {scores[0].name:<26}{statistics.mean(values):6.3f} ± {statistics.stdev(values):.3f}   ({each})")
    return "\n".join(lines)


def read_scores(path: Path) -> list[Score]:
    return [Score(**score) for score in json.loads(path.read_text())]


if __name__ == "__main__":
    if not sys.argv[1:]:
        raise SystemExit("usage: python -m vjepa.report SCORES.json ...   (a probe run's scores.json, one per seed)")
    runs = [read_scores(Path(path)) for path in sys.argv[1:]]
    print(over_seeds(runs) if len(runs) > 1 else table(runs[0], f"{runs[0][0].measure} on {runs[0][0].clips} test clips"))
