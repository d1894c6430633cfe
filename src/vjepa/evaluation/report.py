"""Tables of scores, of one run or over seeds.

python -m vjepa report runs/demo-seed*/probe/scores.json          # or anticipate/scores.json
"""

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from vjepa.errors import UserError, require


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
    shares, wide = scores[0].measure == "accuracy", width(scores)
    lines = [f"{caption}, 95 % interval" if shares else caption]
    for score in scores:
        interval = "   [{:.3f}, {:.3f}]".format(*score.interval) if shares and score.name != "chance" else ""
        lines.append(f"  {score.name:<{wide}}{score.value:6.3f}{interval}")
    return "\n".join(lines)


def width(scores: list[Score]) -> int:
    return max(26, *(len(score.name) + 2 for score in scores))


def over_seeds(runs: list[list[Score]]) -> str:
    """Mean and standard deviation of every row over runs that differ in their seed."""
    rows = {tuple((score.name, score.measure) for score in scores) for scores in runs}
    require(
        len(rows) == 1, "these runs' scores are not of the same rows and measure; give runs of one recipe"
    )
    lines = [f"{runs[0][0].measure} over {len(runs)} seeds, mean and standard deviation"]
    for scores in zip(*runs, strict=True):
        values = [score.value for score in scores]
        each = " ".join(f"{value:.3f}" for value in values)
        spread = f"{statistics.mean(values):6.3f} ± {statistics.stdev(values):.3f}   ({each})"
        lines.append(f"  {scores[0].name:<{width(runs[0])}}{spread}")
    return "\n".join(lines)


def read_scores(path: Path) -> list[Score]:
    """Of a probe, or of anticipation, whose rows become one each for verb, noun and action. Raises UserError for others."""
    try:
        found = [score for row in json.loads(path.read_text()) for score in scores_of(row)]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} holds no scores of a probe or of anticipation ({error}); give a run's scores.json"
        ) from error
    require(bool(found), f"{path} holds no scores; give a finished run's scores.json")
    return found


def scores_of(row: dict) -> list[Score]:
    if "value" in row:
        return [Score(**row)]
    names = {
        kind: f"{row['name']}, {kind}, before the {row['anchor']}" for kind in ("verb", "noun", "action")
    }
    return [Score(name, row[kind], row["clips"], row["measure"]) for kind, name in names.items()]


def report(scores: list[Path]) -> None:
    """Print the table of a run's scores, or mean and standard deviation over several runs.

    Args:
        scores: The scores.json of each run.
    """
    runs = [read_scores(path) for path in scores]
    clips = f"{runs[0][0].measure} on {runs[0][0].clips} test clips"
    print(over_seeds(runs) if len(runs) > 1 else table(runs[0], clips))
