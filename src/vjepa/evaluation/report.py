"""Tables of the scores of a probe or of anticipation, for one run or over seeds.

    vjepa report runs/demo                           # the folder of a run or of a stage, or a scores.json
    vjepa report runs/demo-seed*/probe

One file gives one table, and a run's folder one for each stage. Several files are runs that differ in their
seed, and give mean and standard deviation.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from vjepa.data.text_files import read_text
from vjepa.errors import UserError, require
from vjepa.evaluation.tables import mean_and_spread, text_table


@dataclass(frozen=True)
class Score:
    """One row of a table of scores."""

    name: str
    value: float
    clips: int
    """Number of clips that the value was measured on."""
    measure: str = "accuracy"
    """What the value is: accuracy is a share of clips; others are mean average precision, R2 and recall."""

    @property
    def is_possible(self) -> bool:
        """Whether the value is a number, and a share if it is an accuracy, and was measured on a clip."""
        numbers = isinstance(self.value, int | float) and isinstance(self.clips, int)
        return numbers and self.clips > 0 and not (self.measure == "accuracy" and not 0 <= self.value <= 1)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of a share of clips: how far it varies between samples of as many clips."""
        # Unlike the mean plus or minus two deviations, it stays within 0 and 1 and has a width at both ends.
        z = 1.96  # 95 % of a normal distribution lie within so many standard deviations
        n = self.clips
        p = self.value
        centre = p + z * z / (2 * n)
        spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        return (centre - spread) / scale, (centre + spread) / scale


def score_table(scores: list[Score], caption: str) -> str:
    """One row for each score, with its interval if it is a share of clips."""
    shares = scores[0].measure == "accuracy"
    rows = []
    for score in scores:
        # Chance is known exactly.
        interval = "   [{:.3f}, {:.3f}]".format(*score.interval) if shares and score.name != "chance" else ""
        rows.append((score.name, f"{score.value:.3f}", interval))
    return text_table(
        f"{caption}, 95 % interval" if shares else caption, rows, (name_column(scores), ">6", "")
    )


def seeds_table(runs: list[list[Score]]) -> str:
    """Mean and standard deviation over runs of one recipe. Raises UserError if their rows differ."""
    rows = {tuple((score.name, score.measure) for score in scores) for scores in runs}
    require(
        len(rows) == 1, "these runs' scores are not of the same rows and measure; give runs of one recipe"
    )
    lines = []
    for scores in zip(*runs, strict=True):
        values = [score.value for score in scores]
        mean, spread = mean_and_spread(values)
        each = " ".join(f"{value:.3f}" for value in values)
        lines.append((scores[0].name, f"{mean:6.3f} ± {spread:.3f}   ({each})"))
    caption = f"{runs[0][0].measure} over {len(runs)} seeds, mean and standard deviation"
    return text_table(caption, lines, (name_column(runs[0]), ""))


def name_column(scores: list[Score]) -> str:
    """The first column's format: wide enough for all names, and equally wide in most tables."""
    return f"<{max(26, *(len(score.name) + 2 for score in scores))}"


def read_scores(path: Path) -> list[Score]:
    """The scores in a probe's or anticipation's scores.json. Raises UserError for other files."""
    text = read_text(path)
    try:
        scores = [score for row in json.loads(text) for score in scores_of(row)]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f"{path} holds no scores of a probe or of anticipation ({error}); give a run's scores.json"
        ) from error
    require(bool(scores), f"{path} holds no scores; give a finished run's scores.json")
    for number, score in enumerate(scores, 1):
        require(score.is_possible, f"{path}, score {number}: {score} is no score of one clip or more")
    return scores


def scores_of(row: dict) -> list[Score]:
    """A probe's row is one score; a row of anticipation holds three, for verb, noun and action."""
    # Only a probe's rows have a `value`.
    if "value" in row:
        return [Score(**row)]
    scores = []
    for kind in ("verb", "noun", "action"):
        name = f"{row['name']}, {kind}, before the {row['anchor']}"
        scores.append(Score(name, row[kind], row["clips"], row["measure"]))
    return scores


def score_files(source: Path) -> list[Path]:
    """The scores.json in the folder of a stage, or in those of a run's stages; a file as it is.

    Raises UserError for a folder without any.
    """
    if not source.is_dir():
        return [source]
    own = source / "scores.json"
    # A language model's scores are answers to questions, which `vjepa evaluate` prints.
    below = [file for file in sorted(source.glob("*/scores.json")) if not file.parent.name.startswith("vlm")]
    files = [own] if own.exists() else below
    require(
        bool(files),
        f"{source} holds no scores.json, nor does a folder in it; the stages probe and anticipate write one",
    )
    return files


def report(scores: list[Path]) -> None:
    """Print the tables of a run's scores, or mean and standard deviation over several runs.

    Args:
        scores: The scores.json of each run, or the folder of the run or of its stage.
    """
    found = {source: score_files(source) for source in scores}
    if len(scores) > 1:
        for source, files in found.items():
            names = ", ".join(map(str, files))
            require(len(files) == 1, f"{source} holds the scores of several stages; give one of {names}")
        print(seeds_table([read_scores(found[source][0]) for source in scores]))
        return
    files = found[scores[0]]
    for file in files:
        rows = read_scores(file)
        caption = f"{rows[0].measure} on {rows[0].clips} test clips"
        print(score_table(rows, f"{file.parent.name}: {caption}" if len(files) > 1 else caption))
