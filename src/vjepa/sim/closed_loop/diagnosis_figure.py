"""The figure of a diagnosis: for each task who succeeds, how episodes are lost, how energies rank actions."""

from pathlib import Path
from typing import TYPE_CHECKING

from vjepa.drawing.palette import CONTROL, INK, OURS, PALETTE, TRUTH
from vjepa.drawing.style import new_figure, save_figure, style
from vjepa.sim.closed_loop.diagnosed_episode import AHEAD
from vjepa.sim.closed_loop.diagnosis_table import DiagnosisRow
from vjepa.sim.closed_loop.planner_measures import FAILURE_KINDS
from vjepa.sim.closed_loop.setting import PolicyName
from vjepa.sim.closed_loop.tasks import TaskName

if TYPE_CHECKING:  # matplotlib is in the `plot` extra
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES: dict[PolicyName, str] = {
    "true_state": "simulator, true hand",
    "true_object": "simulator, hand, object",
    "perfect": "simulator, tokens",
    "pixels": "simulator, pixels",
    "model": "our model, tokens",
}
"""Model and energy of each row."""
LOOKS = {
    "true_state": {"color": TRUTH, "marker": "o"},
    "true_object": {"color": PALETTE["purple"], "marker": "s"},
    "perfect": {"color": PALETTE["sky"], "marker": "^"},
    "pixels": {"color": CONTROL, "marker": "v"},
    "model": {"color": OURS, "marker": "D"},
}
SHADES = dict(zip(FAILURE_KINDS, ("#222222", "#6b6b6b", "#a3a3a3", "#cfcfcf", "#ffffff"), strict=True))
"""Kinds of lost episodes are grey, since colours say who plans."""
PLACES = ("sub-goal", *AHEAD)
"""Goals towards which actions are ranked."""
LABELS = ("success", "lost episodes", "actions to the goal")
HEIGHT = 1.9
"""Inches of a task."""


def plot_diagnosis(tables: dict[TaskName, list[DiagnosisRow]], path: Path) -> None:
    """Draw one line of three plots for each task. Raises UserError without matplotlib, the `plot` extra."""
    with style():
        figure = new_figure(height=HEIGHT * len(tables) + 1.3, width=10.0)
        grid = figure.subplots(len(tables), 3, squeeze=False, width_ratios=(4, 3, 4))
        for (task, rows), (success, lost, ranks) in zip(tables.items(), grid, strict=True):
            success.set_title(task.replace("_", " "))
            draw_success(success, rows)
            draw_failures(lost, rows)
            draw_ranks(ranks, rows)
        for axes, label in zip(grid[-1], LABELS, strict=True):
            axes.set_xlabel(label)
        draw_legend(figure, tables)
        save_figure(figure, path)


def draw_success(axes: "Axes", rows: list[DiagnosisRow]) -> None:
    """Success as bars with intervals; a diamond at the share of searches that could make progress."""
    for place, row in enumerate(rows):
        colour = LOOKS[row.name]["color"]
        axes.barh(place, row.success, height=0.62, color=colour)
        axes.plot([row.low, row.high], [place, place], color=INK, linewidth=1.2)
        if row.with_progress is not None:
            axes.plot(row.with_progress, place, "d", color="white", markeredgecolor=INK, markersize=7)
    axes.set(
        xlim=(0, 1.03),
        xticks=(0, 0.5, 1),
        yticks=range(len(rows)),
        yticklabels=[NAMES[row.name] for row in rows],
    )
    axes.invert_yaxis()  # the first row on top, as in the table
    axes.tick_params(axis="y", length=0)


def draw_failures(axes: "Axes", rows: list[DiagnosisRow]) -> None:
    """Numbers of lost episodes, by kind, in the order of the bars beside them."""
    for place, row in enumerate(rows):
        begin = 0
        for kind, count in row.failures.items():
            axes.barh(place, count, height=0.62, left=begin, color=SHADES[kind], edgecolor=INK, linewidth=0.7)
            begin += count
    axes.set(xlim=(0, max(row.episodes for row in rows)), yticks=[], ylim=(len(rows) - 0.5, -0.5))
    axes.xaxis.get_major_locator().set_params(integer=True)
    if not any(row.failures for row in rows):
        axes.text(0.5, 0.5, "none, or no object", transform=axes.transAxes, ha="center", va="center")


def draw_ranks(axes: "Axes", rows: list[DiagnosisRow]) -> None:
    """Rank correlations of energy and distance to go, with standard errors."""
    for row in rows:
        means = (row.now, *row.ahead.values())
        found = [place for place, mean in enumerate(means) if mean.value is not None]
        values = [means[place].value for place in found]
        errors = [means[place].error for place in found]
        axes.errorbar(found, values, errors, markersize=5, linewidth=1.4, capsize=2, **LOOKS[row.name])
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.set(ylim=(-0.2, 1.05), yticks=(0, 0.5, 1), xlim=(-0.3, len(PLACES) - 0.7), ylabel="rank correlation")
    axes.set_xticks(range(len(PLACES)), PLACES)
    axes.grid(axis="y", alpha=0.3)


def draw_legend(figure: "Figure", tables: dict[TaskName, list[DiagnosisRow]]) -> None:
    """What diamonds, lines and grey shades mean; colours are named beside the bars."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    diamond = {"marker": "d", "color": "white", "markeredgecolor": INK, "linestyle": ""}
    handles = [
        Line2D([], [], color=INK, linewidth=1.2, label="95 % interval"),
        Line2D([], [], label="searches whose first samples hold progress", **diamond),
    ]
    seen = {kind for rows in tables.values() for row in rows for kind in row.failures}
    kinds = [kind for kind in FAILURE_KINDS if kind in seen]
    handles += [Patch(facecolor=SHADES[kind], edgecolor=INK, label=kind) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, columnspacing=1.2)
