"""The figure of rollout errors: one curve for the model and one for each control, over the horizon."""

from pathlib import Path
from typing import TYPE_CHECKING

from vjepa.drawing.palette import CHANCE, CONTROL, OURS, PALETTE
from vjepa.drawing.style import new_figure, save_figure, style

if TYPE_CHECKING:  # matplotlib is in the `plot` extra
    from matplotlib.figure import Figure

NAMES = {
    "model": "model: the true actions",
    "shuffled": "shuffled: another episode's actions",
    "zero": "zero: actions without motion",
    "persistence": "persistence: the first frame stays",
}
"""What each row of the table is given, for the legend."""
LOOKS = {
    "model": {"color": OURS, "marker": "o", "linestyle": "-"},
    "shuffled": {"color": CONTROL, "marker": "s", "linestyle": "--"},
    "zero": {"color": PALETTE["purple"], "marker": "^", "linestyle": "--"},
    "persistence": {"color": CHANCE, "marker": "x", "linestyle": ":"},
}


def error_figure(curves: dict[str, list[float]], title: str) -> "Figure":
    """The curves as a matplotlib figure. Raises UserError without matplotlib, the `plot` extra."""
    with style():
        figure = new_figure(height=4.2)
        axes = figure.subplots()
        for row, curve in curves.items():
            axes.plot(range(1, len(curve) + 1), curve, label=NAMES[row], **LOOKS[row])
        axes.set(xlabel="actions ahead", ylabel="error: mean |difference| of tokens", title=title)
        # From zero, so that heights can be compared.
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y", alpha=0.3)
        axes.legend(loc="lower right")
    return figure


def save_error_figure(curves: dict[str, list[float]], title: str, path: Path) -> None:
    """Write the figure as a PNG."""
    figure = error_figure(curves, title)
    with style():
        save_figure(figure, path)
